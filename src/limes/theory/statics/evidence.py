"""Temperature and gamma0 by evidence: ln p(y) of a network of large finite width, and its largest value.

With noise of precision tau = b g^2 N on the targets, the saddle and the fluctuations around it give

    ln p(y) = -N max G + (P/2) ln(tau / (2 pi)) - (1/2) ln det(-G'' / (b g^2)) + O(1/N)

and by the envelope theorem   d max G / d ln b = b g^2 |d|^2 / 2,   d max G / d ln g = b g^2 d.y.

Source: Lauditi, Bordelon & Pehlevan, arXiv:2502.07998, for the saddle; the next order: docs/theory/hyperparameters.md.
Letters: P samples, N width, b inverse temperature, g gamma0, G the dual, d residuals, A and B grid points of b and g.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from limes.core.errors import ConvergenceError, SpecError
from limes.theory.checks import check_number, check_whole
from limes.theory.kernels import kernel_regression, nngp_kernel
from limes.theory.statics.adaptive import AdaptiveProblem, AdaptiveResult, solve_adaptive

Place = tuple[float, float]


def log_evidence_at_width(result: AdaptiveResult, width: int) -> float:
    """ln p(y) of a network of finite width, fluctuations around the saddle included.

    Args:
        result: The saddle.
        width: N.

    Returns:
        A log density of the targets, noise of variance 1 / (b g^2 N) included.

    Raises:
        SpecError: The width is no whole number above 0.

    **Source**: arXiv:2502.07998; limes, docs/theory/hyperparameters.md. **Accuracy**: an error of order 1/N at fixed
    samples and gamma0; exact for all N in the limit gamma0 to 0, where it is the evidence of a Gaussian process.

    >>> fit = solve_adaptive(AdaptiveProblem([[1.0]], [0.3], activation="linear", gamma0=0.01))
    >>> gaussian = -0.5 * math.log(2 * math.pi * 2.0) - 0.5 * 0.3**2 / 2.0     # variance 1 of f, 1 of the noise
    >>> abs(log_evidence_at_width(fit, 10_000) - gaussian) < 1e-4
    True
    """
    size, precision = len(result.residuals), _precision(result.problem, check_whole("width", width))
    return width * result.log_evidence + 0.5 * size * math.log(precision / (2.0 * math.pi)) - 0.5 * result.log_det


def log_evidence_without_features(problem: AdaptiveProblem, width: int) -> float:
    """ln p(y) of the same network if its kernel stayed that of the prior: the NNGP over g^2 N, and the same noise.

    Args:
        problem: Data, activation, gamma0, temperature.
        width: N.

    Returns:
        A log density of the targets.

    Raises:
        SpecError: The width is no whole number above 0.

    **Source**: arXiv:1711.00165. **Accuracy**: 1e-12 relative, times the condition number of kernel + noise.

    >>> one = AdaptiveProblem([[1.0]], [1.0], activation="linear", gamma0=0.1)
    >>> round(log_evidence_without_features(one, 100), 6)                    # N(1; 0, 1 + 1)
    -1.515512
    """
    variance = 1.0 / (problem.gamma0**2 * check_whole("width", width))
    kernel = nngp_kernel(problem.inputs, depth=1, activation=problem.phi, weight_var=1.0, bias_var=0.0)
    noise = 1.0 / _precision(problem, width)
    return kernel_regression(variance * kernel, problem.targets, kernel_test_train=kernel[:0], ridge=noise).log_evidence


def evidence_slopes(result: AdaptiveResult) -> tuple[float, float]:
    """How (1/N) ln Z at leading order changes with ln inverse_temperature and with ln gamma0, by the envelope theorem.

    Args:
        result: The saddle.

    Returns:
        Both derivatives; neither is positive: at leading order the data always prefer less of both, and only the
        normalization of the noise, which `log_evidence_at_width` has, makes a maximum.

    **Source**: limes, docs/theory/hyperparameters.md. **Accuracy**: that of the residuals.

    >>> fit = solve_adaptive(AdaptiveProblem([[1.0]], [2.0], activation="linear"))
    >>> [round(value, 6) for value in evidence_slopes(fit)]
    [-0.237286, -1.377784]
    """
    problem, delta = result.problem, result.residuals
    scale = problem.inverse_temperature * problem.gamma0**2
    return -0.5 * scale * float(delta @ delta), -scale * float(delta @ problem.targets)


def _precision(problem: AdaptiveProblem, width: int) -> float:
    return problem.inverse_temperature * problem.gamma0**2 * width


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class HyperparameterChoice:
    """Where the evidence is largest.

    Args:
        inverse_temperature, gamma0: The best pair found.
        log_evidence: There.
        at_end: Names of the hyperparameters whose best value is an end of its grid: a wider grid may hold a better one.
        inverse_temperatures: (A,) the grid.
        gamma0s: (B,).
        grid: (A, B) ln p(y); NaN where no saddle was found.
        num_solved: Pairs evaluated, refinement included.
        num_failed: Of them, without a saddle.
        width: N.
        feature_learning: Whether the kernel adapts.
        problem: The data; its own gamma0 and temperature play no part.
    """

    inverse_temperature: float
    gamma0: float
    log_evidence: float
    at_end: tuple[str, ...]
    inverse_temperatures: Tensor
    gamma0s: Tensor
    grid: Tensor
    num_solved: int
    num_failed: int
    width: int
    feature_learning: bool
    problem: AdaptiveProblem = field(repr=False)


def choose_hyperparameters(
    problem: AdaptiveProblem,
    *,
    width: int,
    inverse_temperatures: Sequence[float],
    gamma0s: Sequence[float],
    feature_learning: bool = True,
    num_refinements: int = 3,
    progress: Callable[[float], object] | None = None,
    **solver: Any,
) -> HyperparameterChoice:
    """The temperature and gamma0 under which the targets are most probable: a grid, then ever smaller ones.

    Args:
        problem: Data and activation.
        width: N, of the network whose evidence it is.
        inverse_temperatures: Increasing grid; one value fixes it.
        gamma0s: The same of gamma0.
        feature_learning: False takes the NNGP kernel instead of the adaptive one.
        num_refinements: Times that the spacing, on a logarithmic scale, is halved around the best pair.
        progress: Told the share of the pairs that are done.
        solver: Options of `solve_adaptive`.

    Returns:
        `HyperparameterChoice`.

    Raises:
        SpecError: A grid is empty, not increasing, or holds what is no number above 0.
        ConvergenceError: No pair of the grid has a saddle.

    **Source**: limes, docs/theory/hyperparameters.md. **Accuracy**: within the last spacing of a maximum; sampled
    evidence is noisy by width times `log_evidence_error`.

    >>> data = AdaptiveProblem([[1.0], [0.5]], [1.0, 0.4], activation="linear")
    >>> best = choose_hyperparameters(data, width=100, inverse_temperatures=[1, 10], gamma0s=[0.1, 0.3])
    >>> best.grid.shape, best.num_failed
    (torch.Size([2, 2]), 0)
    """
    width = check_whole("width", width)
    axes = (_axis("inverse_temperatures", inverse_temperatures), _axis("gamma0s", gamma0s))
    rounds = check_whole("num_refinements", num_refinements, least=0)
    found: dict[Place, float] = {}
    whole = len(axes[0]) * len(axes[1]) + 8 * rounds

    def evaluate(place: Place) -> float:
        if place not in found:
            found[place] = _evidence(problem, place, width, feature_learning, solver)
            if progress is not None:
                progress(min(len(found) / whole, 1.0))
        return found[place]

    grid = torch.tensor([[evaluate((b, g)) for g in axes[1]] for b in axes[0]], dtype=torch.float64)
    if bool(grid.isnan().all()):
        raise ConvergenceError("no pair of the grid has a saddle; lower gamma0 or the inverse temperature")
    best = max((place for place in found if not math.isnan(found[place])), key=lambda place: found[place])
    steps = [math.log(axis[-1] / axis[0]) / max(len(axis) - 1, 1) for axis in axes]
    for _ in range(rounds):
        steps = [0.5 * step for step in steps]
        best = _around(best, steps, axes, evaluate)
    names = ("inverse_temperature", "gamma0")
    ends = [name for name, value, axis in zip(names, best, axes) if len(axis) > 1 and value in (axis[0], axis[-1])]
    return HyperparameterChoice(
        inverse_temperature=best[0],
        gamma0=best[1],
        log_evidence=found[best],
        at_end=tuple(ends),
        inverse_temperatures=torch.tensor(axes[0], dtype=torch.float64),
        gamma0s=torch.tensor(axes[1], dtype=torch.float64),
        grid=grid,
        num_solved=len(found),
        num_failed=sum(math.isnan(value) for value in found.values()),
        width=width,
        feature_learning=feature_learning,
        problem=problem,
    )


def _axis(name: str, values: Sequence[float]) -> tuple[float, ...]:
    numbers = tuple(check_number(f"{name}[{i}]", value, low=0.0, open_low=True) for i, value in enumerate(values))
    if not numbers or any(b <= a for a, b in itertools.pairwise(numbers)):
        raise SpecError(f"{name} {list(values)}: expected one or more numbers above 0 in increasing order")
    return numbers


def _around(
    best: Place, steps: list[float], axes: tuple[tuple[float, ...], ...], evaluate: Callable[[Place], float]
) -> Place:
    """The best of the pair and its neighbours at these steps, within the ends of the grid."""
    near = [
        sorted({min(max(value * math.exp(way * step), axis[0]), axis[-1]) for way in (-1, 0, 1)})
        for value, step, axis in zip(best, steps, axes)
    ]
    places = [(b, g) for b in near[0] for g in near[1]]
    return max(places, key=lambda place: -math.inf if math.isnan(evaluate(place)) else evaluate(place))


def _evidence(problem: AdaptiveProblem, place: Place, width: int, learns: bool, solver: dict[str, Any]) -> float:
    there = replace(problem, inverse_temperature=place[0], gamma0=place[1])
    if not learns:
        return log_evidence_without_features(there, width)
    try:
        return log_evidence_at_width(solve_adaptive(there, **solver), width)
    except ConvergenceError:
        return math.nan
