"""Which run to do next: the one that narrows a stated forecast the most per unit of cost.

With S the covariance of theta and j(x) the gradient of the law at x, a run at x with noise s removes
(j_x S j_t)^2 / (j_x S j_x + s^2) from the variance of the forecast at t. On its own this picks the corners of the box,
where the law is least to be believed; so s grows with the distance from the table, at the rate at which the law's own
backtest errors grew.

Source: limes, docs/laws.md; the linearized gain: Chaloner and Verdinelli 1995, Eq. 3.
Letters: S (p, p), j gradients in theta, c candidates.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from limes.core.errors import SpecError
from limes.laws.backtest import run_backtest
from limes.laws.bootstrap import bootstrap_thetas, residual_std
from limes.laws.draw import as_numpy
from limes.laws.fit import LawFit
from limes.laws.form import Array
from limes.laws.interval import extrapolation_decades

NUM_RESAMPLES = 400
GRID = 24
STEP = 1e-5
DEFAULT_MISFIT = 0.01


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Design:
    """Candidate runs, best first.

    Args:
        points: Input name to (c,).
        cost: (c,).
        spread: (c,) standard deviation of the forecast after that run, in residual units.
        removed: (c,) share of the forecast's variance that it removes.
        score: (c,) removed per cost, what the order follows; or `removed` itself where `per_cost=False`.
        spread_now: Of the forecast today.
        noise: (c,) standard deviation assumed for each run: residuals and misfit.
    """

    points: Mapping[str, Array]
    cost: Array
    spread: Array
    removed: Array
    score: Array
    spread_now: float
    noise: Array

    def to_rows(self, num: int = 10) -> list[dict[str, float]]:
        """The best `num` candidates as mappings."""
        return [
            {
                **{name: float(column[k]) for name, column in self.points.items()},
                "cost": float(self.cost[k]),
                "removed": float(self.removed[k]),
                "spread": float(self.spread[k]),
                "score": float(self.score[k]),
            }
            for k in range(min(num, len(self.cost)))
        ]


def design_next(
    fit: LawFit,
    target: Mapping[str, ArrayLike],
    *,
    max_cost: float,
    box: Mapping[str, tuple[float, float]],
    cost: Callable[[Mapping[str, Array]], Array] | None = None,
    allowed: Callable[[Mapping[str, Array]], Array] | None = None,
    candidates: Mapping[str, ArrayLike] | None = None,
    per_cost: bool = True,
    misfit_per_decade: float | None = None,
    generator: Any = None,
) -> Design:
    """Rank runs by how much of a forecast's variance they remove.

    Args:
        fit: Fitted law.
        target: One point, input name to number: the forecast that matters.
        max_cost: Dearest run to consider.
        box: Input name to smallest and largest value; a grid of 24 values per input (at most three inputs) is tried.
        cost: Columns to (c,) cost; by default 6 x the product of the law's cost inputs.
        allowed: Columns to (c,) bool, for limits across inputs such as tokens per parameter.
        candidates: Columns of runs to choose from, in place of the grid.
        per_cost: Order by variance removed per cost, else by variance removed.
        misfit_per_decade: Growth of the law's error per decade beyond the table, in residual units; by default from
            the fit's backtest, 0.01 where the table allows none.
        generator: numpy or torch generator; by default numpy's with seed 0.

    Returns:
        A `Design`.

    Raises:
        SpecError: box and law disagree, or nothing is left within cost and box.

    Source: limes, docs/laws.md.
    """
    rng = np.random.default_rng(0) if generator is None else as_numpy(generator)
    goal = {name: np.atleast_1d(values)[:1] for name, values in fit.points(target).items()}
    points = fit.points(candidates) if candidates is not None else _grid(fit, box)
    price = cost(points) if cost is not None else 6.0 * np.prod([points[name] for name in fit.law.cost_names], axis=0)
    keep = price <= max_cost
    for name, (low, high) in box.items():
        keep &= (points[name] >= low * (1 - 1e-9)) & (points[name] <= high * (1 + 1e-9))
    if allowed is not None:
        keep &= np.asarray(allowed(points), dtype=bool)
    if not keep.any():
        raise SpecError(f"no candidate lies in the box and costs at most {max_cost:g} (cheapest: {price.min():g})")
    points, price = {name: column[keep] for name, column in points.items()}, price[keep]
    draws = bootstrap_thetas(fit.problem, fit.solution.minima[:1], num=NUM_RESAMPLES, generator=rng)
    covariance = _covariance(draws)
    at_goal, at_points = _gradients(fit, goal)[0], _gradients(fit, points)
    rate = misfit_rate(fit) if misfit_per_decade is None else misfit_per_decade
    noise = np.hypot(_estimator_noise(fit, covariance), rate * extrapolation_decades(fit.problem, points))
    now = float(at_goal @ covariance @ at_goal)
    shared = at_points @ covariance @ at_goal
    own = np.einsum("cp,pq,cq->c", at_points, covariance, at_points)
    removed = shared**2 / (own + noise**2) / now
    score = removed / price if per_cost else removed
    order = np.argsort(-score, kind="stable")
    return Design(
        points={name: column[order] for name, column in points.items()},
        cost=price[order],
        spread=np.sqrt(now * np.maximum(1 - removed[order], 0.0)),
        removed=removed[order],
        score=score[order],
        spread_now=float(np.sqrt(now)),
        noise=noise[order],
    )


def misfit_rate(fit: LawFit) -> float:
    """Growth of the held-out error per decade of extrapolation, in residual units, beyond what residuals explain."""
    test = run_backtest(fit.problem, extra=fit.solution.minima, runs=fit.runs)
    far = test.decades > 0.1
    if far.sum() < 3:
        return DEFAULT_MISFIT
    excess = np.maximum(test.error[far] ** 2 - residual_std(fit.problem, fit.theta) ** 2, 0.0)
    return float(np.sqrt(np.median(excess / test.decades[far] ** 2)))


def _grid(fit: LawFit, box: Mapping[str, tuple[float, float]]) -> dict[str, Array]:
    names: Sequence[str] = fit.law.input_names
    if set(box) != set(names):
        raise SpecError(
            f"box gives {', '.join(box)}, but {fit.law.name} reads {', '.join(names)}; give a range for each"
        )
    if len(names) > 3:
        raise SpecError(f"{fit.law.name} has {len(names)} inputs, too many for a grid; pass candidates={{...}}")
    lines = [np.geomspace(*box[name], GRID) for name in names]
    mesh = np.meshgrid(*lines, indexing="ij")
    return {name: axis.ravel() for name, axis in zip(names, mesh)}


def _covariance(draws: Array) -> Array:
    """Covariance of theta over resamples, with the farthest 2 % (refits gone astray) clipped to the rest."""
    low, high = np.quantile(draws, [0.01, 0.99], axis=0)
    return np.atleast_2d(np.cov(np.clip(draws, low, high).T))


def _estimator_noise(fit: LawFit, covariance: Array) -> float:
    """Noise of one run as this estimator feels it: s^2 = sum_i j_i S j_i / p over the table's rows.

    For least squares that is the residual variance; a robust objective, which uses a run less well, feels more.
    """
    rows = _gradients(fit, {name: column * fit.problem.scales[name] for name, column in fit.problem.columns.items()})
    return float(np.sqrt(np.einsum("np,pq,nq->", rows, covariance, rows) / len(fit.theta)))


def _gradients(fit: LawFit, points: Mapping[str, Array]) -> Array:
    """(c, p) central differences of the law, of its logarithm where residuals are logarithms."""
    columns = fit.problem.normalize(points)
    size = len(fit.theta)
    moved = np.concatenate([fit.theta + STEP * np.eye(size), fit.theta - STEP * np.eye(size)])
    values = fit.problem.predict(moved, columns)
    if fit.problem.log_residuals:
        values = np.log(values)
    else:
        values = values / fit.problem.scales[fit.law.target]
    return ((values[:size] - values[size:]) / (2 * STEP)).T
