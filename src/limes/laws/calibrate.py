"""The width of a forecast, learnt from the table's own backtests.

A held-out error has three parts: noise of one run, uncertainty of the parameters, and the flaw of the law, which grows
with the distance from the rows that were fitted. The first two are estimated on the rows that were fitted, but not
reliably; the third is not seen there at all. So an error at distance d is taken as t-distributed with scale

    S(d)^2 = gain^2 (noise^2 + spread^2) + (rate d^power)^2

and the backtests say which `gain` and which `rate` this table has: both start from what they were on synthetic laws and
move as far as the held-out errors are evidence. Errors of one split share their fit, so a split counts as `evidence`
errors at most, however many rows it holds, and splits of smaller tables count less. The forecast's distribution is the
mixture over what is then still possible, symmetric about the fitted law, which is its median.

Source: limes, docs/laws.md. The numbers were fixed by benchmarks/laws_calibration.py --fix, `widen` by its run on
published tables, leaving out the family that is scored.
Letters: m held-out rows, q points, G gains times R rates.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import gammaln, logsumexp, stdtr, stdtrit

from limes.laws.backtest import SPREAD_ITERATIONS, Backtest, num_resamples, parameter_spread, robust_noise
from limes.laws.bootstrap import bootstrap_thetas
from limes.laws.form import Array, Index
from limes.laws.problem import Problem
from limes.laws.solve import Solution

NEAR_DECADES = 0.05
WORST_ERROR = 5.0
LEAST_NOISE = 1e-6
NUM_GAINS, NUM_RATES, REACH = 9, 21, 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """What is known of the errors of fitted laws before a table is seen.

    Args:
        rate: Typical flaw of a law one decade out, in residual units.
        rate_spread: Standard deviation of its logarithm from table to table.
        gain_spread: Standard deviation of the logarithm of the gain; its middle is 1.
        power: How the flaw grows with the distance in decades.
        freedom: Degrees of freedom of the t distribution.
        evidence: Independent errors that the nearest split counts for, at most as many as its rows.
        fade: Factor of that from one split to the next smaller one.
        widen: Factor of every width: by how much errors on published tables exceed those on synthetic laws.
    """

    rate: float
    rate_spread: float
    gain_spread: float
    power: float
    freedom: float
    evidence: float
    fade: float
    widen: float


RULE = Rule(rate=0.0029, rate_spread=1.0, gain_spread=0.3, power=1.0, freedom=3.4, evidence=3.0, fade=0.43, widen=1.2)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ErrorScale:
    """What the backtests leave possible.

    Args:
        weight: (G R,) summing to one.
        gain, rate: (G R,).
        rule: Where they started.
    """

    weight: Array
    gain: Array
    rate: Array
    rule: Rule

    def scales(self, base: Array, decades: Array) -> Array:
        """(G R, q) scale of an error, for the joint size of noise and spread (q,) at a distance (q,)."""
        flaw = np.maximum(decades, NEAR_DECADES) ** self.rule.power
        return np.asarray(np.hypot(self.gain[:, None] * base, self.rate[:, None] * flaw))

    def log_density(self, error: Array, base: Array, decades: Array) -> Array:
        """(q,) logarithm of the predictive density of errors, what the rule was fixed by."""
        parts = _log_t(error, self.scales(base, decades), self.rule.freedom)
        return np.asarray(logsumexp(parts + np.log(self.weight)[:, None], axis=0))


def error_scale(backtest: Backtest | None, *, rule: Rule = RULE) -> ErrorScale:
    """Update the rule by a table's backtests.

    Args:
        backtest: Of the law on the table; None, or without splits, where the table allows none.
        rule: What is known beforehand.
    """
    line = np.linspace(-REACH, REACH, NUM_RATES)
    across = np.linspace(-REACH, REACH, NUM_GAINS)
    rate = rule.rate * np.exp(rule.rate_spread * np.tile(line, NUM_GAINS))
    gain = np.exp(rule.gain_spread * np.repeat(across, NUM_RATES))
    log_weight = -0.5 * (np.tile(line, NUM_GAINS) ** 2 + np.repeat(across, NUM_RATES) ** 2)
    start = ErrorScale(weight=np.ones_like(rate), gain=gain, rate=rate, rule=rule)
    if backtest is not None and backtest.num_splits:
        error = np.nan_to_num(np.abs(backtest.error), nan=WORST_ERROR, posinf=WORST_ERROR)
        noise = np.maximum(backtest.noise, LEAST_NOISE)[backtest.split]
        scale = start.scales(np.hypot(noise, np.nan_to_num(backtest.spread, nan=WORST_ERROR)), backtest.decades)
        density = _log_t(error, scale, rule.freedom)
        # a split is no more evidence than it has rows
        share = np.minimum(rule.evidence / np.bincount(backtest.split), 1.0)[backtest.split] * rule.fade**backtest.split
        log_weight = log_weight + density @ share
    weight = np.exp(log_weight - log_weight.max())
    keep = weight > 1e-6
    return ErrorScale(weight=weight[keep] / weight[keep].sum(), gain=gain[keep], rate=rate[keep], rule=rule)


def half_widths(possible: ErrorScale, base: Array, decades: Array, *, level: float) -> Array:
    """Half width of the interval at each point, in residual units.

    Args:
        possible: See `error_scale`.
        base: (q,) noise of one run and spread of the parameters there, joined.
        decades: (q,) how far the points lie beyond the table.
        level: Nominal probability.

    Accuracy: 1e-9 relative (bisection).
    """
    scales, freedom = possible.scales(base, decades), possible.rule.freedom
    low, high = np.zeros(len(base)), scales.max(axis=0) * stdtrit(freedom, (1 + level) / 2)
    for _ in range(34):
        middle = (low + high) / 2
        inside = possible.weight @ (2 * stdtr(freedom, middle / scales) - 1)
        low, high = np.where(inside < level, middle, low), np.where(inside < level, high, middle)
    return high * possible.rule.widen


def target_base(
    problem: Problem,
    solution: Solution,
    points: Mapping[str, Array],
    *,
    runs: Index | None,
    noise_std: float | None = None,
    seed: int = 0,
) -> Array:
    """(q,) noise of one run joined with the spread over resamples, in residual units.

    Args:
        problem, solution: The fit.
        points: Input name to (q,), in the user's units.
        runs: (n,) run of each row; resampling then keeps runs together.
        noise_std: Known noise of one run in the target's units; by default from the residuals.
        seed: Of the resampling.
    """
    kind = "rows" if runs is None else "runs"
    draws = bootstrap_thetas(
        problem,
        solution.minima[:1],
        num=num_resamples(problem),
        generator=np.random.default_rng(seed),
        kind=kind,
        runs=runs,
        max_iterations=SPREAD_ITERATIONS,
    )
    columns = problem.normalize(points)
    ones = np.ones(len(next(iter(columns.values()))))
    held = replace(problem, columns=columns, target=ones, weights=ones)
    spread = np.nan_to_num(parameter_spread(draws, held), nan=WORST_ERROR)
    noise = np.full(len(ones), robust_noise(problem, solution.theta))
    if noise_std is not None:
        size = problem.predict(solution.theta[None], columns)[0] if problem.log_residuals else ones
        noise = noise_std / size if problem.log_residuals else noise_std / problem.scales[problem.law.target] * ones
    return np.hypot(np.maximum(noise, LEAST_NOISE), spread)


def _log_t(error: Array, scale: Array, freedom: float) -> Array:
    constant = gammaln((freedom + 1) / 2) - gammaln(freedom / 2) - 0.5 * np.log(freedom * np.pi)
    return np.asarray(constant - (freedom + 1) / 2 * np.log1p((error / scale) ** 2 / freedom) - np.log(scale))
