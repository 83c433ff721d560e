"""Mean field equations of linear learning from random features, in the Laplace domain.

Every linear optimizer enters through one function of the Laplace variable z alone: what remains of the target is
(s/z) (s + A^T A Psi^T Psi / NP)^-1 w*, with s(z) = z for gradient flow, z + m z^2 + ridge with inertia and weight
decay, and so on. The rest is the renormalised value x(s), and for two variables s, s' a pair of linear equations.

Source: Bordelon, Atanasov & Pehlevan, arXiv:2402.01092, sections 3 and 4; docs/theory/random_features.md for this form.
Letters: lam_k eigenvalues, p_k target power, n_k multiplicities, N features, P samples, sigma2 noise variance,
S(x) = sum n lam / (lam + x), r1 = 1 - S/P, r3 = 1 - S/N, s = x r1 r3, G_k = 1 / (lam_k + x);
A = sum n lam G G', B = sum n lam^2 G G', U = sum n p G G', V = sum n lam p G G'.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from limes.numerics.contour import Complex, Real, follow_root

_CHUNK = 4_000_000


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Modes:
    """Eigenvalues (K,), their target power (K,), and how many modes each stands for (K,)."""

    lam: Real
    power: Real
    count: Real

    @property
    def trace(self) -> float:
        """Sum of the eigenvalues."""
        return float(self.count @ self.lam)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sizes:
    """Reciprocal sizes of a batch of problems, (B,) each: zero is an infinite size."""

    features: Real
    samples: Real

    def take(self, index: NDArray[np.intp]) -> "Sizes":
        """Some of them."""
        return Sizes(features=self.features[index], samples=self.samples[index])


def sizes_of(num_features: float | Real, num_samples: float | Real) -> Sizes:
    """Reciprocals, broadcast against each other."""
    features, samples = np.broadcast_arrays(np.atleast_1d(num_features), np.atleast_1d(num_samples))
    return Sizes(features=1.0 / features.astype(float), samples=1.0 / samples.astype(float))


def degrees(modes: Modes, x: Complex | Real) -> tuple[Complex, Complex]:
    """S(x) and -S'(x) for x of any shape: the degrees of freedom, and how they fall."""
    resolvent = 1.0 / (modes.lam + np.asarray(x)[..., None])
    weighted = resolvent * (modes.count * modes.lam)
    return weighted.sum(-1), (weighted * resolvent).sum(-1)


def explicit_map(modes: Modes, sizes: Sizes, x: Complex) -> tuple[Complex, Complex]:
    """s = x r1 r3 and ds/dx for (B,) points."""
    df, fall = degrees(modes, x)
    r1, r3 = 1.0 - df * sizes.samples, 1.0 - df * sizes.features
    return x * r1 * r3, r1 * r3 + x * fall * (sizes.samples * r3 + sizes.features * r1)


def positive_root(modes: Modes, sizes: Sizes, s: Real) -> Real:
    """The x >= s with s = x r1 r3 and S(x) below N and P, for real s >= 0; bisection in log x."""
    largest = np.maximum(sizes.features, sizes.samples)
    # At s = 0 without enough modes to fill the smaller size, everything is learned: x = 0.
    total = modes.count[modes.lam > 0.0].sum()
    trivial = (s <= 0.0) & (largest * total <= 1.0)
    high = np.maximum(s + modes.trace * (sizes.features + sizes.samples), 1e-300)
    low = np.maximum(s, high * 1e-30)
    for _ in range(110):
        middle = np.sqrt(low) * np.sqrt(high)
        df = degrees(modes, middle)[0].real
        r1, r3 = 1.0 - df * sizes.samples, 1.0 - df * sizes.features
        below = (r1 < 0.0) | (r3 < 0.0) | (middle * r1 * r3 < s)
        low, high = np.where(below, middle, low), np.where(below, high, middle)
        if (high <= low * (1.0 + 1e-15)).all():
            break
    return np.where(trivial, 0.0, np.sqrt(low) * np.sqrt(high))


def follow(modes: Modes, sizes: Sizes, path: Complex) -> Complex:
    """x along paths of s, (J, B), that start at real positive s (row 0)."""
    if not sizes.features.any() and not sizes.samples.any():
        return path.astype(complex)
    start = positive_root(modes, sizes, path[0].real).astype(complex)
    return follow_root(lambda x, index: explicit_map(modes, sizes.take(index), x), start, path)


def spectral_edge(modes: Modes, sizes: Sizes) -> Real:
    """(B,) upper end of the spectrum of A^T A Psi^T Psi / NP: what a step size has to be small against.

    On the real axis beyond the largest eigenvalue the explicit map has one minimum, and that is the edge.
    """
    top = modes.lam.max()
    edges = np.full(len(sizes.features), top)
    weights = modes.count * modes.lam

    def outside(log_gap: float, features: float, samples: float) -> float:
        y = top * (1.0 + math.exp(log_gap))
        df = float((weights / (y - modes.lam)).sum())
        return y * (1.0 + samples * df) * (1.0 + features * df)

    for i, (features, samples) in enumerate(zip(sizes.features, sizes.samples, strict=True)):
        if features or samples:
            found = minimize_scalar(outside, bounds=(-20.0, 12.0), args=(features, samples), method="bounded")
            edges[i] = found.fun
    return edges


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PairSums:
    """A, B, U, V for all pairs of two lists of points, (B, J, L) each."""

    a: Complex
    b: Complex
    u: Complex
    v: Complex


def pair_sums(modes: Modes, left: Complex, right: Complex) -> PairSums:
    """Sums over modes for points left (B, J) and right (B, L)."""
    first, second = (1.0 / (modes.lam + points[..., None]) for points in (left, right))
    lam, power, count = modes.lam, modes.power, modes.count
    turned = np.swapaxes(second, -1, -2)
    weights = (count * lam, count * lam * lam, count * power, count * lam * power)
    a, b, u, v = ((first * weight) @ turned for weight in weights)
    return PairSums(a=a, b=b, u=u, v=v)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Losses:
    """Losses of a batch, (B,) each; the last three are correlations of two learners that share less and less.

    Args:
        test: Test loss.
        train: Training loss, noise included.
        independent_features: Two learners with features of their own and the same data.
        independent_data: The same features and data of their own.
        independent_both: Nothing in common: the squared bias.
    """

    test: Real
    train: Real
    independent_features: Real
    independent_data: Real
    independent_both: Real


def _correlations(sums: PairSums, sizes: Sizes, xx: Complex, noise_var: float) -> tuple[Complex, ...]:
    """What the five losses are double integrals of, without the factor x x' r1 of the training loss's r1."""
    n, p = sizes.features[:, None, None], sizes.samples[:, None, None]
    source = sums.u + noise_var / xx
    rows, columns = 1.0 - p * sums.b, 1.0 - n * sums.b
    determinant = rows * columns - n * p * xx * sums.a**2
    c1 = (columns * source + n * sums.a * sums.v) / determinant
    c3 = (rows * sums.v + p * xx * sums.a * source) / determinant
    test = sums.u + n * sums.a * c3 + p * sums.b * c1
    shared_data = sums.u + p * sums.b * source / rows
    shared_features = sums.u + n * sums.a * sums.v / columns
    return test, c1, shared_data, shared_features, sums.u


def integrate(modes: Modes, sizes: Sizes, noise_var: float, x: Complex, omega: Complex, r1: Complex) -> Losses:
    """Losses from values along the upper half of a contour.

    Args:
        modes: The spectrum.
        sizes: Of B problems.
        noise_var: sigma2.
        x: (B, J) renormalised values.
        omega: (B, J) weights exp(zt) dz / (2 pi i z).
        r1: (B, J) 1 - S/P at the nodes.
    """
    totals = np.zeros((5, len(x)))
    chunk = max(1, _CHUNK // (x.shape[1] * len(modes.lam)))
    for start in range(0, len(x), chunk):
        part = np.arange(start, min(start + chunk, len(x)))
        totals[:, part] = _integrate(modes, sizes.take(part), noise_var, x[part], omega[part], r1[part])
    return Losses(
        test=totals[0],
        train=totals[1],
        independent_features=totals[2],
        independent_data=totals[3],
        independent_both=totals[4],
    )


def _integrate(modes: Modes, sizes: Sizes, noise_var: float, x: Complex, omega: Complex, r1: Complex) -> Real:
    totals = np.zeros((5, len(x)))
    # A node meets the upper half and, by conjugation, the lower one.
    for second, other, factor in ((x, omega, r1), (x.conj(), omega.conj(), r1.conj())):
        xx = x[:, :, None] * second[:, None, :]
        weights = omega[:, :, None] * other[:, None, :] * xx
        test, c1, *crossed = _correlations(pair_sums(modes, x, second), sizes, xx, noise_var)
        train = c1 * (r1[:, :, None] * factor[:, None, :])
        for row, values in enumerate((test, train, *crossed)):
            totals[row] += 2.0 * (weights * values).real.sum((1, 2))
    return totals


def sample_factor(modes: Modes, sizes: Sizes, s: Complex, x: Complex) -> Complex:
    """r1 = 1 - S/P at (B, J) points, with all its digits where it is small."""
    df = degrees(modes, x)[0]
    n, p = sizes.features[:, None], sizes.samples[:, None]
    r1, r3 = 1.0 - df * p, 1.0 - df * n
    # The smaller factor is a difference of nearly equal numbers; s = x r1 r3 gives it without.
    return np.where(np.abs(r1) < np.abs(r3), s / (x * r3), r1)
