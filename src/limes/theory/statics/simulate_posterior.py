"""Posterior of Bayesian perceptrons of finite width, sampled: what the saddles of the statics are the limit of.

    f = (1 / (g N)) sum_i w_i phi(h_i),   h_1 = W_0 x / sqrt(D),   h_l+1 = W_l phi(h_l) / sqrt(N),
    E = (b g^2 N / 2) sum (f - y)^2 + |theta|^2 / 2

Source: the definition of the network, arXiv:2502.07998; nothing is shared with the solvers but the convention.
Letters: P samples, M test inputs, D inputs, N width, L hidden layers, g gamma0, b inverse temperature, C chains.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from limes.core.errors import SpecError
from limes.numerics.chains import chain_estimate
from limes.numerics.langevin import LangevinSample, sample_langevin
from limes.theory.activations import Activation, get_activation
from limes.theory.checks import check_whole
from limes.theory.statics.data import checked_samples, checked_strengths, settle

MAX_ENTRIES = 200_000_000


@dataclass(frozen=True, eq=False)
class FiniteNetwork:
    """Data, architecture, feature-learning strength, temperature.

    Args:
        inputs: (P, D).
        targets: (P,).
        test_inputs: (M, D), or None.
        width: N, neurons of every hidden layer.
        depth: L, hidden layers.
        activation: Name or object; "erf" is erf(x).
        gamma0: Feature-learning strength; as it goes to 0 at infinite width the network becomes the NNGP.
        inverse_temperature: Multiplies the SUM over samples of (f - y)^2 / 2, together with gamma0^2 N.

    Raises:
        SpecError: A shape or a number is out of range.

    >>> FiniteNetwork([[1.0, 0.0]], [1.0], width=8, depth=2).num_params
    88
    """

    inputs: Any
    targets: Any
    test_inputs: Any = None
    width: int = field(default=64, kw_only=True)
    depth: int = field(default=1, kw_only=True)
    activation: str | Activation = field(default="erf", kw_only=True)
    gamma0: float = field(default=1.0, kw_only=True)
    inverse_temperature: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        settle(
            self,
            **checked_samples(self.inputs, self.targets, self.test_inputs, self.activation),
            **checked_strengths(gamma0=self.gamma0, inverse_temperature=self.inverse_temperature),
            width=check_whole("width", self.width),
            depth=check_whole("depth", self.depth),
        )

    @property
    def phi(self) -> Activation:
        """The activation itself."""
        return get_activation(self.activation)

    @property
    def num_params(self) -> int:
        """All weights."""
        return self.width * (self.inputs.shape[1] + (self.depth - 1) * self.width + 1)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FinitePosterior:
    """Averages over the posterior, each with its standard error over chains.

    Args:
        train_mean, train_error: (P,) outputs.
        test_mean, test_error: (M,).
        train_fluctuation, train_fluctuation_error: (P,) width times the variance of the outputs.
        test_fluctuation, test_fluctuation_error: (M,).
        kernels, kernel_errors: (L, P, P) mean over neurons of phi(h) phi(h'), layer by layer.
        readout_second_moment, readout_error: Mean of w^2.
        chain_outputs: (C, P + M) mean of each chain.
        chain_kernels: (C, L, P, P).
        chain_readout: (C,).
        rhat: Largest over outputs, diagonals of the kernels and readout.
        effective_size: Smallest over the same, all chains together.
        sample: The chains: acceptance, step, gradients.
        problem: What was sampled.
    """

    train_mean: Tensor
    train_error: Tensor
    test_mean: Tensor
    test_error: Tensor
    train_fluctuation: Tensor
    train_fluctuation_error: Tensor
    test_fluctuation: Tensor
    test_fluctuation_error: Tensor
    kernels: Tensor
    kernel_errors: Tensor
    readout_second_moment: float
    readout_error: float
    chain_outputs: Tensor
    chain_kernels: Tensor
    chain_readout: Tensor
    rhat: float
    effective_size: float
    sample: LangevinSample = field(repr=False)
    problem: FiniteNetwork = field(repr=False)


def simulate_posterior(
    problem: FiniteNetwork,
    *,
    generator: torch.Generator,
    num_chains: int = 32,
    num_draws: int = 400,
    num_warmup: int = 400,
    num_leapfrog: int = 8,
    adjusted: bool = True,
    step_size: float | None = None,
    progress: Callable[[float], object] | None = None,
) -> FinitePosterior:
    """Sample the weights of a finite network given the data.

    Args:
        problem: Data, architecture, gamma0, temperature.
        generator: Of the starts, which are drawn from the prior, and of the chains.
        num_chains: Independent ones.
        num_draws: Kept of each.
        num_warmup: Thrown away, and used to adapt the step.
        num_leapfrog: Gradients per draw; 1 is Langevin's equation.
        adjusted: Accept or reject every move, which removes the bias of the step.
        step_size: Fixed; None adapts it.
        progress: Told the share of the work that is done.

    Returns:
        `FinitePosterior`.

    Raises:
        SpecError: A count is out of range, or the chains would not fit into memory.
        ConvergenceError: Unadjusted chains ran away.

    **Source**: definition. **Accuracy**: the standard errors, where `rhat` is near 1 (below 1.05).

    >>> network = FiniteNetwork([[1.0]], [2.0], width=32, activation="linear")
    >>> found = simulate_posterior(network, generator=torch.Generator().manual_seed(0), num_draws=200)
    >>> bool(abs(found.train_mean - 1.311) < 0.1)            # u = 1.9032 of the infinite one: 2 u / (1 + u) = 1.311
    True
    """
    chains = check_whole("num_chains", num_chains, least=2)
    check_size(problem, chains)
    start = torch.randn(chains, problem.num_params, generator=generator, dtype=torch.float64)
    watch = _Watch(problem)
    sample = sample_langevin(
        lambda q: energy_and_gradient(problem, q),
        start,
        num_draws=num_draws,
        num_warmup=num_warmup,
        generator=generator,
        num_leapfrog=num_leapfrog,
        adjusted=adjusted,
        step_size=step_size,
        observe=watch,
        progress=progress,
    )
    return _posterior(problem, sample, watch.kernels / num_draws)


def check_size(problem: FiniteNetwork, num_chains: int) -> None:
    """Refuse chains that would not fit into memory.

    Raises:
        SpecError: They would not.

    **Source**: none; a count. **Accuracy**: of the largest tensors only.
    """
    size = num_chains * problem.width * (len(problem.inputs) + len(problem.test_inputs) + problem.inputs.shape[1])
    if max(size, num_chains * problem.num_params) * problem.depth > MAX_ENTRIES:
        raise SpecError(
            f"{num_chains} chains of width {problem.width} on {len(problem.inputs)} inputs would take more than "
            f"{MAX_ENTRIES:.0e} numbers at once; lower the width or the number of chains"
        )


def energy_and_gradient(problem: FiniteNetwork, weights: Tensor) -> tuple[Tensor, Tensor]:
    """E of many networks at once, and its gradient.

    Args:
        problem: Data, architecture, gamma0, temperature.
        weights: (C, num_params): W_0 (N, D), W_1 .. W_L-1 (N, N) and w (N,), flattened in this order.

    Returns:
        (C,) and (C, num_params).

    **Source**: arXiv:2502.07998, the definition of the network. **Accuracy**: rounding.

    >>> network = FiniteNetwork([[1.0]], [2.0], width=1, activation="linear", gamma0=1.0)
    >>> energy_and_gradient(network, torch.tensor([[1.0, 1.0]], dtype=torch.float64))[0].item()   # 1/2 (1 - 2)^2 + 1
    1.5
    """
    hidden, readout = _split(problem, weights)
    fields, features = _forward(problem, hidden, problem.inputs)
    root = math.sqrt(problem.width)
    scale = 1.0 / (problem.gamma0 * problem.width)
    outputs = scale * (readout[:, None] @ features[-1])[:, 0]
    precision = problem.inverse_temperature * problem.gamma0**2 * problem.width
    errors = outputs - problem.targets
    energy = 0.5 * precision * (errors**2).sum(1) + 0.5 * (weights**2).sum(1)
    pull = precision * scale * errors
    gradients = [(features[-1] @ pull[:, :, None])[:, :, 0]]
    back = readout[:, :, None] * pull[:, None]
    for layer in reversed(range(problem.depth)):
        back = back * problem.phi.derivative(fields[layer])
        if layer:
            gradients.append((back @ features[layer - 1].transpose(1, 2)).flatten(1) / root)
            back = hidden[layer].transpose(1, 2) @ back / root
        else:
            gradients.append((back @ problem.inputs).flatten(1) / math.sqrt(problem.inputs.shape[1]))
    return energy, torch.cat(gradients[::-1], 1) + weights


def _split(problem: FiniteNetwork, weights: Tensor) -> tuple[list[Tensor], Tensor]:
    width, dim = problem.width, problem.inputs.shape[1]
    shapes = [(width, dim)] + [(width, width)] * (problem.depth - 1)
    parts = weights.split([*(rows * columns for rows, columns in shapes), width], 1)
    return [part.reshape(-1, *shape) for part, shape in zip(parts, shapes)], parts[-1]


def _forward(problem: FiniteNetwork, hidden: list[Tensor], inputs: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Pre-activations and activations (C, N, inputs) of every hidden layer."""
    fields, features = [hidden[0] @ inputs.T / math.sqrt(inputs.shape[1])], []
    for layer in range(problem.depth):
        features.append(problem.phi.value(fields[-1]))
        if layer + 1 < problem.depth:
            fields.append(hidden[layer + 1] @ features[-1] / math.sqrt(problem.width))
    return fields, features


class _Watch:
    """Outputs, diagonals of the kernels and w^2 of every draw (C, P + M + L P + 1); whole kernels are only summed."""

    def __init__(self, problem: FiniteNetwork) -> None:
        self._problem = problem
        self._inputs = torch.cat([problem.inputs, problem.test_inputs])
        self.kernels: Tensor = torch.zeros(1, dtype=torch.float64)

    def __call__(self, weights: Tensor) -> Tensor:
        problem, size = self._problem, len(self._problem.inputs)
        hidden, readout = _split(problem, weights)
        _, features = _forward(problem, hidden, self._inputs)
        outputs = (readout[:, None] @ features[-1])[:, 0] / (problem.gamma0 * problem.width)
        seen = torch.stack([layer[:, :, :size] for layer in features], 1)
        kernels = seen.transpose(2, 3) @ seen / problem.width
        self.kernels = self.kernels + kernels
        diagonals = kernels.diagonal(dim1=2, dim2=3).flatten(1)
        return torch.cat([outputs, diagonals, (readout**2).mean(1, keepdim=True)], 1)


def _posterior(problem: FiniteNetwork, sample: LangevinSample, kernels: Tensor) -> FinitePosterior:
    size, seen = len(problem.inputs), len(problem.inputs) + len(problem.test_inputs)
    mean = sample.estimate
    outputs = sample.draws[:, :, :seen]
    spread = chain_estimate(problem.width * (outputs - mean.value[:seen]) ** 2)
    return FinitePosterior(
        train_mean=mean.value[:size],
        train_error=mean.error[:size],
        test_mean=mean.value[size:seen],
        test_error=mean.error[size:seen],
        train_fluctuation=spread.value[:size],
        train_fluctuation_error=spread.error[:size],
        test_fluctuation=spread.value[size:],
        test_fluctuation_error=spread.error[size:],
        kernels=kernels.mean(0),
        kernel_errors=kernels.std(0) / len(kernels) ** 0.5,
        readout_second_moment=float(mean.value[-1]),
        readout_error=float(mean.error[-1]),
        chain_outputs=outputs.mean(0),
        chain_kernels=kernels,
        chain_readout=sample.draws[:, :, -1].mean(0),
        rhat=float(sample.rhat.max()),
        effective_size=float(sample.effective_size.min()),
        sample=sample,
        problem=problem,
    )
