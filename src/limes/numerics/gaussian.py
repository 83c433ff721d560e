"""Gaussian integrals of two correlated variables: E f(u) f(v) and E f'(u) f'(v), in closed form or by series.

Source: Cho & Saul 2009 (relu); Williams 1997 (erf); Tsuchida et al., arXiv:2002.08517 (gelu); Mehler's formula.
Letters: (u, v) ~ N(0, [[a, c], [c, b]]); k = E f(u) f(v); kdot = E f'(u) f'(v) = dk/dc; rho = c / sqrt(ab);
he_n normalized Hermite polynomials.

What depends on one variance alone is prepared once per input, not once per pair, hence `features`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from limes.numerics.quadrature import hermite_series, normal_expectation

Pair = tuple[Tensor, Tensor | None]
_TINY = 1e-300


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Dual:
    """The map from a covariance of preactivations to that of the activations, and its derivative.

    Args:
        features: (P,) variances -> (r, P), all that a pair needs to know about each of its two inputs.
        pair: (left (r, ...), right (r, ...), cov (...), slope) -> k, and kdot if `slope`; broadcasting.
        diagonal: (...) variances -> k and kdot at u = v, without the loss of digits of arccos near 1.
    """

    features: Callable[[Tensor], Tensor]
    pair: Callable[[Tensor, Tensor, Tensor, bool], Pair]
    diagonal: Callable[[Tensor], tuple[Tensor, Tensor]]


def _root_features(variance: Tensor) -> Tensor:
    safe = variance.clamp_min(_TINY)
    return torch.stack([variance.sqrt(), safe.rsqrt()])


def relu_dual(negative_slope: float = 0.0) -> Dual:
    """Dual of max(u, 0) + negative_slope * min(u, 0), from the arc-cosine kernel of order one.

    **Source**: Cho & Saul 2009, Eq. 6 (n = 1); the leaky part from leaky(u) = (1 - s) relu(u) + s u.
    **Accuracy**: relative error 1e-14 in k; kdot loses half the digits as |rho| -> 1 (1e-8 at 1 - |rho| < 1e-16).

    >>> dual = relu_dual()
    >>> one = dual.features(torch.ones(1, dtype=torch.float64))
    >>> round(dual.pair(one, one, torch.tensor([0.5], dtype=torch.float64), True)[0].item(), 12)
    0.304498890522
    """
    weight, rest = (1.0 - negative_slope) ** 2, negative_slope

    def pair(left: Tensor, right: Tensor, cov: Tensor, slope: bool) -> Pair:
        rho = (cov * left[1]).mul_(right[1]).clamp_(-1.0, 1.0)
        sine_squared = torch.addcmul(torch.ones((), dtype=cov.dtype), rho, rho, value=-1.0).clamp_min_(_TINY)
        # x * rsqrt(x) is several times cheaper than sqrt(x) on a CPU, at one more rounding.
        value = sine_squared.rsqrt().mul_(sine_squared)
        angle = torch.acos(rho.neg())
        value.addcmul_(angle, rho).mul_(left[0] * (weight / (2.0 * math.pi))).mul_(right[0])
        if rest:
            value.add_(cov, alpha=rest)
        return value, angle.mul_(weight / (2.0 * math.pi)).add_(rest) if slope else None

    def diagonal(variance: Tensor) -> tuple[Tensor, Tensor]:
        half = 0.5 * (1.0 + negative_slope**2)
        return half * variance, torch.full_like(variance, half)

    return Dual(features=_root_features, pair=pair, diagonal=diagonal)


def erf_dual(scale: float = 1.0) -> Dual:
    """Dual of erf(scale u).

    **Source**: Williams 1997, Eq. 11.
    **Accuracy**: relative error 1e-14; kdot loses digits like 1e-16 (1 + 2 scale^2 a) as u and v coincide.

    >>> dual = erf_dual()
    >>> one = dual.features(torch.ones(1, dtype=torch.float64))
    >>> round(dual.pair(one, one, torch.tensor([0.5], dtype=torch.float64), False)[0].item(), 12)
    0.216346895939
    """
    square = scale * scale

    def features(variance: Tensor) -> Tensor:
        return (1.0 + 2.0 * square * variance).rsqrt()[None]

    def pair(left: Tensor, right: Tensor, cov: Tensor, slope: bool) -> Pair:
        ratio = (cov * (2.0 * square * left[0])).mul_(right[0]).clamp_(-1.0, 1.0)
        value = torch.asin(ratio).mul_(2.0 / math.pi)
        if not slope:
            return value, None
        sine_squared = torch.addcmul(torch.ones((), dtype=cov.dtype), ratio, ratio, value=-1.0).clamp_min_(_TINY)
        return value, sine_squared.rsqrt_().mul_(left[0] * (4.0 * square / math.pi)).mul_(right[0])

    def diagonal(variance: Tensor) -> tuple[Tensor, Tensor]:
        a = 2.0 * square * variance
        return torch.asin(a / (1.0 + a)) * (2.0 / math.pi), (4.0 * square / math.pi) * (1.0 + 2.0 * a).rsqrt()

    return Dual(features=features, pair=pair, diagonal=diagonal)


def gelu_dual() -> Dual:
    """Dual of u Phi(u).

    **Source**: Tsuchida et al., arXiv:2002.08517, re-derived by Gaussian integration by parts.
    **Accuracy**: relative error 1e-13 for variances up to 1e3.

    >>> dual = gelu_dual()
    >>> one = dual.features(torch.ones(1, dtype=torch.float64))
    >>> round(dual.pair(one, one, torch.tensor([0.5], dtype=torch.float64), False)[0].item(), 12)
    0.227294915022
    """

    def pair(left: Tensor, right: Tensor, cov: Tensor, slope: bool) -> Pair:
        ratio = cov * left[1] * right[1]
        determinant = (1.0 - ratio * ratio).clamp_min(_TINY)
        inverse = determinant.rsqrt() * (left[1] * right[1] / (2.0 * math.pi))
        angle = torch.asin(ratio.clamp(-1.0, 1.0)) / (2.0 * math.pi)
        both = left[1] ** 2 + right[1] ** 2 - 1.0
        numerator = torch.addcmul(left[0] * right[0], both * cov, cov)
        value = (0.25 + angle) * cov + numerator * inverse
        if not slope:
            return value, None
        curvature = numerator * ((left[1] * right[1]) ** 2 / determinant) + (1.0 + 2.0 * both)
        return value, 0.25 + angle + cov * inverse * curvature

    def features(variance: Tensor) -> Tensor:
        return torch.stack([variance, (1.0 + variance).rsqrt()])

    def diagonal(variance: Tensor) -> tuple[Tensor, Tensor]:
        a = variance
        angle = torch.asin(a / (1.0 + a)) / (2.0 * math.pi)
        root = (1.0 + 2.0 * a).sqrt() * (2.0 * math.pi)
        numerator = 2.0 * a * a / (1.0 + a)
        slope = 0.25 + angle + a / root * (numerator / (1.0 + 2.0 * a) + (3.0 - a) / (1.0 + a))
        return (0.25 + angle) * a + numerator / root, slope

    return Dual(features=features, pair=pair, diagonal=diagonal)


def sin_dual() -> Dual:
    """Dual of sin(u): e^(-(a+b)/2) sinh(c), written as two decaying exponentials.

    **Source**: characteristic function of a Gaussian. **Accuracy**: rounding.

    >>> dual = sin_dual()
    >>> round(dual.diagonal(torch.tensor(0.5, dtype=torch.float64))[0].item(), 12)  # = (1 - 1/e) / 2
    0.316060279414
    """

    def pair(left: Tensor, right: Tensor, cov: Tensor, slope: bool) -> Pair:
        mean = 0.5 * (left[0] + right[0])
        near, far = torch.exp(cov - mean), torch.exp(-cov - mean)
        return 0.5 * (near - far), 0.5 * (near + far) if slope else None

    def diagonal(variance: Tensor) -> tuple[Tensor, Tensor]:
        return -0.5 * torch.expm1(-2.0 * variance), 0.5 * (1.0 + torch.exp(-2.0 * variance))

    return Dual(features=lambda variance: variance[None], pair=pair, diagonal=diagonal)


def linear_dual() -> Dual:
    """Dual of the identity: k = c, kdot = 1.

    **Source**: definition. **Accuracy**: exact.

    >>> linear_dual().diagonal(torch.tensor(2.0, dtype=torch.float64))[0].item()
    2.0
    """

    def pair(left: Tensor, right: Tensor, cov: Tensor, slope: bool) -> Pair:
        return cov.clone(), torch.ones_like(cov) if slope else None

    return Dual(
        features=lambda variance: variance[None],
        pair=pair,
        diagonal=lambda variance: (variance.clone(), torch.ones_like(variance)),
    )


def polynomial_dual(coefficients: Sequence[float]) -> Dual:
    """Dual of sum_n coefficients[n] u^n, exact: a finite Hermite series.

    **Source**: Mehler's formula. **Accuracy**: rounding, for degrees up to about 20.

    >>> dual = polynomial_dual([0.0, 0.0, 1.0])
    >>> round(dual.diagonal(torch.tensor(1.0, dtype=torch.float64))[0].item(), 12)  # = E z^4
    3.0
    """
    powers = torch.tensor(list(coefficients), dtype=torch.float64)
    degree = len(powers) - 1
    # z^k = sum_m k! / (2^m m! (k - 2m)!) He_{k-2m}, and he_n = He_n / sqrt(n!).
    change = torch.zeros(degree + 1, degree + 1, dtype=torch.float64)
    for k in range(degree + 1):
        for m in range(k // 2 + 1):
            n = k - 2 * m
            change[n, k] = math.exp(
                math.lgamma(k + 1) - m * math.log(2.0) - math.lgamma(m + 1) - 0.5 * math.lgamma(n + 1)
            )
    change = change * powers

    def coefficients_of(variance: Tensor) -> Tensor:
        std = variance.sqrt()
        return torch.tensordot(change, torch.stack([std**k for k in range(degree + 1)]), dims=1)

    return _mehler_dual(coefficients_of, diagonal_of=None)


def series_dual(
    function: Callable[[Tensor], Tensor], derivative: Callable[[Tensor], Tensor], *, tolerance: float = 1e-13
) -> Dual:
    """Dual of any smooth function by its Hermite series: k = sum_n c_n(a) c_n(b) rho^n.

    Args:
        function: Elementwise, analytic near the real axis.
        derivative: Its derivative.
        tolerance: Relative weight that the truncated series may miss.

    **Source**: Mehler's formula. **Accuracy**: |error in k| <= tolerance * sqrt(E f(u)^2 E f(v)^2).

    >>> dual = series_dual(torch.tanh, lambda x: 1 - torch.tanh(x) ** 2)
    >>> one = dual.features(torch.ones(1, dtype=torch.float64))
    >>> round(dual.pair(one, one, torch.tensor([0.5], dtype=torch.float64), False)[0].item(), 12)
    0.186324413203
    """

    def diagonal(variance: Tensor) -> tuple[Tensor, Tensor]:
        square = normal_expectation(lambda x: function(x) ** 2, variance, num_nodes=1024)
        return square, normal_expectation(lambda x: derivative(x) ** 2, variance, num_nodes=1024)

    return _mehler_dual(lambda variance: hermite_series(function, variance, tolerance=tolerance), diagonal_of=diagonal)


def _mehler_dual(
    coefficients_of: Callable[[Tensor], Tensor], *, diagonal_of: Callable[[Tensor], tuple[Tensor, Tensor]] | None
) -> Dual:
    def features(variance: Tensor) -> Tensor:
        # One reciprocal root per input in front of the coefficients.
        return torch.cat([variance.clamp_min(_TINY).rsqrt()[None], coefficients_of(variance)])

    def pair(left: Tensor, right: Tensor, cov: Tensor, slope: bool) -> Pair:
        rho = (cov * left[0] * right[0]).clamp_(-1.0, 1.0)
        # Inputs of different batches may carry series of different lengths; the longer tail meets zeros.
        last = min(len(left), len(right)) - 1
        value = _power_sum(left, right, rho, last)
        if not slope:
            return value, None
        order = torch.arange(last + 1, dtype=cov.dtype).reshape(-1, *([1] * (left.ndim - 1)))
        raised = torch.cat([left[:1], left[2 : last + 1] * order[1:last]])
        shifted = torch.cat([right[:1], right[2 : last + 1]])
        # kdot = dk/dc = (1 / sqrt(ab)) sum_n n c_n(a) c_n(b) rho^(n-1)
        return value, _power_sum(raised, shifted, rho, last - 1).mul_(left[0]).mul_(right[0])

    def diagonal(variance: Tensor) -> tuple[Tensor, Tensor]:
        c = coefficients_of(variance)
        order = torch.arange(len(c), dtype=variance.dtype).reshape(-1, *([1] * variance.ndim))
        return (c * c).sum(0), (order * c * c).sum(0) / variance.clamp_min(_TINY)

    return Dual(features=features, pair=pair, diagonal=diagonal_of or diagonal)


def _power_sum(left: Tensor, right: Tensor, rho: Tensor, num_terms: int) -> Tensor:
    """sum_{n < num_terms} left[n+1] right[n+1] rho^n; odd and even functions skip every other power."""
    total = torch.zeros_like(rho)
    if num_terms < 1:
        return total
    first, second = left[1 : num_terms + 1], right[1 : num_terms + 1]
    size = first.abs().flatten(1).amax(1)
    floor = 1e-15 * size.amax()
    even, odd = bool((size[::2] > floor).any()), bool((size[1::2] > floor).any())
    if even and odd:
        return _horner(first, second, rho)
    if even or not odd:
        return _horner(first[::2], second[::2], rho * rho)
    return _horner(first[1::2], second[1::2], rho * rho).mul_(rho)


def _horner(left: Tensor, right: Tensor, x: Tensor) -> Tensor:
    """sum_n left[n] right[n] x^n, by Horner over runs of terms: long runs for small x save calls, not arithmetic."""
    run = max(1, min(64, 16_384 // max(x.numel(), 1)))
    total = torch.zeros_like(x)
    if run == 1:
        for n in range(len(left) - 1, -1, -1):
            total.mul_(x).addcmul_(left[n], right[n])
        return total
    powers = torch.cumprod(torch.cat([torch.ones_like(x)[None], x.expand(run, *x.shape)]), 0)
    for start in range((len(left) - 1) // run * run, -1, -run):
        part = slice(start, start + run)
        terms = left[part] * right[part]
        total.mul_(powers[-1]).add_((terms * powers[: len(terms)]).sum(0))
    return total
