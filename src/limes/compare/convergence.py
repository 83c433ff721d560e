"""How networks of growing size tend to a limit: spread over seeds, deviation of their mean, and the powers of both.

All quantities are squared lengths of a measured vector, unbiased: squares are products of independent networks, or have
their own noise taken off, so that they scatter around zero once nothing is left to be seen. Intervals are from deleting
one network at a time, with Student's t.

Source: limes, docs/consistency.md; Quenouille 1956, Tukey 1958 (jackknife); Satterthwaite 1946 (degrees of freedom).
Letters: S sizes, R runs of a size, D entries of the vector, p power, G products of all runs with each other.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from limes.core.errors import DataError

Array = NDArray[np.float64]
# Powers that are tried; a fit that ends at either end has found none.
POWERS = np.linspace(-2.0, 4.0, 241)
MIN_SIZES = 3
# A mean deviation counts as seen where it exceeds its noise so many times.
SEEN = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Power:
    """A fitted power of the size, as in size^-value.

    Attributes:
        value: NaN if none was found.
        low: End of the interval.
        high: End of the interval.
        why: Where none was found, the reason.
    """

    value: float
    low: float
    high: float
    why: str = ""

    @property
    def known(self) -> bool:
        """Whether there is one."""
        return math.isfinite(self.value)

    def holds(self, power: float) -> bool:
        """Whether the interval holds a power."""
        return self.known and self.low <= power <= self.high


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Convergence:
    """A vector measured on networks of several sizes.

    Attributes:
        sizes: (S,).
        spread: (S,) variance over networks of a size, summed over entries, relative to `scale`.
        mean_deviation: (S,) squared distance of the mean over all networks of a size from the limit, relative to
            `scale`; at the largest size, where that stands for the limit, NaN.
        noise: (S,) standard error of `mean_deviation` if there were none.
        deviation: (S,) mean squared distance of one network from the limit: the sum of the two above.
        scale: Squared length of the limit's own vector.
        spread_power: Of the spread.
        mean_power: Of the root of the mean deviation; the finite size of what stands for the limit is allowed for.
        deviation_power: Of `deviation`.
    """

    sizes: Array
    spread: Array
    mean_deviation: Array
    noise: Array
    deviation: Array
    scale: float
    spread_power: Power
    mean_power: Power
    deviation_power: Power


def converge(
    sizes: Sequence[float], runs: Sequence[Array], *, limit: Array | None = None, level: float = 0.9
) -> Convergence:
    """Spread, mean deviation and their powers.

    Args:
        sizes: (S,) increasing, at least three.
        runs: For each size (R, D) of independent networks, R at least 3; no two sizes share a network.
        limit: (D,) the exact limit; None takes the mean of the largest size, and fits N^-p - N_max^-p.
        level: Of the intervals.

    Raises:
        DataError: Too few sizes or runs, shapes that differ, or numbers that are not finite.

    Source: limes, docs/consistency.md. **Accuracy**: intervals hold their level to a few per cent with 6 runs of 5
    sizes (tests/compare/test_convergence.py).

    >>> rng = np.random.default_rng(0)
    >>> runs = [1.0 + 3.0 / n + rng.standard_normal((40, 50)) / n**0.5 for n in (8, 16, 32, 64)]
    >>> found = converge((8, 16, 32, 64), runs)
    >>> found.spread_power.holds(1.0), found.mean_power.holds(1.0)
    (True, True)
    """
    n, counts, vectors = _checked(sizes, runs, limit)
    # Differences of nearly equal vectors are taken before products are.
    centre = vectors[-1] if limit is not None else vectors[-counts[-1] :].mean(0)
    scale = float(centre @ centre)
    gram = (vectors - centre) @ (vectors - centre).T
    moments = _Moments(gram, counts, exact=limit is not None)
    dimension = moments.dimension()
    fits: dict[str, Callable[[_Moments], float]] = {
        "spread": lambda m: _fit_log(n, m.spread, weights=(counts - 1).astype(float)),
        "mean": lambda m: _fit_mean(n, m.mean, m.variance_of_mean(dimension), exact=limit is not None),
        "deviation": lambda m: _fit_log(
            n[: m.compared], m.deviation[: m.compared], weights=(counts[: m.compared] - 1).astype(float)
        ),
    }
    powers = {name: _jackknife(moments, fit, level) for name, fit in fits.items()}
    noise = np.sqrt(moments.variance_of_mean(dimension, null=True))
    if not _seen(moments.mean, noise, moments.compared):
        powers["mean"] = Power(
            value=math.nan, low=math.nan, high=math.nan, why="the mean deviation is not above its noise"
        )
    unit = scale if scale > 0 else 1.0
    return Convergence(
        sizes=n,
        spread=moments.spread / unit,
        mean_deviation=np.where(np.arange(len(n)) < moments.compared, moments.mean, np.nan) / unit,
        noise=noise / unit,
        deviation=moments.deviation / unit,
        scale=scale,
        spread_power=powers["spread"],
        mean_power=powers["mean"],
        deviation_power=powers["deviation"],
    )


def _checked(
    sizes: Sequence[float], runs: Sequence[Array], limit: Array | None
) -> tuple[Array, NDArray[np.int64], Array]:
    n = np.asarray(sizes, dtype=float)
    if len(n) < MIN_SIZES or len(runs) != len(n) or not bool((np.diff(n) > 0).all()) or n[0] <= 0:
        raise DataError(f"sizes {n.tolist()} with {len(runs)} groups of runs: expected three or more, increasing")
    if any(len(group) < 3 or group.ndim != 2 or group.shape[1:] != runs[0].shape[1:] for group in runs):
        shapes = [group.shape for group in runs]
        raise DataError(f"runs of shapes {shapes}: expected (R, D) with R at least 3 and one D")
    rows = [np.asarray(group, dtype=float) for group in runs]
    vectors = np.concatenate([*rows, *([np.asarray(limit, dtype=float)[None]] if limit is not None else [])])
    if not bool(np.isfinite(vectors).all()):
        raise DataError(f"{int((~np.isfinite(vectors)).sum())} numbers are not finite: leave those runs out")
    return n, np.array([len(group) for group in rows], dtype=np.int64), vectors


class _Moments:
    """Spread and mean deviation of every size from products of runs; `without` leaves one run out."""

    def __init__(self, gram: Array, counts: NDArray[np.int64], *, exact: bool) -> None:
        self.gram, self.counts, self.exact = gram, counts, exact
        self.ends = np.concatenate([[0], np.cumsum(counts)])
        # Sizes that are held against the limit: the largest is the limit, unless that is given.
        self.compared = len(counts) if exact else len(counts) - 1
        groups = [slice(a, b) for a, b in zip(self.ends[:-1], self.ends[1:], strict=True)]
        reference = gram[:, -1] if exact else gram[:, groups[-1]].mean(1)
        own = gram[-1, -1] if exact else float(gram[groups[-1], groups[-1]].mean())
        squares = np.array([gram[g, g].mean() for g in groups])
        diagonal = np.array([np.diag(gram)[g].mean() for g in groups])
        self.spread = (diagonal - squares) * counts / (counts - 1)
        against = np.array([reference[g].mean() for g in groups])
        self.floor = self.spread / counts + (0.0 if exact else self.spread[-1] / counts[-1])
        self.mean = squares + own - 2 * against - self.floor
        self.deviation = self.spread + np.where(np.arange(len(counts)) < self.compared, self.mean, 0.0)

    def without(self, run: int) -> "_Moments":
        """The same with one run deleted."""
        keep = np.delete(np.arange(len(self.gram)), run)
        counts = self.counts.copy()
        counts[self.group(run)] -= 1
        return _Moments(self.gram[np.ix_(keep, keep)], counts, exact=self.exact)

    def group(self, run: int) -> int:
        """The size that a run belongs to."""
        return int(np.searchsorted(self.ends, run, side="right") - 1)

    def dimension(self) -> float:
        """Directions among which the spread is shared: (trace)^2 / trace of the square, over all sizes."""
        total, squares = 0.0, 0.0
        for k, (a, b) in enumerate(zip(self.ends[:-1], self.ends[1:], strict=True)):
            block = self.gram[a:b, a:b]
            centred = block - block.mean(0) - block.mean(1)[:, None] + block.mean()
            apart = centred - np.diag(np.diag(centred))
            count = float(self.counts[k])
            # Products of different runs estimate the trace of the square; what centring adds is taken off.
            pairs = (apart**2).sum() / (count * (count - 1)) - (self.spread[k] / count) ** 2 * (count - 1) / count
            total, squares = total + self.spread[k] ** 2, squares + max(float(pairs), 0.0)
        return float(np.clip(total / squares, 1.0, 1e6)) if squares > 0 else 1.0

    def variance_of_mean(self, dimension: float, *, null: bool = False) -> Array:
        """(S,) variance of `mean`; `null` as if the true value were zero."""
        seen = 0.0 if null else np.maximum(self.mean, 0.0)
        return np.asarray((4.0 * seen * self.floor + 2.0 * self.floor**2) / dimension)


def _seen(mean: Array, noise: Array, compared: int) -> bool:
    return int((mean[:compared] > SEEN * noise[:compared]).sum()) >= min(MIN_SIZES, compared)


def _fit_log(sizes: Array, values: Array, *, weights: Array) -> float:
    """Power by a weighted line through logarithms; NaN if a value is not positive."""
    if len(sizes) < 2 or not bool((values > 0).all()):
        return math.nan
    x, y = -np.log(sizes), np.log(values)
    middle = (weights * x).sum() / weights.sum()
    return float((weights * (x - middle) * y).sum() / (weights * (x - middle) ** 2).sum())


def _fit_mean(sizes: Array, values: Array, variance: Array, *, exact: bool) -> float:
    """p of c (N^-p - N_max^-p)^2, or c N^-2p if the limit is exact, by weighted least squares."""
    used = len(sizes) if exact else len(sizes) - 1
    y, w = values[:used], 1.0 / np.maximum(variance[:used], 1e-12 * float((values[:used] ** 2).max()) + 1e-300)
    x = np.log(sizes[:used] / sizes[-1])
    # In units of the largest size; smooth through p = 0, where differences of powers are logarithms.
    power = np.where(POWERS == 0, 1e-9, POWERS)[:, None]
    shape = np.exp(-2 * power * x) if exact else (np.expm1(-power * x) / power) ** 2
    shape = shape / shape.max(1, keepdims=True)
    factor = np.maximum((w * shape * y).sum(1) / (w * shape**2).sum(1), 0.0)
    rest = (w * (y - factor[:, None] * shape) ** 2).sum(1)
    best = int(rest.argmin())
    if best in (0, len(POWERS) - 1) or factor[best] == 0:
        return math.nan
    a, b, c = rest[best - 1 : best + 2]
    bend = a - 2 * b + c
    return float(POWERS[best] + (0.5 * (a - c) / bend if bend > 0 else 0.0) * (POWERS[1] - POWERS[0]))


def _jackknife(moments: _Moments, fit: Callable[[_Moments], float], level: float) -> Power:
    """The fit, and its interval from fits without one run each."""
    value = fit(moments)
    if not math.isfinite(value):
        return Power(value=math.nan, low=math.nan, high=math.nan, why="no power fits")
    parts = []
    for k, count in enumerate(moments.counts):
        own = range(int(moments.ends[k]), int(moments.ends[k + 1]))
        found = np.array([fit(moments.without(run)) for run in own])
        if not bool(np.isfinite(found).all()):
            return Power(value=math.nan, low=math.nan, high=math.nan, why="one network decides the power")
        parts.append((count - 1) / count * float(((found - found.mean()) ** 2).sum()))
    shares = np.array(parts)
    variance = float(shares.sum())
    freedom = variance**2 / float((shares**2 / (moments.counts - 1)).sum()) if variance > 0 else 1.0
    half = float(stats.t.ppf(0.5 + level / 2, freedom)) * math.sqrt(variance)
    return Power(value=value, low=value - half, high=value + half)
