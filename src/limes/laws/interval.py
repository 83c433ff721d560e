"""Prediction intervals of a fitted law."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from limes.core.errors import DataError, SpecError
from limes.laws.backtest import Backtest, run_backtest
from limes.laws.bootstrap import bootstrap_thetas, residual_std
from limes.laws.calibrate import error_scale, half_widths, target_base
from limes.laws.form import Array, Index
from limes.laws.posterior import posterior_draws
from limes.laws.problem import Problem
from limes.laws.solve import Solution

METHODS = ("auto", "calibrated", "posterior", "bootstrap")
# Below these the average over laws covers better than backtests; more so where the noise is known.
FEW_ROWS, FEW_ROWS_KNOWN_NOISE = 12, 48
NUM_RESAMPLES = 400
LARGEST = 1e30


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Prediction:
    """Forecasts of new runs: the median and an interval of one predictive distribution.

    Args:
        value: (q,) median. Calibrated, that is the fitted law itself; from draws it is theirs, which differs from the
            fitted law (`LawFit.value`) where the table leaves several laws possible and the best fit is not typical.
        low, high: (q,) interval for a new run; `low <= value <= high` because all three are quantiles of one thing.
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
    identified: bool,
    backtest: Backtest | None = None,
) -> Prediction:
    """See `LawFit.predict`; `identified` says that no direction of the parameters is left open by the table."""
    if not 0 < level < 1:
        raise SpecError(f"level is {level}; give a probability such as 0.9")
    if method not in METHODS:
        raise SpecError(f"method {method!r} is unknown; give one of {', '.join(METHODS)}")
    if method == "posterior" and not problem.law.terms:
        raise SpecError(f"{problem.law.name} is not a sum of power laws; use method='bootstrap' for its interval")
    _check_reach(problem, points)
    decades = extrapolation_decades(problem, points)
    tails = (0.5, (1 - level) / 2, (1 + level) / 2)
    few = problem.num_rows < (FEW_ROWS if noise_std is None else FEW_ROWS_KNOWN_NOISE)
    # Backtests hold out rows of the same design: what that design leaves open, they cannot show.
    if method == "posterior" or (method == "auto" and (few or not identified) and problem.law.terms):
        draws = posterior_draws(problem, points, noise_std=noise_std, theta=solution.theta, seed=seed)
        value, low, high = (draws.quantile(tail) for tail in tails)
        method, evidence = "posterior", f"Average over exponents and floor, {draws.effective:.0f} effective draws."
    elif method == "bootstrap":
        values = _bootstrap_draws(problem, solution, points, noise_std=noise_std, runs=runs, seed=seed)
        value, low, high = np.nanquantile(values, tails, axis=0)
        evidence = f"{NUM_RESAMPLES} resamples and residual noise; too narrow when extrapolating."
    else:
        test = backtest or run_backtest(problem, extra=solution.minima, runs=runs, seed=seed)
        value = problem.predict(solution.theta[None], problem.normalize(points))[0]
        base = target_base(problem, solution, points, runs=runs, noise_std=noise_std, seed=seed)
        low, high = _around(problem, value, half_widths(error_scale(test), base, decades, level=level))
        method, evidence = "calibrated", _evidence(test)
    return Prediction(value=value, low=low, high=high, level=level, decades=decades, method=method, evidence=evidence)


def _check_reach(problem: Problem, points: Mapping[str, Array]) -> None:
    """Refuse points that this table or double precision cannot speak of."""
    for column in problem.law.inputs:
        values, known = points[column.name], problem.columns[column.name] * problem.scales[column.name]
        outside = values[~((values > 1 / LARGEST) & (values < LARGEST))]
        if column.kind == "log" and len(outside):
            raise DataError(f"points have {column.name} = {outside[0]:g}; give numbers between 1e-30 and 1e30")
        if np.ptp(known) <= 1e-9 * np.abs(known).max() and (np.abs(values / known[0] - 1) > 0.01).any():
            raise DataError(
                f"every row has {column.name} = {known[0]:g}, so these rows say nothing about {column.name} = "
                f"{values[np.argmax(np.abs(values / known[0] - 1))]:g}; forecast at that value, or fit a law without it"
            )


def _evidence(test: Backtest) -> str:
    if not test.num_splits:
        return "No rows could be held out; the error of the law is taken as on synthetic laws."
    return f"{test.num_splits} backtests, mean held-out error {test.mean_error:.2g}."


def _around(problem: Problem, value: Array, width: Array) -> tuple[Array, Array]:
    if problem.log_residuals:
        return value * np.exp(-width), value * np.exp(width)
    width = width * problem.scales[problem.law.target]
    return value - width, value + width


def extrapolation_decades(problem: Problem, points: Mapping[str, Array]) -> Array:
    """(q,) powers of ten by which points in the user's units leave the table, of their farthest input or of cost."""
    return problem.decades_beyond(problem.normalize(points))


def _bootstrap_draws(
    problem: Problem,
    solution: Solution,
    points: Mapping[str, Array],
    *,
    noise_std: float | None,
    runs: Index | None,
    seed: int,
) -> Array:
    """(B, q) forecasts of a new run over resamples."""
    rng = np.random.default_rng(seed)
    kind = "rows" if runs is None else "runs"
    if problem.num_rows < 3 * len(problem.law.parameters):
        kind = "residual"
    thetas = bootstrap_thetas(problem, solution.minima, num=NUM_RESAMPLES, generator=rng, kind=kind, runs=runs)
    draws = problem.predict(thetas, problem.normalize(points))
    noise = rng.standard_normal(draws.shape)
    scale = problem.scales[problem.law.target]
    if noise_std is not None:
        return draws + noise_std * noise
    if problem.log_residuals:
        return np.asarray(draws * np.exp(residual_std(problem, solution.theta) * noise))
    return np.asarray(draws + residual_std(problem, solution.theta) * scale * noise)
