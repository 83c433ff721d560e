"""Adaptive kernels of deep mean-field Bayesian networks, any activation.

Posterior exp(-b g^2 N sum (f - y)^2 / 2 - |theta|^2 / 2) with f = (1 / (g N)) w . phi(h_L),
h_(l+1) = W phi(h_l) / sqrt N. As N grows -(1/N) ln Z is the extremum of

    S = sum_(l < L) [-Tr H_l Phi_l / 2 - ln E exp(-phi' H_l phi / 2)]
        + b g^2 (d.y - |d|^2 / 2) - ln E exp(b^2 g^2 (d.phi)^2 / 2),        h_l ~ N(0, Phi_(l-1)).

Source: Lauditi, Bordelon & Pehlevan, arXiv:2502.07998; the algorithm: docs/theory/deep_adaptive_kernels.md.
Letters: P samples, M test inputs, L hidden layers, Phi_l kernel and H_l conjugate of layer l, d residuals, b inverse
temperature, g gamma0, N width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from limes.core.errors import ConvergenceError, SpecError
from limes.theory.activations import Activation, get_activation
from limes.theory.checks import check_number, check_whole
from limes.theory.statics.data import checked_samples, checked_strengths, settle
from limes.theory.statics.deep_response import Solved, carry, test_fluctuation
from limes.theory.statics.deep_sweep import TIGHT, Stack, Swept, boxes_for, follow, newton
from limes.theory.statics.layers import ROUGH, conjugate_below, factored, tilted

RESIDUAL = 1e-8


@dataclass(frozen=True, eq=False)
class DeepAdaptiveProblem:
    """Data, activation, depth, feature-learning strength, temperature.

    Args:
        inputs: (P, D); they enter as x.x' / D.
        targets: (P,).
        test_inputs: (M, D), or None.
        activation: Name or object; "erf" is erf(x).
        depth: Hidden layers.
        gamma0: Feature-learning strength; towards 0 the network becomes the NNGP.
        inverse_temperature: Multiplies the SUM over samples of (f - y)^2 / 2.
        input_ridge: Added to the diagonal of x.x' / D, noise on each training input of its own.

    Raises:
        SpecError: A shape or a number is out of range.

    >>> DeepAdaptiveProblem([[1.0]], [1.0], depth=3).depth
    3
    """

    inputs: Any
    targets: Any
    test_inputs: Any = None
    activation: str | Activation = field(default="erf", kw_only=True)
    depth: int = field(default=2, kw_only=True)
    gamma0: float = field(default=1.0, kw_only=True)
    inverse_temperature: float = field(default=1.0, kw_only=True)
    input_ridge: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        settle(
            self,
            **checked_samples(self.inputs, self.targets, self.test_inputs, self.activation, allow_zero=False),
            **checked_strengths(gamma0=self.gamma0, inverse_temperature=self.inverse_temperature),
            depth=check_whole("depth", self.depth),
            input_ridge=check_number("input_ridge", self.input_ridge, low=0.0),
        )

    @property
    def phi(self) -> Activation:
        """The activation itself."""
        return get_activation(self.activation)

    @property
    def kernel(self) -> Tensor:
        """(P, P) of the training inputs."""
        one = torch.eye(len(self.inputs), dtype=torch.float64)
        return self.inputs @ self.inputs.T / self.inputs.shape[1] + self.input_ridge * one

    @property
    def test_kernel(self) -> tuple[Tensor, Tensor]:
        """(M, P) between test and training inputs, and (M,) of the test inputs."""
        dim = self.inputs.shape[1]
        return self.test_inputs @ self.inputs.T / dim, (self.test_inputs**2).sum(1) / dim + self.input_ridge


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DeepAdaptiveResult:
    """The saddle, and how sure it is.

    Args:
        residuals: (P,) targets less outputs.
        train_mean: (P,) outputs on the training inputs.
        test_mean: (M,).
        train_fluctuation: (P,) width times the variance of the outputs over posterior networks, at leading order,
            fluctuations of all kernels included.
        test_fluctuation: (M,).
        kernels: (L, P, P) Phi_1 .. Phi_L.
        conjugates: (L, P, P) H_1 .. H_L.
        readout_second_moment: <w^2>.
        log_evidence: (1/N) ln Z at leading order; negative.
        residual: See `deep_saddle_residual`: 0 at a saddle.
        train_error, test_error, kernel_error, log_evidence_error: Difference to the solution on a coarser grid.
        num_sweeps: Forward sweeps in all.
        problem: What was solved.
    """

    residuals: Tensor
    train_mean: Tensor
    test_mean: Tensor
    train_fluctuation: Tensor
    test_fluctuation: Tensor
    kernels: Tensor
    conjugates: Tensor
    readout_second_moment: float
    log_evidence: float
    residual: float
    train_error: Tensor
    test_error: Tensor
    kernel_error: Tensor
    log_evidence_error: float
    num_sweeps: int
    problem: DeepAdaptiveProblem = field(repr=False)


def solve_deep_adaptive(problem: DeepAdaptiveProblem) -> DeepAdaptiveResult:
    """Adapted kernels, predictions and evidence of an infinitely wide network with several hidden layers.

    gamma0 grows from zero in steps; at each the kernels are the exact ones of the conjugates and Newton's method solves
    for the conjugates. It is the solution that grows out of the NNGP.

    Args:
        problem: Data, activation, depth, gamma0, temperature.

    Returns:
        `DeepAdaptiveResult`.

    Raises:
        ScopeError: More than four samples: no grid holds their joint law.
        ConvergenceError: The solution cannot be followed to this gamma0, or the grids do not agree.

    **Source**: arXiv:2502.07998; limes, docs/theory/deep_adaptive_kernels.md.
    **Accuracy**: the `error` fields: 1e-6 and below for smooth activations, 1e-4 for kinked ones; fluctuations: 1e-5.

    >>> fit = solve_deep_adaptive(DeepAdaptiveProblem([[1.0]], [2.0], activation="linear", depth=1))
    >>> round(fit.kernels.item(), 6), fit.residual < 1e-10          # u of the linear network
    (1.903212, True)
    """
    stack = _stack(problem)
    start, seconds, count = follow(stack, problem.gamma0)
    rough = _settle(stack, start, problem.gamma0, seconds, coarse=ROUGH)
    fine = _settle(stack, rough.unknowns, problem.gamma0, seconds, slope=rough.slope)
    final, other = _result(problem, fine), _result(problem, rough)
    error = {name: (final[name] - other[name]).abs() for name in ("train_mean", "test_mean", "kernels")}
    result = DeepAdaptiveResult(
        **final,
        train_fluctuation=rough.train_fluctuation(),
        test_fluctuation=_test_fluctuations(problem, rough),
        residual=_mismatch(stack, problem.gamma0, fine.swept, final["kernels"], final["conjugates"]),
        train_error=error["train_mean"],
        test_error=error["test_mean"],
        kernel_error=error["kernels"],
        log_evidence_error=abs(final["log_evidence"] - other["log_evidence"]),
        num_sweeps=count,
        problem=problem,
    )
    if not result.residual < RESIDUAL:
        raise ConvergenceError(
            f"the saddle has a residual of {result.residual:.3g}, expected below {RESIDUAL:g}; lower gamma0",
            result=result,
        )
    if bool((torch.cat([result.train_fluctuation, result.test_fluctuation]) <= 0.0).any()):
        raise ConvergenceError(
            "the outputs have a negative variance at the saddle that grows out of the NNGP: it is no maximum of the "
            "posterior any more; lower gamma0",
            result=result,
        )
    return result


def deep_saddle_residual(problem: DeepAdaptiveProblem, kernels: Any, conjugates: Any) -> float:
    """How far any point is from the saddle equations: relative, largest over layers, kernels and conjugates alike.

    Args:
        problem: Data, activation, depth, gamma0, temperature.
        kernels: (L, P, P), positive semidefinite.
        conjugates: (L, P, P).

    Returns:
        0 at a saddle, to rounding; of the order of 1 far from it.

    Raises:
        SpecError: Another number of layers or samples, or a kernel that is no covariance.
        ScopeError: More than four samples, or a tilted law that outgrows the grid.

    **Source**: arXiv:2502.07998. **Accuracy**: of the grid, see `solve_deep_adaptive`.

    >>> problem = DeepAdaptiveProblem([[1.0]], [2.0], activation="linear", depth=1)
    >>> round(deep_saddle_residual(problem, torch.ones(1, 1, 1), torch.zeros(1, 1, 1)), 6)
    1.0
    """
    stack, shape = _stack(problem), (problem.depth, len(problem.targets), len(problem.targets))
    points = [torch.as_tensor(value).to(torch.float64) for value in (kernels, conjugates)]
    if any(tuple(point.shape) != shape for point in points):
        raise SpecError(f"kernels {tuple(points[0].shape)}, conjugates {tuple(points[1].shape)}: expected {shape} each")
    lowest = float(torch.linalg.eigvalsh(points[0])[:, 0].min())
    if lowest < -1e-10 * float(points[0].abs().max()):
        raise SpecError(f"a kernel has the eigenvalue {lowest:.3g}; expected covariances, positive semidefinite")
    belows = [stack.first, *(factored(kernel) for kernel in points[0][:-1])]
    layers = []
    for below, conjugate in zip(belows, points[1], strict=True):
        one = torch.eye(below.factor.shape[1], dtype=torch.float64)
        for _ in range(3):
            box = boxes_for([one], coarse=1.0)[0]
            layer = tilted(box, below, stack.phi, conjugate)
            one = layer.second
        layers.append(layer)
    swept = Swept(lack=torch.empty(0), belows=belows, layers=layers)
    return _mismatch(stack, problem.gamma0, swept, points[0], points[1])


def _stack(problem: DeepAdaptiveProblem) -> Stack:
    return Stack(
        first=factored(problem.kernel),
        targets=problem.targets,
        activation=problem.phi,
        depth=problem.depth,
        inverse_temperature=problem.inverse_temperature,
    )


def _settle(
    stack: Stack,
    start: Tensor,
    gamma0: float,
    seconds: Sequence[Tensor],
    *,
    coarse: float = 1.0,
    slope: Tensor | None = None,
) -> Solved:
    """The solution on one set of grids."""
    boxes = boxes_for(seconds, coarse=coarse)
    found = newton(stack, start, gamma0, boxes, bound=TIGHT * float(stack.targets.norm()), slope=slope)
    if found is None:
        raise ConvergenceError(f"a finer grid moves the saddle too far at gamma0 {gamma0:g}; lower gamma0")
    unknowns, swept, slope, _ = found
    return Solved(stack=stack, gamma0=gamma0, boxes=boxes, unknowns=unknowns, swept=swept, slope=slope)


def _result(problem: DeepAdaptiveProblem, solved: Solved) -> dict[str, Any]:
    """Every field that an average on one set of grids gives."""
    beta, gamma0 = problem.inverse_temperature, problem.gamma0
    conjugates, residuals = solved.stack.conjugates(solved.unknowns, gamma0)
    kernels = torch.stack([layer.kernel for layer in solved.swept.layers])
    partitions = [layer.log_partition for layer in solved.swept.layers]
    traces = [
        float((kernel * conjugate).sum()) for kernel, conjugate in zip(kernels[:-1], conjugates[:-1], strict=True)
    ]
    data = beta * gamma0**2 * float(residuals @ problem.targets - 0.5 * residuals @ residuals)
    rows = [carry(solved, row, variance).row for row, variance in zip(*problem.test_kernel, strict=True)]
    outputs = [beta * float(row @ residuals) for row in rows]
    return {
        "residuals": residuals,
        "train_mean": problem.targets - residuals,
        "test_mean": torch.tensor(outputs, dtype=torch.float64),
        "kernels": kernels,
        "conjugates": torch.stack(conjugates),
        "readout_second_moment": 1.0 + (beta * gamma0) ** 2 * float(residuals @ kernels[-1] @ residuals),
        "log_evidence": 0.5 * sum(traces) + sum(partitions) - data,
    }


def _test_fluctuations(problem: DeepAdaptiveProblem, solved: Solved) -> Tensor:
    values = [
        test_fluctuation(solved, row, variance, carry(solved, row, variance))
        for row, variance in zip(*problem.test_kernel, strict=True)
    ]
    return torch.tensor(values, dtype=torch.float64)


def _mismatch(stack: Stack, gamma0: float, swept: Swept, kernels: Tensor, conjugates: Tensor) -> float:
    """Relative, largest over layers: kernels against the averages, conjugates against what the layer above asks."""
    one, beta = torch.eye(len(stack.targets), dtype=torch.float64), stack.inverse_temperature
    residuals = torch.linalg.solve(one + beta * kernels[-1], stack.targets)
    asked = [
        conjugate_below(below, layer.second) for below, layer in zip(swept.belows[1:], swept.layers[1:], strict=True)
    ]
    asked.append(-((gamma0 * beta) ** 2) * torch.outer(residuals, residuals))
    pairs = [
        *zip(kernels, [layer.kernel for layer in swept.layers], strict=True),
        *zip(conjugates, asked, strict=True),
    ]
    return max(float((a - b).norm() / (a.norm() + b.norm()).clamp_min(1e-300)) for a, b in pairs)
