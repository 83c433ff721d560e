"""Rolling origin: fit on the cheap runs, predict the dear ones, again and again.

Source: Tashman 2000 (rolling-origin evaluation); limes, docs/laws.md.
Letters: s splits, m held-out rows over all splits, C cost.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limes.laws.bootstrap import bootstrap_thetas
from limes.laws.form import Array, Index
from limes.laws.problem import Problem
from limes.laws.solve import solve

STEP = np.sqrt(10.0)
MIN_TRAIN, MIN_TEST, MAX_SPLITS = 8, 2, 6
INNER_STARTS, INNER_ITERATIONS, SPREAD_ITERATIONS = 24, 100, 30


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Backtest:
    """Errors on held-out rows, one entry per (split, row).

    Args:
        split: (m,) number of the split.
        row: (m,) row of the problem.
        cost_limit: (s,) largest cost that was fitted, in units of the table's largest.
        num_train, num_test: (s,).
        error: (m,) prediction minus observation in residual units.
        spread: (m,) standard deviation of the prediction that resampling alone would state.
        decades: (m,) how far beyond the fitted rows, in their farthest input or in cost.
        noise: (s,) standard deviation of one run, from the residuals of the fitted rows.
        theta: (s, p) optimum of each split, normalized.
    """

    split: Index
    row: Index
    cost_limit: Array
    num_train: Index
    num_test: Index
    error: Array
    spread: Array
    decades: Array
    noise: Array
    theta: Array

    @property
    def num_splits(self) -> int:
        """How many splits the table allowed."""
        return len(self.cost_limit)

    @property
    def mean_error(self) -> float:
        """Mean over splits of the mean absolute error; infinite without a split."""
        if not self.num_splits:
            return np.inf
        return float(np.mean([np.abs(self.error[self.split == k]).mean() for k in range(self.num_splits)]))

    def to_rows(self) -> list[dict[str, float]]:
        """One mapping per held-out row, for a report."""
        return [
            {
                "split": int(k),
                "row": int(i),
                "cost_limit": float(self.cost_limit[k]),
                "num_train": int(self.num_train[k]),
                "error": float(e),
                "decades": float(d),
            }
            for k, i, e, d in zip(self.split, self.row, self.error, self.decades)
        ]


def num_resamples(problem: Problem) -> int:
    """Refits behind a spread: fewer for curves, whose refits cost more; the 16-84 % range needs no more."""
    return 100 if problem.law.terms else 40


def origins(problem: Problem, *, min_train: int, min_test: int = MIN_TEST) -> list[float]:
    """Largest costs to fit, in units of the table's largest: every half decade down, as far as rows are left.

    Where the costs span too little for two of those, after each distinct cost instead.
    """
    cost = problem.cost / problem.cost.max()

    def allowed(limits: list[float]) -> list[float]:
        counts = [(limit, int((cost <= limit * (1 + 1e-9)).sum())) for limit in limits]
        return [limit for limit, n in counts if n >= min_train and problem.num_rows - n >= min_test]

    steps = allowed([STEP**-k for k in range(1, MAX_SPLITS + 1)])
    if len(steps) >= 2:
        return steps
    distinct = np.unique(cost)[::-1][1:]
    fine = allowed([float(c) for c in distinct])
    if not fine:
        return []
    picks = np.unique(np.linspace(0, len(fine) - 1, MAX_SPLITS).round().astype(int))
    return [fine[int(k)] for k in picks]


def run_backtest(
    problem: Problem,
    *,
    extra: Array | None = None,
    runs: Index | None = None,
    min_train: int | None = None,
    seed: int = 0,
) -> Backtest:
    """Refit on the rows below each origin and predict the rest.

    Args:
        problem: Law, table and objective.
        extra: (m, p) starts, such as the optimum on the full table.
        runs: (n,) run of each row; resampling then keeps runs together.
        min_train: Fewest rows to fit; by default 8, or three more than there are parameters.
        seed: Of the resampling behind `spread`.

    Returns:
        `Backtest`; with no entries where the table allows no split.
    """
    law = problem.law
    least = max(MIN_TRAIN, len(law.parameters) + 3) if min_train is None else min_train
    limits = origins(problem, min_train=least)
    cost = problem.cost / problem.cost.max()
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in ("split", "row", "error", "spread", "decades")}
    thetas, num_train, noise = [], [], []
    for k, limit in enumerate(limits):
        inside = cost <= limit * (1 + 1e-9)
        train, held = problem.subset(inside), problem.subset(~inside)
        solution = solve(train, num_starts=INNER_STARTS, extra=extra, max_iterations=INNER_ITERATIONS)
        rng = np.random.default_rng([seed, k])
        groups = None if runs is None else np.unique(runs[inside], return_inverse=True)[1]
        kind = "rows" if runs is None else "runs"
        draws = bootstrap_thetas(
            train,
            solution.minima[:1],
            num=num_resamples(train),
            generator=rng,
            kind=kind,
            runs=groups,
            max_iterations=SPREAD_ITERATIONS,
        )
        parts["split"].append(np.full(held.num_rows, k))
        parts["row"].append(np.flatnonzero(~inside))
        parts["error"].append(held.residuals(solution.theta))
        parts["spread"].append(parameter_spread(draws, held))
        parts["decades"].append(train.decades_beyond(held.columns))
        noise.append(robust_noise(train, solution.theta))
        thetas.append(solution.theta)
        num_train.append(int(inside.sum()))
    joined = {name: np.concatenate(part) if part else np.empty(0) for name, part in parts.items()}
    return Backtest(
        split=joined["split"].astype(np.intp),
        row=joined["row"].astype(np.intp),
        cost_limit=np.array(limits),
        num_train=np.array(num_train, dtype=np.intp),
        num_test=problem.num_rows - np.array(num_train, dtype=np.intp),
        error=joined["error"],
        spread=joined["spread"],
        decades=joined["decades"],
        noise=np.array(noise),
        theta=np.array(thetas).reshape(len(limits), len(law.parameters)),
    )


def parameter_spread(draws: Array, held: Problem) -> Array:
    """(m,) spread of predictions over resamples, in residual units.

    It is half of the 16-84 % range, which one refit gone astray does not move.
    """
    values = held.predict(draws, held.columns) / held.scales[held.law.target]
    with np.errstate(all="ignore"):
        values = np.log(values) if held.log_residuals else values
    low, high = np.nanquantile(values, [0.1587, 0.8413], axis=0)
    return np.asarray((high - low) / 2)


def robust_noise(problem: Problem, theta: Array) -> float:
    """Standard deviation of one run by the 68 % quantile of the residuals, which a few outliers do not move."""
    residual, weights = np.abs(problem.residuals(theta)), problem.weights
    used = int((weights > 0).sum())
    free = max(used - len(problem.law.parameters), 1)
    order = np.argsort(residual)
    cumulative = np.cumsum(weights[order])
    middle = np.searchsorted(cumulative, 0.6827 * cumulative[-1])
    return float(residual[order][min(middle, len(order) - 1)] * np.sqrt(used / free))
