"""Averages over independent runs, and their limit as a size grows.

Source: textbook weighted least squares. Letters: N size, a limit, b coefficient of the leading correction.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from limes.core.errors import DataError


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Estimate:
    """A number with its standard error.

    Args:
        value: The estimate.
        error: Standard error over independent runs.
        degrees_of_freedom: Of the variance estimate behind it, for Student's t.
    """

    value: float
    error: float
    degrees_of_freedom: int


def mean_estimate(samples: ArrayLike) -> Estimate:
    """Mean over independent runs.

    Args:
        samples: (num_runs,), at least two, finite.

    Returns:
        `Estimate`.

    Raises:
        DataError: Fewer than two runs, or one is not finite.

    >>> estimate = mean_estimate([1.0, 2.0, 3.0])
    >>> estimate.value, round(estimate.error, 12)
    (2.0, 0.57735026919)
    """
    values = _runs(samples)
    error = float(values.std(ddof=1) / math.sqrt(len(values)))
    return Estimate(value=float(values.mean()), error=error, degrees_of_freedom=len(values) - 1)


def mean_half_width(samples: ArrayLike, *, level: float) -> NDArray[np.float64]:
    """Half-widths of the intervals of means over independent runs, by Student's t.

    Args:
        samples: (num_runs, ...), at least two runs.
        level: Of the intervals, such as 0.95.

    >>> round(float(mean_half_width([1.0, 3.0], level=0.95)), 3)
    12.706
    """
    runs = np.asarray(samples, dtype=float)
    count = len(runs)
    return np.asarray(stats.t.ppf(0.5 + level / 2, count - 1) * runs.std(0, ddof=1) / math.sqrt(count))


def limit_estimate(sizes: ArrayLike, samples: list[ArrayLike], *, power: float = 1.0, terms: int = 1) -> Estimate:
    """Limit a of a + b / N^power + c / N^(2 power) + ..., by least squares weighted with the error of each size's mean.

    Args:
        sizes: (num_sizes,), more different ones than `terms`, positive.
        samples: For each size its independent runs, at least two.
        power: Order of the leading correction.
        terms: Corrections that are fitted.

    Returns:
        `Estimate` of a.

    Raises:
        DataError: Sizes and samples do not fit each other, or all runs of a size are equal.

    **Accuracy**: biased by the next order of the expansion, of size 1 / (smallest N)^((terms + 1) power).

    >>> round(limit_estimate([1.0, 2.0], [[3.0, 3.2], [2.0, 2.2]]).value, 12)  # 3.1 = a + b, 2.1 = a + b/2
    1.1
    """
    n = np.asarray(sizes, dtype=float)
    if n.ndim != 1 or len(n) != len(samples) or len(np.unique(n)) <= terms or not bool((n > 0).all()):
        raise DataError(
            f"{len(samples)} groups of runs for sizes {n.tolist()}: expected {terms + 1} or more positive sizes"
        )
    estimates = [mean_estimate(runs) for runs in samples]
    errors = np.array([e.error for e in estimates])
    if not bool((errors > 0).all()):
        raise DataError("all runs of one size are equal: expected independent runs, whose spread sets the weights")
    design = np.stack([n ** (-power * term) for term in range(terms + 1)], 1) / errors[:, None]
    covariance = np.linalg.inv(design.T @ design)
    value = covariance @ design.T @ (np.array([e.value for e in estimates]) / errors)
    freedom = sum(e.degrees_of_freedom + 1 for e in estimates) - (terms + 1) * len(n)
    return Estimate(value=float(value[0]), error=float(math.sqrt(covariance[0, 0])), degrees_of_freedom=freedom)


def _runs(samples: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(samples, dtype=float)
    if values.ndim != 1 or len(values) < 2:
        raise DataError(f"samples of shape {values.shape}: expected (num_runs,) with at least two independent runs")
    if not bool(np.isfinite(values).all()):
        raise DataError(
            f"{int((~np.isfinite(values)).sum())} of {len(values)} runs are not finite: leave them out or say so"
        )
    return values
