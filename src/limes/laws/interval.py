"""Prediction intervals of a fitted law."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from limes.core.errors import SpecError
from limes.laws.backtest import Backtest, run_backtest
from limes.laws.bootstrap import bootstrap_thetas, residual_std
from limes.laws.calibrate import half_widths, target_spread
from limes.laws.form import Array, Index
from limes.laws.posterior import posterior_draws
from limes.laws.problem import Problem
from limes.laws.solve import Solution

METHODS = ("auto", "calibrated", "posterior", "bootstrap")
FEW_ROWS = 24
MIN_SPLITS = 2
NUM_RESAMPLES = 400


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Prediction:
    """Forecasts of new runs.

    Args:
        value: (q,) the fitted law.
        low, high: (q,) interval for a new run.
        level: Its nominal probability.
        decades: (q,) how far beyond the table the point lies, in powers of ten of its farthest input or of its cost.
        method: How the interval was made.
        evidence: One sentence about what its width rests on.
    """

    value: Array
    low: Array
    high: Array
    level: float
    decades: Array
    method: str
    evidence: str


def predict_interval(
    problem: Problem,
    solution: Solution,
    points: Mapping[str, Array],
    *,
    level: float,
    noise_std: float | None,
    method: str,
    runs: Index | None,
    seed: int,
    backtest: Backtest | None = None,
) -> Prediction:
    """See `LawFit.predict`."""
    if not 0 < level < 1:
        raise SpecError(f"level is {level}; give a probability such as 0.9")
    if method not in METHODS:
        raise SpecError(f"method {method!r} is unknown; give one of {', '.join(METHODS)}")
    if method == "posterior" and not problem.law.terms:
        raise SpecError(f"{problem.law.name} is not a sum of power laws; use method='bootstrap' for its interval")
    value = problem.predict(solution.theta[None], problem.normalize(points))[0]
    decades = extrapolation_decades(problem, points)
    test = backtest
    if test is None and _wants_backtest(problem, method, noise_std):
        test = run_backtest(problem, extra=solution.minima, runs=runs, seed=seed)
    if method == "calibrated" and (test is None or not test.num_splits):
        raise SpecError(f"{problem.num_rows} rows allow no backtest; use method='posterior' or 'bootstrap'")
    enough = test is not None and test.num_splits >= MIN_SPLITS
    if test is not None and (method == "calibrated" or (method == "auto" and enough)):
        spread = target_spread(problem, solution, points, runs=runs, seed=seed)
        width = half_widths(test, spread, decades, level=level)
        low, high = _around(problem, value, width)
        method, evidence = "calibrated", f"{test.num_splits} backtests, mean held-out error {test.mean_error:.2g}."
    elif method == "posterior" or (method == "auto" and problem.law.terms):
        draws = posterior_draws(problem, points, noise_std=noise_std, theta=solution.theta, seed=seed)
        low, high = draws.quantile((1 - level) / 2), draws.quantile((1 + level) / 2)
        method, evidence = "posterior", f"Average over exponents and floor, {draws.effective:.0f} effective draws."
    else:
        low, high = _bootstrap_interval(
            problem, solution, points, level=level, noise_std=noise_std, runs=runs, seed=seed
        )
        method, evidence = "bootstrap", f"{NUM_RESAMPLES} resamples and residual noise; too narrow when extrapolating."
    return Prediction(
        value=value,
        low=np.minimum(low, value),
        high=np.maximum(high, value),
        level=level,
        decades=decades,
        method=method,
        evidence=evidence,
    )


def _wants_backtest(problem: Problem, method: str, noise_std: float | None) -> bool:
    few = problem.num_rows < (FEW_ROWS if noise_std is None else 2 * FEW_ROWS)
    return method == "calibrated" or (method == "auto" and not (few and problem.law.terms))


def _around(problem: Problem, value: Array, width: Array) -> tuple[Array, Array]:
    if problem.log_residuals:
        return value * np.exp(-width), value * np.exp(width)
    width = width * problem.scales[problem.law.target]
    return value - width, value + width


def extrapolation_decades(problem: Problem, points: Mapping[str, Array]) -> Array:
    """(q,) powers of ten by which a point leaves the table, of its farthest input or of its cost."""
    inside = {c.name: problem.columns[c.name] for c in problem.law.inputs if c.kind == "log"}
    outside = {name: points[name] / problem.scales[name] for name in inside}
    if not inside:
        return np.zeros(len(next(iter(points.values()))))
    if set(problem.law.cost_names) <= set(inside):
        inside["cost"] = problem.cost
        outside["cost"] = np.prod([outside[name] for name in problem.law.cost_names], axis=0)
    distances = [
        np.maximum(np.log10(outside[name] / column.max()), np.log10(column.min() / outside[name]))
        for name, column in inside.items()
    ]
    return np.maximum(np.max(distances, axis=0), 0.0)


def _bootstrap_interval(
    problem: Problem,
    solution: Solution,
    points: Mapping[str, Array],
    *,
    level: float,
    noise_std: float | None,
    runs: Index | None,
    seed: int,
) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    kind = "rows" if runs is None else "runs"
    if problem.num_rows < 3 * len(problem.law.parameters):
        kind = "residual"
    thetas = bootstrap_thetas(problem, solution.minima, num=NUM_RESAMPLES, generator=rng, kind=kind, runs=runs)
    draws = problem.predict(thetas, problem.normalize(points))
    noise = rng.standard_normal(draws.shape)
    scale = problem.scales[problem.law.target]
    if noise_std is not None:
        draws = draws + noise_std * noise
    elif problem.log_residuals:
        draws = draws * np.exp(residual_std(problem, solution.theta) * noise)
    else:
        draws = draws + residual_std(problem, solution.theta) * scale * noise
    low, high = np.nanquantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high
