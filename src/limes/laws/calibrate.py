"""The width of a forecast, learnt from the table's own backtests.

Source: limes, docs/laws.md: split conformal prediction (Lei et al., arXiv:1604.04173) with rolling origins in place of
exchangeable folds, and a factor for the one more step of extrapolation, estimated on synthetic laws.
Letters: m held-out rows, q points.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from scipy.stats import norm

from limes.laws.backtest import Backtest, num_resamples, prediction_spread
from limes.laws.bootstrap import bootstrap_thetas
from limes.laws.form import Array, Index
from limes.laws.problem import Problem
from limes.laws.solve import Solution

KAPPA, DECAY = 1.05, 0.7
NEAR_DECADES = 0.3


def weighted_quantile(values: Array, weights: Array, level: float) -> float:
    """Smallest value at which the weight below reaches `level` of the total.

    >>> weighted_quantile(np.array([3.0, 1.0, 2.0]), np.ones(3), 0.5)
    2.0
    """
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(cumulative, level * cumulative[-1] * (1 - 1e-12))])


def half_widths(backtest: Backtest, spread: Array, decades: Array, *, level: float) -> Array:
    """Half width of the interval at each point, in residual units.

    Outside the table: the quantile of the held-out errors, the splits nearest to the full table weighing most, times
    `KAPPA`; never below what the spread alone would give. Inside the table, where nothing is extrapolated, the spread
    alone; in between, over 0.3 decades, a mixture. Beyond the farthest held-out row nothing was tested, and the width
    grows with the distance.

    Args:
        backtest: Of the same law on the same table, at least one split.
        spread: (q,) standard deviation at the points, see `target_spread`.
        decades: (q,) how far the points lie beyond the table.
        level: Nominal probability.
    """
    weights = DECAY**backtest.split / np.bincount(backtest.split)[backtest.split]
    error = np.nan_to_num(np.abs(backtest.error), nan=10.0, posinf=10.0)
    beyond = np.maximum(decades / max(float(backtest.decades.max()), NEAR_DECADES), 1.0)
    inside = norm.ppf((1 + level) / 2) * spread
    outside = KAPPA * weighted_quantile(error, weights, level) * beyond
    share = np.clip(decades / NEAR_DECADES, 0.0, 1.0)
    return np.asarray((1 - share) * inside + share * np.maximum(inside, outside))


def target_spread(
    problem: Problem, solution: Solution, points: Mapping[str, Array], *, runs: Index | None, seed: int = 0
) -> Array:
    """(q,) spread over resamples joined with the residuals, at points in the user's units, in residual units."""
    kind = "rows" if runs is None else "runs"
    draws = bootstrap_thetas(
        problem,
        solution.minima[:1],
        num=num_resamples(problem),
        generator=np.random.default_rng(seed),
        kind=kind,
        runs=runs,
    )
    columns = problem.normalize(points)
    ones = np.ones(len(next(iter(columns.values()))))
    held = replace(problem, columns=columns, target=ones, weights=ones)
    return prediction_spread(problem, solution.theta, draws, held)
