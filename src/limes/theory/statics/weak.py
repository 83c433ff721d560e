"""Weak feature learning: the first correction in gamma0^2 to the NNGP posterior of a network with one hidden layer.

    Phi = K + g^2 K1 + O(g^4),   K1 = (b^2 / 2) (<phi phi' a^2> - K <a^2>),   a = d.phi,   d = (1 + b K)^-1 y,
    f = b K d + g^2 b (1 + b K)^-1 K1 d + O(g^4),       prior averages throughout.

Source: Lauditi, Bordelon & Pehlevan, arXiv:2502.07998; docs/theory/adaptive_kernels.md.
Letters: P samples, M test inputs, K NNGP kernel, g gamma0, b inverse temperature, d residuals.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from limes.theory.checks import check_whole
from limes.theory.statics.adaptive import AdaptiveProblem
from limes.theory.statics.neuron import Grid, directions_of


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WeakResult:
    """The first two orders.

    Args:
        train_mean: (P,) outputs on the training inputs to order gamma0^2.
        test_mean: (M,).
        train_slope: (P,) derivative of the outputs by gamma0^2 at zero.
        test_slope: (M,).
        kernel: (P, P) to order gamma0^2.
        kernel_slope: (P, P) K1.
        log_evidence: (1/N) ln Z to order gamma0^4.
        train_slope_error, test_slope_error, kernel_slope_error: Of the averages: against a grid of half the points, or
            the standard error over replicas.
        problem: What was solved.
    """

    train_mean: Tensor
    test_mean: Tensor
    train_slope: Tensor
    test_slope: Tensor
    kernel: Tensor
    kernel_slope: Tensor
    log_evidence: float
    train_slope_error: Tensor
    test_slope_error: Tensor
    kernel_slope_error: Tensor
    problem: AdaptiveProblem = field(repr=False)


def solve_weak(problem: AdaptiveProblem, *, num_draws: int = 65536, num_replicas: int = 8, seed: int = 0) -> WeakResult:
    """What feature learning changes first, without solving for a saddle.

    Args:
        problem: Data, activation, gamma0, temperature.
        num_draws: Draws of the neuron in each replica, where the inputs span more than three directions.
        num_replicas: Independent sets of draws.
        seed: Of the draws.

    Returns:
        `WeakResult`.

    Raises:
        SpecError: A count is out of range.

    **Source**: arXiv:2502.07998, expansion of the saddle equations in gamma0^2.
    **Accuracy**: what is left is of order gamma0^4; averages by the errors returned, 1e-12 for smooth activations on
    inputs that span at most three directions.

    >>> fit = solve_weak(AdaptiveProblem([[1.0]], [2.0], activation="linear", gamma0=0.1))
    >>> round(fit.kernel_slope.item(), 6), round(fit.train_slope.item(), 6)       # K1 = b^2 d^2 K^2 = 1, d = 1
    (1.0, 0.5)
    """
    draws = check_whole("num_draws", num_draws, least=64)
    replicas = check_whole("num_replicas", num_replicas, least=2)
    seed = check_whole("seed", seed, least=0)
    directions = directions_of(torch.cat([problem.inputs, problem.test_inputs]))
    if Grid.fits(directions):
        fine, rough = (_on_grid(problem, directions, stride) for stride in (1, 2))
        mean, error = fine, [abs(a - b) for a, b in zip(fine, rough, strict=True)]
    else:
        generator = torch.Generator().manual_seed(seed)
        rows = [_on_draws(problem, directions, draws, generator) for _ in range(replicas)]
        columns = [torch.stack(column) for column in zip(*rows, strict=True)]
        mean = [column.mean(0) for column in columns]
        error = [column.std(0) / replicas**0.5 for column in columns]
    kernel, slope, base, shift, evidence = mean
    size, step = len(problem.targets), problem.gamma0**2
    return WeakResult(
        train_mean=base[:size] + step * shift[:size],
        test_mean=base[size:] + step * shift[size:],
        train_slope=shift[:size],
        test_slope=shift[size:],
        kernel=kernel + step * slope,
        kernel_slope=slope,
        log_evidence=float(evidence),
        train_slope_error=error[3][:size],
        test_slope_error=error[3][size:],
        kernel_slope_error=error[1],
        problem=problem,
    )


def _on_grid(problem: AdaptiveProblem, directions: Tensor, stride: int) -> list[Tensor]:
    values, weights = Grid(directions, problem.phi.value, stride=stride).prior()
    return _expansion(problem, values, weights)


def _on_draws(problem: AdaptiveProblem, directions: Tensor, num_draws: int, generator: torch.Generator) -> list[Tensor]:
    z = torch.randn(num_draws, directions.shape[1], generator=generator, dtype=torch.float64)
    # Both signs of each draw: what is odd in the neuron averages out.
    values = problem.phi.value(torch.cat([z, -z]) @ directions.T)
    return _expansion(problem, values, torch.full((2 * num_draws,), 0.5 / num_draws, dtype=torch.float64))


def _expansion(problem: AdaptiveProblem, values: Tensor, weights: Tensor) -> list[Tensor]:
    """K, K1, outputs without feature learning, their slope, evidence; outputs on all P + M inputs."""
    size, beta, step = len(problem.targets), problem.inverse_temperature, problem.gamma0**2
    scaled = values * weights[:, None]
    whole = scaled.T @ values
    one = torch.eye(size, dtype=torch.float64)
    bend = one + beta * whole[:size, :size]
    delta = torch.linalg.solve(bend, problem.targets)
    square = (values[:, :size] @ delta) ** 2
    mean = weights @ square
    slope = 0.5 * beta**2 * ((scaled * square[:, None]).T @ values - whole * mean)
    push = slope[:, :size] @ delta
    # df = b (K1 d + K dd), dd = -(1 + b K)^-1 b K1 d.
    shift = beta * (push - beta * whole[:, :size] @ torch.linalg.solve(bend, push[:size]))
    fourth = weights @ (square - mean) ** 2
    data = beta * step * (delta @ problem.targets - 0.5 * delta @ delta)
    evidence = 0.5 * beta**2 * step * mean + 0.125 * beta**4 * step**2 * fourth - data
    return [whole[:size, :size], slope[:size, :size], beta * whole[:, :size] @ delta, shift, evidence]
