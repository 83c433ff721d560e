"""Readings that several pictures share: the power at which runs approach a limit, and the limit itself."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from limes.compare.gallery.picture import LEVEL, Array, Reading
from limes.compare.scales import ScaleTrend, size_trend
from limes.numerics.ensemble import limit_estimate


def trend_over(sizes: Sequence[float], groups: Sequence[Array]) -> ScaleTrend:
    """The power of size at which a positive measurement of independent runs falls.

    Args:
        sizes: (num_sizes,).
        groups: For each size its runs.

    >>> round(trend_over([1, 2, 4], [np.array([4.0, 4.0]), np.array([2.0, 2.0]), np.array([1.0, 1.0])]).slope, 6)
    -1.0
    """
    repeated = np.repeat(np.asarray(sizes, dtype=float), [len(group) for group in groups])
    return size_trend(repeated, np.concatenate(groups), level=LEVEL)


def exponent_reading(name: str, trend: ScaleTrend, *, expected: float, source: str) -> Reading:
    """The exponent of a trend beside the one that is expected."""
    half = 0.5 * (trend.interval[1] - trend.interval[0])
    return Reading(name=name, measured=trend.slope, half_width=half, expected=expected, source=source)


def limit_reading(
    name: str, sizes: Sequence[float], groups: Sequence[ArrayLike], *, expected: float, source: str
) -> Reading:
    """The limit in 1 / size of means over runs, with its 95 % interval, beside the one that is expected."""
    estimate = limit_estimate(sizes, list(groups))
    half = float(stats.t.ppf(0.5 + LEVEL / 2, estimate.degrees_of_freedom)) * estimate.error
    return Reading(name=name, measured=estimate.value, half_width=half, expected=expected, source=source)
