"""Volterra equations of the second kind with a convolution kernel, in steps and in continuous time.

    steps:       y_n = f_n + sum_{m < n} k_{n-1-m} y_m
    continuous:  y(t) = f(t) + int_0^t k(t - s) y(s) ds

Source: textbook (power series inversion by Newton's method; collocation).
Letters: y unknown, f source, k kernel, u = ln(1 + t / scale) the variable in which y is smooth over many decades.
"""

from collections.abc import Callable

import numpy as np
from scipy.signal import fftconvolve

from limes.numerics.contour import Real

Function = Callable[[Real], Real]
_GAUSS = 8
_PANEL = 0.35


def solve_steps(source: Real, kernel: Real) -> Real:
    """All y_n of the equation in steps.

    Args:
        source: (T,).
        kernel: (T,) or longer; the last entry is not used.

    Returns:
        (T,).

    **Accuracy**: rounding relative to the largest term. Cost T log T beyond 512 steps.

    >>> solve_steps(np.array([1.0, 1.0, 1.0]), np.array([0.5, 0.0, 0.0])).tolist()
    [1.0, 1.5, 1.75]
    """
    size = len(source)
    if size <= 512:
        y = np.empty(size)
        for n in range(size):
            y[n] = source[n] + kernel[:n][::-1] @ y[:n]
        return y
    # y = f / (1 - q k(q)) as power series in q; the reciprocal by doubling its length.
    series = np.concatenate([[1.0], -kernel[: size - 1]])
    inverse, length = np.array([1.0]), 1
    while length < size:
        length = min(2 * length, size)
        product = fftconvolve(series[:length], inverse)[:length]
        product = -product
        product[0] += 2.0
        inverse = fftconvolve(inverse, product)[:length]
    return fftconvolve(inverse, source)[:size]


def solve_continuous(source: Function, kernel: Function, horizon: float, *, scale: float, num_nodes: int) -> Function:
    """y on [0, horizon] by Chebyshev collocation in ln(1 + t / scale).

    Args:
        source: f, at many times at once.
        kernel: k, likewise.
        horizon: Last time.
        scale: Time below which everything is linear in t.
        num_nodes: Of the collocation.

    Returns:
        y as a function of times in [0, horizon].

    **Accuracy**: geometric in num_nodes for y, f and k smooth in the logarithm; compare two numbers of nodes.

    >>> y = solve_continuous(np.ones_like, lambda t: 0.5 * np.ones_like(t), 2.0, scale=0.1, num_nodes=24)
    >>> round(float(y(np.array([2.0]))[0]), 9)            # exp(1)
    2.718281828
    """
    top = np.log1p(horizon / scale)
    u = 0.5 * top * (1.0 - np.cos(np.pi * np.arange(num_nodes) / (num_nodes - 1)))
    times = scale * np.expm1(u)
    matrix = np.eye(num_nodes)
    points, weights = np.polynomial.legendre.leggauss(_GAUSS)
    for i in range(1, num_nodes):
        s, ds = _half_panels(0.5 * times[i], scale, points, weights)
        # The same panels serve the old half, and mirrored the recent one, where the kernel is what varies fast.
        for old, lag in ((s, times[i] - s), (times[i] - s, s)):
            matrix[i] -= (kernel(lag) * ds) @ _cardinal(np.log1p(old / scale), u)
    values = np.linalg.solve(matrix, source(times))
    return lambda t: _cardinal(np.log1p(np.asarray(t, dtype=float) / scale), u) @ values


def _half_panels(end: float, scale: float, points: Real, weights: Real) -> tuple[Real, Real]:
    """Gauss points and weights for int_0^end ds, in panels of equal width in ln(1 + s / scale)."""
    top = np.log1p(end / scale)
    edges = np.linspace(0.0, top, max(2, int(np.ceil(top / _PANEL)) + 1))
    half = 0.5 * (edges[1] - edges[0])
    u = (0.5 * (edges[1:] + edges[:-1])[:, None] + half * points).ravel()
    return scale * np.expm1(u), scale * np.exp(u) * np.tile(half * weights, len(edges) - 1)


def _cardinal(u: Real, nodes: Real) -> Real:
    """(len(u), n) Lagrange polynomials of Chebyshev points of the second kind, barycentric."""
    weights = np.where(np.arange(len(nodes)) % 2 == 0, 1.0, -1.0)
    weights[0] *= 0.5
    weights[-1] *= 0.5
    gap = u[:, None] - nodes
    exact = gap == 0.0
    terms = weights / np.where(exact, 1.0, gap)
    table = terms / terms.sum(1, keepdims=True)
    hit = exact.any(1)
    table[hit] = exact[hit]
    return table
