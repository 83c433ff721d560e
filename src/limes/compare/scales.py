"""A measurement against size: slope with its interval, and where it crosses a danger line.

Source: arXiv:2309.14322, section 3.2 (attention logits extrapolated over size); inverse regression after Fieller 1954.
Letters: x log size, y the measurement or its log, a + b x the line, s deviation around it, n runs.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from limes.core.errors import DataError

Interval = tuple[float, float]
MIN_SIZES = 3
# Sizes needed before a bend of the line can be told from its noise.
BEND_SIZES = 4


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ScaleTrend:
    """A straight line through a measurement against the logarithm of size.

    Attributes:
        axis: What grows.
        sizes: (n,) float64, one entry per run.
        values: (n,) float64.
        log_values: Whether the logarithm of the measurement was fitted (a power law of size), or it itself.
        slope: Exponent of size; without log_values, change per e-fold of size.
        interval: Of the slope, by Student's t over runs.
        intercept: At size 1.
        deviation: Of runs around the line, in the units that were fitted.
        level: Probability of all intervals.
        bend: Interval of the second-order coefficient; None with fewer than four sizes.
        num_left_out: Runs without a finite value (or a positive one, with log_values).
    """

    axis: str
    sizes: NDArray[np.float64]
    values: NDArray[np.float64]
    log_values: bool
    slope: float
    interval: Interval
    intercept: float
    deviation: float
    level: float
    bend: Interval | None
    num_left_out: int

    @property
    def grows(self) -> bool | None:
        """Whether it grows with size (True), falls (False), or the runs do not tell (None)."""
        low, high = self.interval
        return True if low > 0 else False if high < 0 else None

    @property
    def straight(self) -> bool | None:
        """Whether the runs lie on a line as far as they tell; None with fewer than four sizes."""
        return None if self.bend is None else self.bend[0] <= 0 <= self.bend[1]

    def at(self, size: float) -> tuple[float, float, float]:
        """Value at a size, and the interval in which one new run there falls."""
        if not 0 < size < math.inf:
            raise DataError(f"size {size}: expected a positive number")
        middle = self.intercept + self.slope * math.log(size)
        half = self._t * self.deviation * math.sqrt(1.0 + self._leverage(math.log(size)))
        low, high = middle - half, middle + half
        return (math.exp(middle), math.exp(low), math.exp(high)) if self.log_values else (middle, low, high)

    @property
    def _t(self) -> float:
        return float(stats.t.ppf(0.5 + self.level / 2, len(self.sizes) - 2))

    def _leverage(self, x: float) -> float:
        places = np.log(self.sizes)
        return float(1.0 / len(places) + (x - places.mean()) ** 2 / ((places - places.mean()) ** 2).sum())


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Crossing:
    """Where a trend meets a line.

    Attributes:
        danger: The line, in the measurement's units.
        size: Where the fitted line meets it; None if it never does at growing sizes.
        low: Smallest size at which it may have been met already.
        high: Largest size at which it may not yet have been met; infinite if the runs allow that it never is.
        target: Size that was asked about; None if none was.
        value: Measurement there, with
        value_low: and
        value_high: the interval of one new run.
        sentence: All this for a person.
    """

    danger: float
    size: float | None
    low: float
    high: float
    target: float | None
    value: float | None
    value_low: float | None
    value_high: float | None
    sentence: str


def size_trend(
    sizes: ArrayLike, values: ArrayLike, *, axis: str = "width", log_values: bool = True, level: float = 0.9
) -> ScaleTrend:
    """Slope of a measurement against log size, over independent runs.

    Args:
        sizes: (n,) width, depth or parameters of each run; at least three different ones.
        values: (n,) the measurement of each run. Runs without a finite value are left out and counted.
        axis: Name of the size.
        log_values: Fit a power law of size (positive measurements) instead of a line in log size.
        level: Probability of the intervals.

    Raises:
        DataError: Fewer than three sizes are left, or a size is not positive.

    Source: textbook least squares. **Accuracy**: intervals hold for independent runs scattered alike at all sizes.

    >>> trend = size_trend([1, 2, 4, 8], [3.0, 6.0, 12.0, 24.0])
    >>> round(trend.slope, 6), trend.grows
    (1.0, True)
    """
    given, found = np.asarray(sizes, dtype=float), np.asarray(values, dtype=float)
    if given.shape != found.shape or given.ndim != 1 or not bool((given > 0).all()) or not 0 < level < 1:
        raise DataError(
            f"{found.size} values for sizes {given.tolist()}, level {level}: expected one value per positive size, and "
            "a probability"
        )
    kept = np.isfinite(found) & ((found > 0) | (not log_values))
    n, y = given[kept], found[kept]
    if len(np.unique(n)) < MIN_SIZES:
        raise DataError(
            f"{int((~kept).sum())} of {len(given)} runs have no usable value and {len(np.unique(n))} sizes are left: a "
            f"trend needs {MIN_SIZES}"
        )
    x, target = np.log(n), np.log(y) if log_values else y
    slope, intercept, deviation, error = _line(x, target)
    half = float(stats.t.ppf(0.5 + level / 2, len(x) - 2)) * error
    return ScaleTrend(
        axis=axis,
        sizes=n,
        values=y,
        log_values=log_values,
        slope=slope,
        interval=(slope - half, slope + half),
        intercept=intercept,
        deviation=deviation,
        level=level,
        bend=_bend(x, target, level),
        num_left_out=int((~kept).sum()),
    )


def trends_by_size(
    rows: Sequence[Mapping[str, float]], *, axis: str, level: float = 0.9, log_values: bool = True
) -> dict[str, ScaleTrend]:
    """The trend of every measurement of a table of runs against one of its columns.

    Args:
        rows: One per run: the size under the name `axis`, and measurements by name, such as `Monitor.latest`.
        axis: Column that is the size.
        level: Probability of the intervals.
        log_values: As for `size_trend`.

    Returns:
        By name; measurements that fewer than three sizes have are left out.

    Raises:
        DataError: A row has no size.

    Source: limes, docs/diagnostics.md.

    >>> rows = [{"width": 2.0**k, "kurtosis": 3.0 * 2.0**k} for k in range(4)]
    >>> round(trends_by_size(rows, axis="width")["kurtosis"].slope, 6)
    1.0
    """
    if any(axis not in row for row in rows):
        raise DataError(f"a run has no {axis!r}: expected it in every row; there are {', '.join(sorted(rows[0]))}")
    names = sorted({name for row in rows for name in row} - {axis})
    trends = {}
    for name in names:
        chosen = [row for row in rows if name in row]
        try:
            trends[name] = size_trend(
                [row[axis] for row in chosen],
                [row[name] for row in chosen],
                axis=axis,
                level=level,
                log_values=log_values,
            )
        except DataError:
            # Too few sizes have a usable value: there is no trend to show.
            continue
    return trends


def extrapolate(trend: ScaleTrend, *, danger: float, target: float | None = None, falling: bool = False) -> Crossing:
    """The measurement at a target size, and the size at which it crosses a danger line, both with intervals.

    Args:
        trend: From `size_trend`.
        danger: The line.
        target: Size to forecast at.
        falling: Values below the line are the dangerous ones (an entropy), not those above.

    Raises:
        DataError: danger is not positive while logarithms were fitted, or target is not positive.

    Source: Fieller 1954: the sizes at which the line's own confidence band holds the danger line.
    **Accuracy**: as good as the straight line is beyond the sizes that were run; `ScaleTrend.straight` says whether a
    bend was seen.

    >>> trend = size_trend([1, 2, 4, 8], [1.0, 2.1, 3.9, 8.0])
    >>> found = extrapolate(trend, danger=100.0, target=64)
    >>> 90 < found.size < 110, found.low < found.size < found.high, 50 < found.value < 80
    (True, True, True)
    """
    if not math.isfinite(danger) or (trend.log_values and danger <= 0):
        raise DataError(f"danger {danger}: expected a finite value, positive where logarithms were fitted")
    y = math.log(danger) if trend.log_values else danger
    x = (y - trend.intercept) / trend.slope if trend.slope else math.inf
    low, high = _fieller(trend, y)
    value, value_low, value_high = (None, None, None) if target is None else trend.at(target)
    size = _exp(x) if math.isfinite(x) else None
    return Crossing(
        danger=danger,
        size=size,
        low=low,
        high=high,
        target=target,
        value=value,
        value_low=value_low,
        value_high=value_high,
        sentence=_outlook(trend, danger, size, (low, high), falling=falling) + _forecast(trend, target),
    )


def _line(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Slope, intercept, deviation of the points, standard error of the slope."""
    centred = x - x.mean()
    spread = float(centred @ centred)
    slope = float(centred @ y) / spread
    intercept = float(y.mean()) - slope * float(x.mean())
    rest = y - intercept - slope * x
    deviation = math.sqrt(float(rest @ rest) / (len(x) - 2))
    return slope, intercept, deviation, deviation / math.sqrt(spread)


def _bend(x: NDArray[np.float64], y: NDArray[np.float64], level: float) -> Interval | None:
    freedom = len(x) - 3
    if len(np.unique(x)) < BEND_SIZES or freedom < 1:
        return None
    design = np.stack([np.ones_like(x), x - x.mean(), (x - x.mean()) ** 2], 1)
    coefficients, *_ = np.linalg.lstsq(design, y, rcond=None)
    rest = y - design @ coefficients
    # Noise at the level of rounding would make a bend of every exact line.
    variance = max(float(rest @ rest) / freedom, (1e-12 * float(np.abs(y).max() + 1.0)) ** 2)
    error = math.sqrt(variance * np.linalg.inv(design.T @ design)[2, 2])
    half = float(stats.t.ppf(0.5 + level / 2, freedom)) * error
    return float(coefficients[2]) - half, float(coefficients[2]) + half


def _fieller(trend: ScaleTrend, y: float) -> Interval:
    """Sizes x with (a + b x - y)^2 <= t^2 s^2 (1/n + (x - m)^2 / S): an interval where the slope is certain."""
    places = np.log(trend.sizes)
    middle, spread = float(places.mean()), float(((places - places.mean()) ** 2).sum())
    offset = trend.intercept + trend.slope * middle - y
    noise = (trend._t * trend.deviation) ** 2
    # In z = x - m: (b^2 - noise/S) z^2 + 2 b offset z + offset^2 - noise/n <= 0.
    a, b, c = trend.slope**2 - noise / spread, trend.slope * offset, offset**2 - noise / len(places)
    root = b * b - a * c
    if a > 0:
        half = math.sqrt(max(root, 0.0))
        ends = sorted(((-b - half) / a, (-b + half) / a))
        return _exp(middle + ends[0]), _exp(middle + ends[1])
    # A slope that may be zero: the line may be met nowhere, so only the nearer end (if any) bounds the size.
    if root <= 0 or a == 0:
        return 0.0, math.inf
    half = math.sqrt(root)
    ahead = [z for z in ((-b - half) / a, (-b + half) / a) if z > 0]
    return (_exp(middle + min(ahead)) if ahead else 0.0), math.inf


def _exp(x: float) -> float:
    return math.exp(x) if x < 700 else math.inf


def _outlook(trend: ScaleTrend, danger: float, size: float | None, ends: Interval, *, falling: bool) -> str:
    axis, largest = trend.axis, float(trend.sizes.max())
    now, slope = trend.at(largest)[0], f"slope {trend.slope:.2g} ({trend.interval[0]:.2g} to {trend.interval[1]:.2g})"
    if (now <= danger) if falling else (now >= danger):
        return f"at {axis} {largest:g} the line through the runs is past {danger:g} already, {slope}"
    if trend.grows is None:
        return f"no trend with {axis}, {slope}"
    if trend.grows == falling or size is None:
        return f"moves away from {danger:g} as {axis} grows, {slope}"
    return f"crosses {danger:g} at {axis} {size:.3g} ({trend.level:.0%}: {ends[0]:.3g} to {ends[1]:.3g}), {slope}"


def _forecast(trend: ScaleTrend, target: float | None) -> str:
    text = "; the runs bend away from a straight line, so do not trust it far" if trend.straight is False else ""
    if target is None:
        return text
    value, low, high = trend.at(target)
    return f"; at {trend.axis} {target:g} it is {value:.3g} (one run: {low:.3g} to {high:.3g}){text}"
