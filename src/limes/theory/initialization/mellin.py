"""Mellin transforms of products of chi-square variables, and their inverses along a ladder of vertical contours.

The squared norm of what a random network puts out is a product of independent Gamma variables, so its Mellin transform
M(s) = E t^s is a product of one factor for each layer, and everything else is an integral along Re s = c. Any c in the
strip is exact; the saddle of M(s) t^-s avoids cancellation. A ladder of contours, half a saddle's width apart, is laid
as far as it is needed and shared by all arguments.

Source: limes, docs/theory/prior_predictive.md; Mellin-Barnes form of arXiv:2104.11734 and arXiv:2106.06615.
Letters: s = c + iy, a half a number of degrees of freedom, b_l = d_l / 2, k active units, w width of the saddle.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.linalg import eigh_tridiagonal
from scipy.special import gammaln, loggamma, polygamma, psi

from limes.core.errors import ConvergenceError
from limes.numerics.contour import Complex, Real

STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)
STIRLING_FROM = 16.0
EXACT_BINOMIAL = 256
BINOMIAL_NODES = 48
LADDER_STEP = 0.7
CUTOFF = 41.0
TOLERANCE = 1e-12
MAX_NODES = 1 << 17
MAX_RUNGS = 20_000


def log_gamma_ratio(a: Real, s: Complex) -> Complex:
    """ln Gamma(a + s) - ln Gamma(a) - s ln a, broadcast; without the cancellation that plain subtraction has.

    **Accuracy**: 1e-15 |s| for large a, 1e-14 below 16.

    >>> complex(np.round(log_gamma_ratio(np.array(1e8), np.array(2.0 + 0j)) * 1e8, 6))    # ln(1 + 1/a), times a
    (1+0j)
    """
    a, s = np.asarray(a, float), np.asarray(s, complex)
    big = a >= STIRLING_FROM
    if bool(big.all()):
        return _stirling(a, s)
    small = np.where(big, 1.0, a)
    direct = loggamma(small + np.where(big, 0.0, s)) - gammaln(small) - s * np.log(small)
    if not bool(big.any()):
        return np.asarray(direct)
    return np.asarray(np.where(big, _stirling(np.where(big, a, STIRLING_FROM), s), direct))


def _stirling(a: Real, s: Complex) -> Complex:
    value = a * _entropy(s / a) - 0.5 * np.log1p(s / a)
    # Both inverse powers by Horner's rule in the squares.
    here, there = 1.0 / (a + s), 1.0 / a
    square, base = here * here, there * there
    tail, rest = np.zeros_like(here), np.zeros_like(there)
    for coefficient in reversed(STIRLING):
        tail, rest = coefficient + square * tail, coefficient + base * rest
    return np.asarray(value + here * tail - there * rest)


def _entropy(u: Complex) -> Complex:
    """(1 + u) ln(1 + u) - u, by its series near zero, where the difference loses what a thousand layers would need."""
    near = np.abs(u) < 0.05
    if not bool(near.any()):
        return np.asarray((1.0 + u) * np.log1p(u) - u)
    small = np.where(near, u, 0.0)
    series = np.zeros_like(small)
    for n in range(14, 1, -1):
        series = (-1) ** n / (n * (n - 1.0)) + small * series
    if bool(near.all()):
        return np.asarray(small * small * series)
    large = np.where(near, 1.0, u)
    return np.asarray(np.where(near, small * small * series, (1.0 + large) * np.log1p(large) - large))


@lru_cache(maxsize=4096)
def binomial_nodes(count: int) -> tuple[Real, Real]:
    """Values and weights of Binomial(count, 1/2) without zero; beyond 256, Gauss points for that distribution.

    **Accuracy**: exact to 256; beyond, for polynomials of degree 95 in k, while 2^-256 is dropped with k = 0.

    >>> values, weights = binomial_nodes(1000)
    >>> len(values), round(float(weights @ (values - 500.0) ** 2), 9)
    (48, 250.0)
    """
    if count <= EXACT_BINOMIAL:
        k = np.arange(1.0, count + 1.0)
        return k, np.exp(gammaln(count + 1.0) - gammaln(k + 1.0) - gammaln(count - k + 1.0) - count * math.log(2.0))
    n = np.arange(1.0, BINOMIAL_NODES)
    nodes, vectors = eigh_tridiagonal(np.zeros(BINOMIAL_NODES), 0.5 * np.sqrt(n * (count - n + 1.0)))
    return 0.5 * count + nodes, vectors[0] ** 2


def binomial_window(count: int, c: float) -> tuple[Real, Real]:
    """As `binomial_nodes`, for expectations of k^c at any c: a plain sum where Gauss points do not reach."""
    if count <= EXACT_BINOMIAL or abs(c) <= 4.0 * math.sqrt(count):
        return binomial_nodes(count)
    k = np.arange(1.0, count + 1.0)
    logs = gammaln(count + 1.0) - gammaln(k + 1.0) - gammaln(count - k + 1.0) - count * math.log(2.0)
    tilted = logs + gammaln(0.5 * k + c) - gammaln(0.5 * k)
    kept = tilted > tilted.max() - CUTOFF
    return k[kept], np.exp(logs[kept])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LayerFactor:
    """Layers of one width: chi-square with `width` degrees of freedom, or with a binomial number of them.

    Args:
        width: d.
        count: How many such layers there are.
        gated: Whether each unit is active with probability 1/2 (relu), or always (linear, and the readout).
    """

    width: int
    count: int
    gated: bool

    @property
    def reference(self) -> float:
        """Mean of the Gamma variable: the unit of t."""
        return 0.25 * self.width if self.gated else 0.5 * self.width

    @property
    def pole(self) -> float:
        """Where the transform's first pole lies."""
        return -0.5 if self.gated else -0.5 * self.width

    def log_value(self, s: Complex) -> Complex:
        """ln E (gamma / reference)^s for all layers of the kind, dead ones left out."""
        if not self.gated:
            return self.count * log_gamma_ratio(np.array(0.5 * self.width), s)
        k, weights = binomial_window(self.width, float(s.flat[0].real))
        half = 0.5 * k[:, None]
        terms = log_gamma_ratio(half, s[None]) + s * np.log(half / self.reference) + np.log(weights)[:, None]
        top = terms.real.max(0)
        return np.asarray(self.count * (np.log(np.exp(terms - top).sum(0)) + top))

    def slopes(self, c: float) -> tuple[float, float, float]:
        """ln of the transform on the real axis, with its first two derivatives."""
        shift = math.log(self.reference)
        if not self.gated:
            a = 0.5 * self.width
            value = float(log_gamma_ratio(np.array(a), np.array(c + 0j)).real)
            return self.count * value, self.count * float(psi(a + c) - shift), self.count * float(polygamma(1, a + c))
        k, weights = binomial_window(self.width, c)
        half = 0.5 * k
        ratio = log_gamma_ratio(half, np.full(len(half), c + 0j)).real
        logs = np.log(weights) + ratio + c * np.log(half / self.reference)
        top = logs.max()
        share = np.exp(logs - top)
        total = share.sum()
        share /= total
        first = psi(half + c) - shift
        mean = float(share @ first)
        second = float(share @ polygamma(1, half + c) + share @ (first - mean) ** 2)
        return self.count * (math.log(total) + float(top)), self.count * mean, self.count * second


@dataclass(frozen=True, slots=True, eq=False)
class Rung:
    """One contour: values of ln F(c + iy) less ln F(c) at the points step * j, and what they belong to."""

    c: float
    log_top: float
    step: float
    values: Complex


class Ladder:
    """Contours of F(s) = M(s), or |M(s) / s| on one side of s = 0.

    Args:
        factors: Of M.
        low, high: The strip; math.inf is allowed above.
        divided: Whether F is M(s) / s.
    """

    def __init__(self, factors: Sequence[LayerFactor], *, low: float, high: float, divided: bool) -> None:
        self._factors, self._low, self._high, self._divided = tuple(factors), low, high, divided
        start = low + 0.5 if high == math.inf else 0.5 * (low + high)
        self._places = [start]
        self._slopes = [self._real(start)]
        self._rungs: dict[float, Rung] = {}

    def invert(self, log_t: float) -> tuple[float, float]:
        """The integral of F(s) t^-s dy / 2 pi as (mantissa, exponent of e): it may be far below the least float."""
        mantissas, exponents = self.invert_all(np.array([log_t]))
        return float(mantissas[0]), float(exponents[0])

    def invert_all(self, log_t: Real) -> tuple[Real, Real]:
        """The same for many arguments (R,): those that share a contour are summed together."""
        chosen = self._nearest(log_t)
        mantissas, exponents = np.empty(len(log_t)), np.empty(len(log_t))
        for c in np.unique(chosen):
            rung, here = self._rung(float(c)), np.flatnonzero(chosen == c)
            mantissas[here] = _fourier(rung, log_t[here])
            exponents[here] = rung.log_top - rung.c * log_t[here]
        return mantissas, exponents

    def _real(self, c: float) -> tuple[float, float, float]:
        value = slope = bend = 0.0
        for factor in self._factors:
            v, g, h = factor.slopes(c)
            value, slope, bend = value + v, slope + g, bend + h
        if self._divided:
            value, slope, bend = value - math.log(abs(c)), slope - 1.0 / c, bend + 1.0 / c**2
        return value, slope, bend

    def _nearest(self, log_t: Real) -> Real:
        """The rungs whose saddles are nearest; the ladder grows until it reaches all."""
        low, high = float(log_t.min()), float(log_t.max())
        while self._slopes[-1][1] < high and len(self._places) < MAX_RUNGS:
            self._add(self._places[-1] + LADDER_STEP / math.sqrt(self._slopes[-1][2]), end=True)
        while self._slopes[0][1] > low and len(self._places) < MAX_RUNGS:
            self._add(self._places[0] - LADDER_STEP / math.sqrt(self._slopes[0][2]), end=False)
        slopes = np.array([slope for _, slope, _ in self._slopes])
        if not slopes[0] <= low <= high <= slopes[-1] and len(slopes) >= MAX_RUNGS:
            far = low if low < slopes[0] else high
            raise ConvergenceError(f"no saddle within {MAX_RUNGS} contours at ln t = {far:.6g}: too far in the tail")
        right = np.clip(np.searchsorted(slopes, log_t), 1, max(len(slopes) - 1, 1))
        left = right - 1
        right = np.minimum(right, len(slopes) - 1)
        closer = np.abs(slopes[left] - log_t) <= np.abs(slopes[right] - log_t)
        return np.array(self._places)[np.where(closer, left, right)]

    def _add(self, c: float, *, end: bool) -> None:
        index = len(self._places) if end else 0
        self._places.insert(index, c)
        self._slopes.insert(index, self._real(c))

    def _rung(self, c: float) -> Rung:
        if c not in self._rungs:
            self._rungs[c] = self._lay(c)
        return self._rungs[c]

    def _log(self, c: float, y: Real) -> Complex:
        s: Complex = np.asarray(c + 1j * y, complex)
        total: Complex = np.zeros(len(y), complex)
        for factor in self._factors:
            total = total + factor.log_value(s)
        return np.asarray(total - np.log(s if c > 0 else -s)) if self._divided else total

    def _lay(self, c: float) -> Rung:
        """Points of the trapezoidal rule, halved until the integral at the rung's own saddle stands still."""
        top, slope, bend = self._real(c)
        width = 1.0 / math.sqrt(bend)
        reach = _reach(lambda y: self._log(c, y).real - top, width)
        step = 0.7 * width
        values = self._log(c, np.asarray(step * np.arange(math.ceil(reach / step) + 1), float)) - top
        before = _trapezoid(values, step, slope)
        while len(values) < MAX_NODES:
            middle = self._log(c, np.asarray(step * (np.arange(len(values) - 1) + 0.5), float)) - top
            finer = np.empty(2 * len(values) - 1, complex)
            finer[::2], finer[1::2] = values, middle
            values, step = finer, 0.5 * step
            after = _trapezoid(values, step, slope)
            if abs(after - before) <= TOLERANCE * abs(after):
                return Rung(c, top, step, values)
            before = after
        raise ConvergenceError(
            f"the integral along Re s = {c:.6g} needs more than {MAX_NODES} points: the argument is too close to zero"
        )


def _reach(log_size: Callable[[Real], Real], width: float) -> float:
    """A height beyond which the integrand is below e^-41 of its top."""
    heights = 4.0 * width * 1.25 ** np.arange(8.0)
    while True:
        low = np.flatnonzero(log_size(heights) <= -CUTOFF)
        if len(low):
            return float(heights[low[0]])
        heights = heights * (heights[-1] / heights[0]) * 1.25


def _fourier(rung: Rung, log_t: Real) -> Real:
    """The trapezoidal sum at each argument; each phase is a product of two of 2 sqrt(n)."""
    stride = math.ceil(math.sqrt(len(rung.values)))
    weights = np.zeros(stride * stride, complex)
    weights[: len(rung.values)] = np.exp(rung.values)
    weights[0] *= 0.5
    table, phase = weights.reshape(stride, stride), -1j * rung.step * np.arange(stride)
    near, far = np.exp(log_t[:, None] * phase), np.exp(stride * log_t[:, None] * phase)
    return np.asarray(((near @ table.T) * far).sum(1).real * (rung.step / math.pi))


def _trapezoid(values: Complex, step: float, log_t: float) -> float:
    terms = np.exp(values - 1j * step * np.arange(len(values)) * log_t).real
    return step * (2.0 * float(terms.sum()) - float(terms[0]))
