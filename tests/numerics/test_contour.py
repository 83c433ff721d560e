"""Contours, Volterra equations and relaxations against closed forms."""

import math

import numpy as np
import pytest

from limes.core.errors import ConvergenceError
from limes.numerics.contour import ellipse_nodes, follow_root, talbot_nodes
from limes.numerics.ode import phi_functions, relaxation_weights, step_nodes
from limes.numerics.volterra import solve_continuous, solve_steps
from support.stats import assert_order


@pytest.mark.parametrize("time", [1e-6, 1.0, 1e9])
def test_talbot_inverts_at_any_time(time):
    z, weights = talbot_nodes(28)
    z, weights = z / time, weights / time
    value = 2.0 * (weights * np.exp(z * time) / np.sqrt(z)).real.sum()
    assert value == pytest.approx(1.0 / math.sqrt(math.pi * time), rel=1e-11)


def test_ellipse_sums_a_cut():
    """The generating function of the Catalan moments, with a cut on [-2, 2]."""
    w, weights = ellipse_nodes(80, left=-2.0, right=2.0, growth=0.5)
    transform = 0.5 * (w - np.sqrt(w - 2.0) * np.sqrt(w + 2.0))
    moments = [2.0 * (weights * w**n * transform).real.sum() for n in range(9)]
    np.testing.assert_allclose(moments, [1, 0, 1, 0, 2, 0, 5, 0, 14], atol=1e-12)


def test_roots_are_followed_around_a_branch_point():
    """Twice around the origin, x^2 = s changes sign after each turn; the sign rule keeps it in the upper half."""
    turn = np.exp(1j * np.linspace(0.0, np.pi * 0.999, 5))[:, None]
    roots = follow_root(lambda x, _: (x**3, 3 * x**2), np.array([1.0 + 0j]), turn)
    np.testing.assert_allclose(roots[:, 0] ** 3, turn[:, 0], rtol=1e-13)
    np.testing.assert_allclose(np.angle(roots[:, 0]), np.angle(turn[:, 0]) / 3.0, atol=1e-12)
    with pytest.raises(ConvergenceError, match="could not be followed"):
        follow_root(
            lambda x, _: (np.abs(x) + 0j, np.ones_like(x)), np.array([1.0 + 0j]), np.array([[1.0], [-1.0 + 0j]])
        )


@pytest.mark.parametrize("size", [3, 512, 700, 5000])
def test_steps_with_a_geometric_kernel(size):
    """k_j = c r^j: the solution obeys a first-order recursion."""
    c, r = 0.3, 0.6
    source = np.cos(0.1 * np.arange(size)) + 2.0
    expected, carried = np.empty(size), 0.0
    for n in range(size):
        expected[n] = source[n] + carried
        carried = r * carried + c * expected[n]
    found = solve_steps(source, c * r ** np.arange(size))
    np.testing.assert_allclose(found, expected, rtol=1e-11)


def test_continuous_with_an_exponential_kernel():
    """y = 1 + int 0.5 e^-(t-s) y: y = 2 - e^(-t/2), over five decades."""
    errors, counts = [], (12, 18, 24, 30)
    times = np.geomspace(1e-2, 1e3, 11)
    for count in counts:
        y = solve_continuous(np.ones_like, lambda t: 0.5 * np.exp(-t), 1e3, scale=0.1, num_nodes=count)
        errors.append(np.abs(y(times) - 2.0 + np.exp(-0.5 * times)).max())
    # Geometric convergence is faster than any power; order 6 in the number of nodes is far less.
    assert_order([1.0 / n for n in counts], errors, 6.0)


def test_relaxation_weights_are_exact_for_polynomials():
    nodes, integrate = step_nodes(5)
    z = np.array([0.0, 1e-8, 0.3, 1.0, 7.0, 400.0, 1e9])
    weights = relaxation_weights(z, nodes)
    with np.errstate(under="ignore"):
        constant = z * weights.sum(1)
        np.testing.assert_allclose(constant, -np.expm1(-nodes[:, None] * z), rtol=1e-10, atol=1e-13)
        # int_0^c z e^(-z (c-s)) s ds = c - (1 - e^(-zc)) / z
        linear = (z * np.einsum("ijk,j->ik", weights, nodes)[-1])[2:]
        np.testing.assert_allclose(linear, 1.0 + np.expm1(-z[2:]) / z[2:], rtol=1e-10)
    np.testing.assert_allclose(integrate @ nodes**3, nodes**4 / 4.0, atol=1e-14)
    one, two, three = phi_functions(np.array([-2.0]), 3)
    assert one[0] == pytest.approx((1 - math.exp(-2)) / 2, rel=1e-14)
    assert two[0] == pytest.approx((one[0] - 1.0) / -2.0, rel=1e-14)
    assert three[0] == pytest.approx((two[0] - 0.5) / -2.0, rel=1e-14)
