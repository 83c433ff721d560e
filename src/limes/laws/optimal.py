"""Compute-optimal shapes from a fitted law: how to split a budget, what a wrong split costs.

Works for any law in two sizes and any cost of the form factor * first^p * second^q: parameters and tokens at 6 N D,
width and depth at 12 width^2 depth parameters.

Source: Hoffmann et al., arXiv:2203.15556, Eq. 4 (closed form of the additive law, which the search here reproduces).
Letters: q budgets, B resamples, s = ln(first size).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from limes.core.errors import SpecError
from limes.laws.bootstrap import bootstrap_thetas
from limes.laws.draw import as_numpy
from limes.laws.fit import LawFit
from limes.laws.form import Array, Index
from limes.laws.problem import Problem

GRID, ROUNDS = 65, 5
FIRST_REACH = 12.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """factor * first^first_power * second^second_power.

    Args:
        first, second: Input names.
        factor: Dimensionless.
        first_power, second_power: Exponents.
    """

    first: str = "num_params"
    second: str = "num_tokens"
    factor: float = 6.0
    first_power: float = 1.0
    second_power: float = 1.0

    def of(self, first: ArrayLike, second: ArrayLike) -> Array:
        """Cost of a run."""
        a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
        return np.asarray(self.factor * a**self.first_power * b**self.second_power)

    def second_at(self, budget: ArrayLike, first: ArrayLike) -> Array:
        """The second size that spends the budget."""
        budget, first = np.asarray(budget, dtype=float), np.asarray(first, dtype=float)
        return np.asarray((budget / self.factor / first**self.first_power) ** (1 / self.second_power))


TRAINING_FLOPS = Cost()
RESIDUAL_BLOCK_PARAMS = Cost(first="width", second="depth", factor=12.0, first_power=2.0, second_power=1.0)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Frontier:
    """Best shapes at given budgets.

    Args:
        budget: (q,).
        first, second, ratio, loss: (q,) optimum at each budget; ratio is second over first.
        low, high: Name ("first", "second", "ratio", "loss", "exponent") to (q,) or () limits of the interval.
        exponent: d ln first / d ln budget between the smallest and the largest budget (nan for one budget).
        level: Of the intervals, which are for the fitted law, from resampling.
        cost: How the budget is spent.
        draws: "first", "second", "ratio" and "loss" to (B, q), "exponent" to (B,): every resample.
    """

    budget: Array
    first: Array
    second: Array
    ratio: Array
    loss: Array
    low: Mapping[str, Array]
    high: Mapping[str, Array]
    exponent: float
    level: float
    cost: Cost
    draws: Mapping[str, Array]

    def to_rows(self) -> list[dict[str, float]]:
        """One mapping per budget."""
        return [
            {
                "budget": float(self.budget[k]),
                **{
                    f"{name}{suffix}": float(values[k])
                    for name in ("first", "second", "ratio", "loss")
                    for suffix, values in (
                        ("", getattr(self, name)),
                        ("_low", self.low[name]),
                        ("_high", self.high[name]),
                    )
                },
            }
            for k in range(len(self.budget))
        ]


def frontier(
    fit: LawFit,
    budget: ArrayLike,
    *,
    cost: Cost = TRAINING_FLOPS,
    level: float = 0.9,
    num_resamples: int = 400,
    generator: Any = None,
    fixed: Mapping[str, float] | None = None,
) -> Frontier:
    """Optimal sizes, their ratio and the loss at each budget, with intervals.

    Args:
        fit: Fitted law.
        budget: (q,) or a number, in units of the cost.
        cost: How the two sizes spend it.
        level: Of the intervals.
        num_resamples: Refits behind them.
        generator: numpy or torch generator; by default numpy's with seed 0, the noise being a numerical device.
        fixed: Values of the law's other inputs.

    Returns:
        A `Frontier`.

    Raises:
        SpecError: the law does not read the cost's sizes, or a budget is not positive.

    Source: arXiv:2203.15556, Eq. 4.
    Accuracy: sizes within 1e-6 relative of the optimum of the fitted law, where it is inside the search range.

    >>> import numpy as np
    >>> from limes.laws import CHINCHILLA, fit_law, frontier
    >>> rng = np.random.default_rng(0)
    >>> table = {"num_params": 10 ** rng.uniform(7, 10, 40), "num_tokens": 10 ** rng.uniform(9, 11, 40)}
    >>> fit = fit_law(CHINCHILLA, {**table, "loss": CHINCHILLA.value(CHINCHILLA.example, table)})
    >>> round(frontier(fit, [1e20, 1e22]).exponent, 4)
    0.5139
    """
    budgets = np.atleast_1d(np.asarray(budget, dtype=float))
    if not (np.isfinite(budgets) & (budgets > 0)).all():
        raise SpecError(f"budget is {budgets.min():g}; give positive, finite numbers")
    _check_inputs(fit, cost, fixed)
    rng = np.random.default_rng(0) if generator is None else as_numpy(generator)
    kind = "rows" if fit.runs is None else "runs"
    draws = bootstrap_thetas(
        fit.problem, fit.solution.minima, num=num_resamples, generator=rng, kind=kind, runs=fit.runs
    )
    thetas = np.concatenate([fit.theta[None], draws])
    first = optimal_first(fit.problem, thetas, budgets, cost=cost, fixed=fixed)
    second = cost.second_at(budgets, first)
    loss = evaluate_shape(fit.problem, thetas, first, second, cost=cost, fixed=fixed)
    exponents = _exponent(budgets, first)
    values = {"first": first, "second": second, "ratio": second / first, "loss": loss, "exponent": exponents}
    limits = [
        {name: _quantile(array[1:], q) for name, array in values.items()} for q in ((1 - level) / 2, (1 + level) / 2)
    ]
    return Frontier(
        budget=budgets,
        first=first[0],
        second=second[0],
        ratio=values["ratio"][0],
        loss=loss[0],
        low=limits[0],
        high=limits[1],
        exponent=float(exponents[0]),
        level=level,
        cost=cost,
        draws={name: array[1:] for name, array in values.items()},
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Penalty:
    """What a shape costs against the best one.

    Args:
        budget: Cost of the shape.
        loss: There.
        best_loss: Of the best shape at the same budget.
        excess: Their difference.
        extra_compute: Budget of the shape over the budget at which the best shape reaches the same loss.
    """

    budget: float
    loss: float
    best_loss: float
    excess: float
    extra_compute: float


def shape_penalty(fit: LawFit, first: float, second: float, *, cost: Cost = TRAINING_FLOPS) -> Penalty:
    """The loss and the compute that a shape gives away.

    Args:
        fit: Fitted law in the cost's two sizes.
        first, second: Sizes, such as parameters and tokens.
        cost: How a budget is spent.

    Raises:
        SpecError: the law reads other inputs.

    Source: limes, docs/laws.md.
    """
    _check_inputs(fit, cost, None)
    budget = cost.of(first, second)
    loss = float(fit.value({cost.first: [first], cost.second: [second]})[0])
    best = _best_loss(fit, np.atleast_1d(budget), cost)[0]
    needed = budget_for_loss(fit, loss, cost=cost)
    return Penalty(
        budget=float(budget),
        loss=loss,
        best_loss=float(best),
        excess=float(loss - best),
        extra_compute=float(budget / needed),
    )


def budget_for_loss(fit: LawFit, loss: float, *, cost: Cost = TRAINING_FLOPS, theta: Array | None = None) -> float:
    """The smallest budget at which the best shape reaches a loss; infinite below the floor.

    Args:
        fit: Fitted law in the cost's two sizes.
        loss: Target, in the table's units.
        cost: How a budget is spent.
        theta: (p,) another parameter vector than the fit's, normalized.

    Source: limes, docs/laws.md (bisection in ln budget).
    Accuracy: 1e-6 relative.
    """
    low, high = np.log(1e-12), np.log(1e60)
    vector = fit.theta if theta is None else theta
    if _best_loss(fit, np.exp([high]), cost, vector)[0] > loss:
        return np.inf
    while high - low > 1e-6:
        middle = np.linspace(low, high, 34)[1:-1]
        below = _best_loss(fit, np.exp(middle), cost, vector) <= loss
        k = int(np.argmax(below)) if below.any() else len(middle)
        low, high = (middle[k - 1] if k else low), (middle[k] if k < len(middle) else high)
    return float(np.exp(high))


def near_optimal_range(
    fit: LawFit, budget: float, *, tolerance: float = 0.01, cost: Cost = TRAINING_FLOPS
) -> tuple[float, float]:
    """Smallest and largest ratio second / first whose loss stays within `tolerance` (relative) of the optimum.

    Args:
        fit: Fitted law in the cost's two sizes.
        budget: To spend.
        tolerance: Relative excess of the loss that is accepted.
        cost: How it is spent.

    Returns:
        (lowest, highest) ratio; 0 or infinity where the loss never leaves the tolerance within a factor e^12 in size.

    Raises:
        SpecError: the law reads other inputs.

    Source: limes, docs/laws.md.
    """
    _check_inputs(fit, cost, None)
    budgets = np.array([float(budget)])
    best = optimal_first(fit.problem, fit.theta[None], budgets, cost=cost)[0, 0]
    steps = np.linspace(0, FIRST_REACH, 4001)
    ends = []
    for sign in (1.0, -1.0):
        first = best * np.exp(sign * steps)
        loss = fit.value({cost.first: first, cost.second: cost.second_at(budget, first)})
        over = np.flatnonzero(~(loss <= loss[0] * (1 + tolerance)))
        edge = first[over[0] - 1] if len(over) else (np.inf if sign > 0 else 0.0)
        ends.append(float(cost.second_at(budget, edge) / edge) if 0 < edge < np.inf else (0.0 if sign > 0 else np.inf))
    return ends[0], ends[1]


def optimal_first(
    problem: Problem, thetas: Array, budgets: Array, *, cost: Cost, fixed: Mapping[str, float] | None = None
) -> Array:
    """(B, q) first size that minimizes the law at each budget, for each theta, by nested grids in ln size."""
    center = float(np.log(problem.scales[cost.first]))
    shift = np.log(budgets / np.median(budgets)) / (cost.first_power + cost.second_power)
    best = np.broadcast_to(center + shift, (len(thetas), len(budgets)))
    reach = 2 * FIRST_REACH
    for _ in range(ROUNDS):
        offsets = np.linspace(-reach, reach, GRID)
        size = np.exp(best[:, :, None] + offsets)
        second = cost.second_at(budgets[None, :, None], size)
        flat = (len(thetas), -1)
        loss = evaluate_shape(problem, thetas, size.reshape(flat), second.reshape(flat), cost=cost, fixed=fixed)
        loss = np.where(np.isfinite(loss), loss, np.inf).reshape(size.shape)
        k = np.argmin(loss, axis=2)
        best = best + offsets[k] + _vertex(loss, k) * (offsets[1] - offsets[0])
        reach = 1.5 * (offsets[1] - offsets[0])
    return np.exp(best)


def evaluate_shape(
    problem: Problem,
    thetas: Array,
    first: Array,
    second: Array,
    *,
    cost: Cost,
    fixed: Mapping[str, float] | None = None,
) -> Array:
    """(B, m) the law at (B, m) sizes, each row with its own parameters, in the user's units."""
    params = {name: value[:, None] for name, value in problem.law.unpack(thetas).items()}
    columns: dict[str, Array] = {
        cost.first: first / problem.scales[cost.first],
        cost.second: second / problem.scales[cost.second],
    }
    for name, number in (fixed or {}).items():
        columns[name] = np.full(first.shape, number / problem.scales[name])
    with np.errstate(all="ignore"):
        return np.asarray(problem.law.value(params, columns) * problem.scales[problem.law.target])


def _best_loss(fit: LawFit, budgets: Array, cost: Cost, theta: Array | None = None) -> Array:
    thetas = (fit.theta if theta is None else theta)[None]
    first = optimal_first(fit.problem, thetas, budgets, cost=cost)
    return evaluate_shape(fit.problem, thetas, first, cost.second_at(budgets, first), cost=cost)[0]


def _vertex(loss: Array, k: Index) -> Array:
    """Where the parabola through the lowest grid point and its neighbours has its minimum, in grid steps."""
    inner = np.clip(k, 1, loss.shape[2] - 2)[:, :, None]
    a, b, c = (np.take_along_axis(loss, inner + step, axis=2)[:, :, 0] for step in (-1, 0, 1))
    with np.errstate(all="ignore"):
        shift = 0.5 * (a - c) / (a - 2 * b + c)
    edge = (k == 0) | (k == loss.shape[2] - 1)
    return np.where(edge | ~np.isfinite(shift), 0.0, np.clip(shift, -1, 1))


def _quantile(draws: Array, level: float) -> Array:
    """Over resamples; nan where no draw is finite."""
    filled = np.where(np.isfinite(draws).any(axis=0), draws, 0.0)
    return np.where(np.isfinite(draws).any(axis=0), np.nanquantile(filled, level, axis=0), np.nan)


def _exponent(budgets: Array, first: Array) -> Array:
    if len(budgets) < 2 or budgets.max() == budgets.min():
        return np.full(len(first), np.nan)
    low, high = int(np.argmin(budgets)), int(np.argmax(budgets))
    return np.log(first[:, high] / first[:, low]) / np.log(budgets[high] / budgets[low])


def _check_inputs(fit: LawFit, cost: Cost, fixed: Mapping[str, float] | None) -> None:
    given = {cost.first, cost.second, *(fixed or {})}
    if given != set(fit.law.input_names):
        raise SpecError(
            f"{fit.law.name} reads {', '.join(fit.law.input_names)}, but the cost and fixed values give "
            f"{', '.join(sorted(given))}; pass cost=Cost(...) and fixed={{...}} so that they agree"
        )
