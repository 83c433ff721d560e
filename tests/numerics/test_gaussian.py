"""Gaussian integrals of pairs: every closed form and the series against two-dimensional quadrature and each other."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from limes.core.errors import ConvergenceError
from limes.numerics.gaussian import series_dual
from limes.numerics.quadrature import hermite_series, normal_expectation, normal_nodes
from limes.theory.activations import ACTIVATIONS, get_activation, leaky_relu, polynomial

KINKED = {"relu", "leaky_relu"}
SMOOTH = sorted(set(ACTIVATIONS) - KINKED)
CASES = [(1.0, 1.0, 0.5), (0.7, 1.9, -0.6), (3.0, 0.2, 0.7), (1.0, 1.0, -0.95), (2.0, 2.0, 0.0)]


def pair(activation, a, b, c):
    dual = get_activation(activation).dual
    left = dual.features(torch.tensor([a], dtype=torch.float64))
    right = dual.features(torch.tensor([b], dtype=torch.float64))
    value, slope = dual.pair(left, right, torch.tensor([c], dtype=torch.float64), True)
    return value.item(), slope.item()


def brute(function, a, b, c):
    """E f(u) f(v) on a grid, with u, v built by a Cholesky factor: shares nothing with the closed forms."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(160)
    weights = weights / weights.sum()
    z, w = (torch.tensor(t, dtype=torch.float64) for t in (nodes, weights))
    u = math.sqrt(a) * z[:, None]
    v = c / math.sqrt(a) * z[:, None] + math.sqrt(b - c * c / a) * z[None, :]
    return (w @ (function(u) * function(v)) @ w).item()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_duals_equal_two_dimensional_quadrature(name, case):
    activation = ACTIVATIONS[name]
    value, slope = pair(name, *case)
    # 160 Gauss-Hermite nodes resolve a pole at distance pi / (2 sqrt q) to about 1e-10 at q = 3.
    assert value == pytest.approx(brute(activation.value, *case), abs=1e-9)
    assert slope == pytest.approx(brute(activation.derivative, *case), abs=1e-7)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("slope", [0.0, 0.01, 0.3, -1.0])
def test_kinked_duals_equal_an_angular_integral(slope, case):
    """u and v are homogeneous: in polar coordinates the radius integrates out and the angle is smooth between kinks."""
    a, b, c = case
    lower = np.array([[math.sqrt(a), 0], [c / math.sqrt(a), math.sqrt(b - c * c / a)]])
    kinks = sorted(
        {0.0, 2 * math.pi}
        | {math.atan2(-row[0], row[1]) % (2 * math.pi) for row in lower}
        | {(math.atan2(-row[0], row[1]) + math.pi) % (2 * math.pi) for row in lower}
    )
    nodes, weights = np.polynomial.legendre.leggauss(40)
    k = kdot = 0.0
    for start, stop in itertools.pairwise(kinks):
        angle = (stop - start) / 2 * nodes + (stop + start) / 2
        u, v = lower @ np.stack([np.cos(angle), np.sin(angle)])
        phi = [np.where(t > 0, t, slope * t) for t in (u, v)]
        dphi = [np.where(t > 0, 1.0, slope) for t in (u, v)]
        measure = weights * (stop - start) / 2 / (2 * math.pi)
        k += 2.0 * (measure @ (phi[0] * phi[1]))  # E r^2 = 2
        kdot += measure @ (dphi[0] * dphi[1])
    assert pair(leaky_relu(slope), a, b, c) == pytest.approx((k, kdot), abs=1e-12)


@pytest.mark.parametrize("name", [*sorted(ACTIVATIONS), "polynomial"])
def test_slope_is_the_derivative_and_diagonal_is_the_limit(name):
    activation = polynomial([0.3, -1.0, 0.5, 0.2]) if name == "polynomial" else ACTIVATIONS[name]
    a, b, c, step = 1.3, 0.8, 0.4, 1e-5
    numeric = (pair(activation, a, b, c + step)[0] - pair(activation, a, b, c - step)[0]) / (2 * step)
    assert pair(activation, a, b, c)[1] == pytest.approx(numeric, abs=1e-9)
    diagonal = [t.item() for t in activation.dual.diagonal(torch.tensor([a], dtype=torch.float64))]
    # arccos near 1 keeps half the digits: the pair formula at c = a is worth 1e-7, the diagonal one all.
    assert pair(activation, a, a, a) == pytest.approx(diagonal, abs=1e-7)


@pytest.mark.parametrize("name", ["erf", "gelu", "sin", "erf_sqrt2"])
@given(variance=st.tuples(st.floats(0.05, 3.0), st.floats(0.05, 3.0)), rho=st.floats(-0.999, 0.999))
def test_series_equals_closed_form(name, variance, rho):
    activation = ACTIVATIONS[name]
    a, b = variance
    c = rho * math.sqrt(a * b)
    dual = series_dual(activation.value, activation.derivative)
    one = torch.tensor([a, b], dtype=torch.float64)
    features = dual.features(one)
    value, slope = dual.pair(features[:, :1], features[:, 1:], torch.tensor([c], dtype=torch.float64), True)
    # Stated accuracy: tolerance 1e-13 of sqrt(E f^2 E f^2) <= 3, plus rounding of the sum.
    assert (value.item(), slope.item()) == pytest.approx(pair(name, a, b, c), abs=2e-12)


def test_polynomial_is_exact():
    a, b, c = 0.7, 1.9, -0.6
    # E u^3 v^3 = 9 a b c + 6 c^3 and E 3u^2 3v^2 = 9 (ab + 2 c^2), by Wick's theorem
    expected = (9 * a * b * c + 6 * c**3, 9 * (a * b + 2 * c * c))
    assert pair(polynomial([0, 0, 0, 1]), a, b, c) == pytest.approx(expected, abs=1e-13)


def test_quadrature_converges_exponentially_and_a_kink_is_refused():
    z, weights = normal_nodes(256)
    moments = [(weights @ z**n).item() for n in (2, 4, 6, 8)]
    assert moments == pytest.approx([1, 3, 15, 105], rel=1e-13)
    half = torch.tensor([0.5, 2.0], dtype=torch.float64)
    assert normal_expectation(torch.cos, half).tolist() == pytest.approx(torch.exp(-half / 2).tolist(), abs=1e-15)
    with pytest.raises(ConvergenceError, match="kink"):
        hermite_series(torch.abs, half)


def test_zero_variance_is_finite():
    for name in sorted(ACTIVATIONS):
        value, slope = pair(name, 0.0, 1.0, 0.0)
        assert math.isfinite(value) and math.isfinite(slope)
