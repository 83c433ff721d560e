"""Which of two families of runs scales better: floor, exponent, and the compute each needs for a given loss.

Source: limes, docs/laws.md. Each family is resampled on its own; differences and ratios are taken draw by draw.
Letters: B resamples, q losses.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from limes.core.errors import SpecError
from limes.laws.bootstrap import bootstrap_thetas
from limes.laws.draw import as_numpy
from limes.laws.fit import LawFit
from limes.laws.form import Array
from limes.laws.optimal import TRAINING_FLOPS, Cost, budget_for_loss, near_optimal_range

SHAPE_TOLERANCE = 0.01


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Estimate:
    """A number or array with its interval."""

    value: Array
    low: Array
    high: Array


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FamilyComparison:
    """Two families of runs under one law.

    Args:
        differences: Parameter name to second minus first.
        loss: (q,) target losses.
        first_budget, second_budget: (q,) compute each family needs for them; infinite where it never gets there.
        saved: (q,) share of the first family's compute that the second saves; negative where it needs more.
        first_shapes, second_shapes: (q, 2) lowest and highest ratio of the two sizes (depth over width, tokens over
            parameters) that stays within `SHAPE_TOLERANCE` of the best loss at the budget of that family; nan for a
            law in one size or a loss out of reach.
        level: Of all intervals.
        verdict: One sentence.
    """

    differences: Mapping[str, Estimate]
    loss: Array
    first_budget: Estimate
    second_budget: Estimate
    saved: Estimate
    first_shapes: Array
    second_shapes: Array
    level: float
    verdict: str


def compare_families(
    first: LawFit,
    second: LawFit,
    loss: ArrayLike,
    *,
    cost: Cost | None = TRAINING_FLOPS,
    level: float = 0.9,
    num_resamples: int = 200,
    generator: Any = None,
    progress: Callable[[float], None] | None = None,
) -> FamilyComparison:
    """Compare two fits of one law on two families of runs, such as two parametrizations.

    Args:
        first, second: Fits of the same law.
        loss: (q,) target losses.
        cost: How two sizes spend compute; None for a law in one size, whose size then is the compute.
        level: Of the intervals.
        num_resamples: Refits of each family.
        generator: numpy or torch generator; by default numpy's with seed 0.
        progress: Called with the share that is done.

    Returns:
        A `FamilyComparison`.

    Raises:
        SpecError: the fits are of different laws.

    Source: limes, docs/laws.md.
    """
    if first.law is not second.law:
        raise SpecError(f"the fits are of {first.law.name} and {second.law.name}; fit one law to both families")
    rng = np.random.default_rng(0) if generator is None else as_numpy(generator)
    losses = np.atleast_1d(np.asarray(loss, dtype=float))
    thetas = []
    for fit in (first, second):
        kind = _kind(fit)
        draws = bootstrap_thetas(
            fit.problem, fit.solution.minima, num=num_resamples, generator=rng, kind=kind, runs=fit.runs
        )
        thetas.append(np.concatenate([fit.theta[None], draws]))
    params = [fit.problem.params(theta) for fit, theta in zip((first, second), thetas)]
    differences = {name: _estimate(params[1][name] - params[0][name], level) for name in first.law.names}
    budgets: list[Array] = []
    for fit, theta in zip((first, second), thetas):
        needed = np.empty((len(theta), len(losses)))
        for k, row in enumerate(theta):
            needed[k] = [_needed(fit, target, cost, row) for target in losses]
            if progress is not None:
                progress((len(budgets) + (k + 1) / len(theta)) / 2)
        budgets.append(needed)
    with np.errstate(all="ignore"):
        saved = 1 - budgets[1] / budgets[0]
    saved = np.where(np.isinf(budgets[1]), -np.inf, np.where(np.isinf(budgets[0]), 1.0, saved))
    result = _estimate(saved, level)
    return FamilyComparison(
        differences=differences,
        loss=losses,
        first_budget=_estimate(budgets[0], level),
        second_budget=_estimate(budgets[1], level),
        saved=result,
        first_shapes=_shapes(first, budgets[0][0], cost),
        second_shapes=_shapes(second, budgets[1][0], cost),
        level=level,
        verdict=_verdict(losses, result, level),
    )


def _shapes(fit: LawFit, budgets: Array, cost: Cost | None) -> Array:
    ends = [
        near_optimal_range(fit, float(budget), tolerance=SHAPE_TOLERANCE, cost=cost)
        if cost is not None and np.isfinite(budget)
        else (np.nan, np.nan)
        for budget in budgets
    ]
    return np.array(ends)


def _kind(fit: LawFit) -> str:
    if fit.runs is not None:
        return "runs"
    return "rows" if fit.num_rows >= 3 * len(fit.law.parameters) else "residual"


def _needed(fit: LawFit, loss: float, cost: Cost | None, theta: Array) -> float:
    if cost is not None:
        return budget_for_loss(fit, loss, cost=cost, theta=theta)
    name = fit.law.input_names[0]
    low, high = -40.0, 120.0
    for _ in range(8):
        grid = np.linspace(low, high, 41)
        value = fit.problem.predict(theta[None], {name: np.exp(grid)})[0]
        k = int(np.argmax(value <= loss)) if (value <= loss).any() else len(grid)
        if k == len(grid):
            return np.inf
        low, high = grid[max(k - 1, 0)], grid[k]
    return float(np.exp(high) * fit.problem.scales[name])


def _estimate(draws: Array, level: float) -> Estimate:
    ordered = np.sort(draws[1:], axis=0)
    last = len(ordered) - 1
    low, high = int(np.floor((1 - level) / 2 * last)), int(np.ceil((1 + level) / 2 * last))
    return Estimate(value=draws[0], low=ordered[low], high=ordered[high])


def _verdict(losses: Array, saved: Estimate, level: float) -> str:
    """About the lowest loss that both families reach, with the ends of the interval out of reach said so."""
    reached = np.flatnonzero(np.isfinite(saved.value))
    if not len(reached):
        return f"No loss asked for, down to {losses.min():g}, is reached by both families, whatever the compute."
    k = int(reached[np.argmin(losses[reached])])
    ends = ["without bound" if not np.isfinite(end) else f"{end:.0%}" for end in (saved.low[k], saved.high[k])]
    span = f"{ends[0]} to {ends[1]} at {level:.0%}"
    if saved.low[k] > 0:
        return f"The second family reaches loss {losses[k]:g} with {saved.value[k]:.0%} less compute ({span})."
    if saved.high[k] < 0:
        times = 1.0 - saved.value[k]
        return f"The second family needs {times:.2g} times the compute for loss {losses[k]:g} (it saves {span})."
    return f"These runs do not tell which family needs less compute for loss {losses[k]:g} (second saves {span})."
