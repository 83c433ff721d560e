"""Which resource limits a run, and when one takes over from another.

A resource limits a run if doubling it gains the most loss. Early in training time does, and networks of all widths have
the same loss; late the width of each does. The time at which the two gain the same is where the common path ends.

Source: limes, docs/consistency.md; Bordelon et al., arXiv:2402.01092, section 4 (bottlenecks of time, width, samples).
Letters: N width, P samples, t time, S sizes, R runs, T times.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from limes.core.errors import DataError
from limes.theory.scaling import RandomFeatureProblem, loss_table

Array = NDArray[np.float64]
Resource = Literal["width", "data", "time"]
WORDS: dict[str, str] = {
    "width": "width-limited: a wider network gains the most",
    "data": "data-limited: more data gain the most",
    "time": "time-limited: longer training gains the most",
    "undecided": "not decided: no resource gains more than the others beyond the spread over networks",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Regime:
    """What limits a run.

    Attributes:
        limit: "width", "data", "time", or "undecided".
        gains: Loss that doubling each resource gains; negative if it costs.
        errors: Standard errors of the gains.
        sentence: In words.
    """

    limit: str
    gains: dict[str, float]
    errors: dict[str, float]
    sentence: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Crossover:
    """Where the common path ends for networks of one size.

    Attributes:
        size: N.
        time: At which doubling the width gains as much as doubling the time; infinite if not within the run, 0 if
            width gains more from the beginning. Where neither gains there is no end.
        low: End of the interval; infinite if nearly all resampled networks put it beyond the run.
        high: End of the interval; infinite if some networks allow that it lies beyond the run.
    """

    size: float
    time: float
    low: float
    high: float


def regime(
    base: Sequence[float],
    *,
    wider: Sequence[float] | None = None,
    more_data: Sequence[float] | None = None,
    longer: Sequence[float] | None = None,
    level: float = 0.9,
) -> Regime:
    """The regime of a run, from losses of networks in which one resource at a time was doubled.

    Args:
        base: (R,) losses of independent networks of the run itself, at least two.
        wider: Losses at twice the width; None if width is not in question.
        more_data: At twice the samples, trained for as many steps.
        longer: At twice the steps.
        level: The largest gain must exceed every other one with this one-sided confidence (Welch's t).

    Returns:
        `Regime`. A gain is judged against another without what both have in common, the base.

    Raises:
        DataError: Fewer than two of the three are given, or fewer than two networks, or a loss is not finite.

    Source: limes, docs/consistency.md.

    >>> regime([1.0, 1.02], wider=[0.5, 0.51], longer=[0.9, 0.92]).limit
    'width'
    """
    given: dict[str, Sequence[float]] = {}
    for name, values in (("width", wider), ("data", more_data), ("time", longer)):
        if values is not None:
            given[name] = values
    if len(given) < 2:
        raise DataError(f"{len(given)} of wider, more_data, longer: a regime is a choice between at least two")
    for name, values in (("base", base), *given.items()):
        if len(values) < 2 or not bool(np.isfinite(values).all()):
            raise DataError(f"{name} {list(values)}: expected finite losses of two or more networks")
    means = {name: float(np.mean(values)) for name, values in given.items()}
    gains = {name: float(np.mean(base)) - mean for name, mean in means.items()}
    errors = {name: math.hypot(_error(base), _error(values)) for name, values in given.items()}
    best = max(gains, key=lambda name: gains[name])
    sure = all(_below(given[best], given[name], level) for name in given if name != best)
    limit = best if sure else "undecided"
    parts = ", ".join(f"{name} {gain:.3g} +- {errors[name]:.1g}" for name, gain in gains.items())
    return Regime(limit=limit, gains=gains, errors=errors, sentence=f"{WORDS[limit]} (a doubling gains: {parts})")


def _error(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1) / math.sqrt(len(values)))


def _below(one: Sequence[float], other: Sequence[float], level: float) -> bool:
    """Whether the mean of `one` lies below that of `other`, one-sided."""
    gap, variances = float(np.mean(other) - np.mean(one)), np.array([_error(one) ** 2, _error(other) ** 2])
    if variances.sum() == 0:
        return gap > 0
    freedom = variances.sum() ** 2 / (variances**2 / np.array([len(one) - 1, len(other) - 1])).sum()
    return bool(gap > stats.t.ppf(level, freedom) * math.sqrt(variances.sum()))


def crossovers(
    sizes: ArrayLike,
    times: ArrayLike,
    losses: Sequence[Array],
    *,
    level: float = 0.9,
    num_resamples: int = 200,
    generator: np.random.Generator,
) -> tuple[Crossover, ...]:
    """The end of the common path for every size but the largest.

    The gain of a doubled width is that of the next size, per octave; the gain of a doubled time is read off the loss
    curve of the same size, interpolated in log time.

    Args:
        sizes: (S,) increasing.
        times: (T,) increasing, positive.
        losses: For each size (R, T) of independent networks.
        level: Of the intervals, percentiles over resampled networks.
        num_resamples: How many.
        generator: Draws the resamples.

    Raises:
        DataError: Fewer than two sizes or three times, or shapes that do not fit.

    Source: limes, docs/consistency.md. **Accuracy**: that of interpolation between the given times.

    >>> t = np.geomspace(1, 1000, 40)
    >>> runs = [(1 / t + 1 / n) * np.ones((3, 1)) for n in (10.0, 20.0, 40.0)]
    >>> found = crossovers([10, 20, 40], t, runs, generator=np.random.default_rng(0))
    >>> [round(item.time) for item in found]
    [10, 20]
    """
    n, t = np.asarray(sizes, dtype=float), np.asarray(times, dtype=float)
    if len(n) < 2 or len(t) < 3 or len(losses) != len(n) or not bool((np.diff(t) > 0).all()) or t[0] <= 0:
        raise DataError(f"{len(n)} sizes, {len(t)} times, {len(losses)} groups: expected 2 or more, and 3 or more")
    if any(group.ndim != 2 or group.shape[1] != len(t) for group in losses):
        raise DataError(f"losses of shapes {[group.shape for group in losses]}: expected (R, {len(t)})")
    found = []
    for k in range(len(n) - 1):
        octaves = math.log2(n[k + 1] / n[k])
        time = _meeting(t, losses[k].mean(0), losses[k + 1].mean(0), octaves)
        drawn = []
        for _ in range(num_resamples):
            pair = [group[generator.integers(0, len(group), len(group))].mean(0) for group in losses[k : k + 2]]
            drawn.append(_meeting(t, pair[0], pair[1], octaves))
        ends = np.quantile(np.array(drawn), [0.5 - level / 2, 0.5 + level / 2], method="nearest")
        found.append(Crossover(size=float(n[k]), time=time, low=float(ends[0]), high=float(ends[1])))
    return tuple(found)


def _meeting(times: Array, loss: Array, wider: Array, octaves: float) -> float:
    """First time from which on width gains more than time; infinite if never within the curve."""
    log_t = np.log2(times)
    # A loss at twice the time must have been measured.
    here = log_t <= log_t[-1] - 1.0
    later = np.interp(log_t[here] + 1.0, log_t, loss)
    # Where longer training costs loss, a width that costs less of it is no gain yet.
    ahead = (loss - wider)[here] / octaves - np.maximum(loss[here] - later, 0.0)
    above = ahead > 0
    if not above[-1]:
        return math.inf
    first = int(np.flatnonzero(~above)[-1]) + 1 if not above.all() else 0
    if first == 0:
        return 0.0
    a, b = ahead[first - 1], ahead[first]
    return float(2.0 ** (log_t[here][first - 1] + a / (a - b) * (log_t[here][first] - log_t[here][first - 1])))


def predicted_crossovers(problem: RandomFeatureProblem, sizes: ArrayLike, times: ArrayLike) -> tuple[Crossover, ...]:
    """The same of the theory of random features, for a spectrum and a target that were measured or assumed.

    Args:
        problem: Spectrum, target power, samples; gradient flow.
        sizes: (S,) numbers of features, increasing.
        times: (T,) gradient-flow times, positive, increasing.

    Source: arXiv:2402.01092. **Accuracy**: as `loss_table`, and interpolation between times.

    >>> from limes.theory.scaling import power_law_problem
    >>> found = predicted_crossovers(power_law_problem(1.75, 1.5, 1e4), [16, 32, 64], np.geomspace(0.1, 1e4, 60))
    >>> found[0].time < found[1].time
    True
    """
    n, t = np.asarray(sizes, dtype=float), np.asarray(times, dtype=float)
    table = loss_table(problem, num_features=n[:, None], num_samples=problem.num_samples, times=t[None, :])
    groups = [np.repeat(row[None], 2, axis=0) for row in table]
    return crossovers(n, t, groups, num_resamples=2, generator=np.random.default_rng(0))


def words_of(crossover: Crossover, *, axis: str, last: float, unit: Callable[[float], Any] = round) -> str:
    """One sentence for a person.

    >>> words_of(Crossover(size=32, time=math.inf, low=90.0, high=math.inf), axis="width", last=200)
    'width 32: no end up to step 200 (not before 90): width does not yet gain more than time'
    """
    name = f"{axis} {crossover.size:g}"
    low, high = ("beyond the run" if math.isinf(end) else unit(end) for end in (crossover.low, crossover.high))
    if math.isinf(crossover.high) and (crossover.low == 0 or math.isinf(crossover.low) > math.isinf(crossover.time)):
        return f"{name}: not decided, the networks allow an end at any step, or none"
    if math.isinf(crossover.time):
        earliest = "" if math.isinf(crossover.low) else f" (not before {low})"
        return f"{name}: no end up to step {unit(last)}{earliest}: {axis} does not yet gain more than time"
    if crossover.time == 0:
        reach = "" if crossover.high == 0 else f" (to step {high} at the latest)"
        return f"{name}: {axis}-limited from the beginning{reach}"
    return f"{name}: time-limited up to step {unit(crossover.time)} ({low} to {high}), then {axis}-limited"
