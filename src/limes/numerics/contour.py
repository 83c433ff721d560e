"""Inverse Laplace and z-transforms by quadrature along a contour, and a root followed along it.

A function of time is f(t) = (1 / 2 pi i) int e^(zt) F(z) dz around the singularities of F. The trapezoidal rule on a
smooth contour converges geometrically, so that a few dozen values of F give any t, early or late, without a time grid.
All contours are symmetric about the real axis: only their upper half is returned, nearest to the axis first.

Source: Weideman, SIAM J. Numer. Anal. 44 (2006) 2342 (parameters of the cotangent contour); Trefethen & Weideman,
SIAM Rev. 56 (2014) 385 (why the trapezoidal rule is that good).
Letters: n nodes in all, theta the angle that parametrizes a contour, x the root of g(x) = s.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from limes.core.errors import ConvergenceError

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
# (points, which of the paths they belong to) -> value and derivative
Evaluate = Callable[[Complex, NDArray[np.intp]], tuple[Complex, Complex]]

MAX_NEWTON = 8
MIN_FRACTION = 2.0**-40
TALBOT_RIGHT = -0.6122 + 0.5017 / 0.6407


@lru_cache(maxsize=32)
def talbot_nodes(num_nodes: int) -> tuple[Complex, Complex]:
    """Upper half of a contour around the negative real axis, for time 1.

    For another time t divide nodes and weights by t. With F real on the real axis,
    f(t) = 2 Re sum_j weights_j exp(nodes_j) F(nodes_j / t) / t.

    Args:
        num_nodes: Nodes of the whole contour, even.

    Returns:
        Nodes and weights (dz / 2 pi i), (num_nodes / 2,) each. The contour meets the real axis at
        `num_nodes * TALBOT_RIGHT`.

    **Accuracy**: 4e-7, 2e-9, 6e-12 relative at 12, 16, 20 nodes for F without singularities off the negative real axis;
    rounding is amplified by exp(0.17 num_nodes).

    >>> z, weights = talbot_nodes(24)
    >>> round(float(2 * (weights * np.exp(z) / (z + 1.0)).real.sum()), 10)   # exp(-1)
    0.3678794412
    """
    theta = (2 * np.arange(num_nodes // 2) + 1) * np.pi / num_nodes
    angle = 0.6407 * theta
    nodes = num_nodes * (-0.6122 + 0.5017 * theta / np.tan(angle) + 0.2645j * theta)
    slope = num_nodes * (0.5017 / np.tan(angle) - 0.5017 * angle / np.sin(angle) ** 2 + 0.2645j)
    weights = slope / (1j * num_nodes)
    nodes.flags.writeable = weights.flags.writeable = False
    return nodes, weights


def ellipse_nodes(num_nodes: int, *, left: float, right: float, growth: float) -> tuple[Complex, Complex]:
    """Upper half of an ellipse around the real segment [left, right], where all singularities lie.

    Args:
        num_nodes: Nodes of the whole ellipse, even.
        left, right: Its foci.
        growth: xi > 0: the ellipse is the image of the circle of radius e^xi under Joukowski's map.

    Returns:
        Nodes and weights (dw / 2 pi i), (num_nodes / 2,) each.

    **Accuracy**: relative error exp(-num_nodes * growth) for a function analytic outside the segment.

    >>> w, weights = ellipse_nodes(40, left=-1.0, right=1.0, growth=0.8)
    >>> round(float(2 * (weights * w**4 / (w - 0.5)).real.sum()), 10)    # 0.5^4
    0.0625
    """
    theta = (2 * np.arange(num_nodes // 2) + 1) * np.pi / num_nodes
    middle, half = 0.5 * (left + right), 0.5 * (right - left)
    angle = growth + 1j * theta
    return middle + half * np.cosh(angle), half * np.sinh(angle) / num_nodes


def follow_root(evaluate: Evaluate, start: Complex, path: Complex) -> Complex:
    """The roots x of g(x) = s, continued from known ones along paths of s.

    Newton's method after a predictor step. A step is accepted where Newton converged within 8 iterations, x moved by
    less than its own size, and x lies on the same side of the real axis as s (for the maps of this project that is
    what marks the physical branch); otherwise it is halved. Many paths are followed at once.

    Args:
        evaluate: g and dg/dx at points, given which of the paths each point belongs to.
        start: (B,) roots at path[0].
        path: (J, B).

    Returns:
        (J, B) roots; the first row is `start`.

    Raises:
        ConvergenceError: A step had to be cut below 1e-12 of the distance between two points of the path.

    **Accuracy**: rounding, amplified by s / (x dg/dx).

    >>> square = lambda x, index: (x * x, 2 * x)
    >>> path = np.array([[1.0], [1j], [-4.0 + 0j]])
    >>> np.round(follow_root(square, np.array([1.0 + 0j]), path)[-1], 12).tolist()
    [2j]
    """
    roots = np.empty(path.shape, dtype=complex)
    roots[0] = x = start.astype(complex)
    s = path[0].astype(complex)
    for number in range(1, len(path)):
        x, s = _advance(evaluate, x.copy(), s.copy(), path[number])
        roots[number] = x
    return roots


def _advance(evaluate: Evaluate, x: Complex, s: Complex, target: Complex) -> tuple[Complex, Complex]:
    fraction = np.ones(len(x))
    active = np.flatnonzero(s != target)
    while len(active):
        here, there, part = s[active], target[active], fraction[active]
        goal = np.where(part >= 1.0, there, here + part * (there - here))
        trial, good = _newton(evaluate, x[active], here, goal, active)
        won, lost = active[good], active[~good]
        x[won], s[won] = trial[good], goal[good]
        fraction[won] = np.minimum(1.0, 2.0 * fraction[won])
        fraction[lost] *= 0.5
        if len(lost) and fraction[lost].min() < MIN_FRACTION:
            worst = lost[0]
            raise ConvergenceError(
                f"the root could not be followed beyond s = {s[worst]:.6g} (x = {x[worst]:.6g}): the map may be "
                "singular there; use a contour further from its singularities"
            )
        active = active[s[active] != target[active]]
    return x, s


def _newton(
    evaluate: Evaluate, x: Complex, here: Complex, goal: Complex, index: NDArray[np.intp]
) -> tuple[Complex, NDArray[np.bool_]]:
    """Predictor and Newton steps to `goal`; and which of them ended on the same branch."""
    with np.errstate(all="ignore"):
        trial = x + (goal - here) / evaluate(x, index)[1]
        converged = np.zeros(len(x), bool)
        for _ in range(MAX_NEWTON):
            value, slope = evaluate(trial, index)
            step = (goal - value) / slope
            trial = trial + step
            converged = np.abs(step) <= 1e-10 * np.abs(trial)
            if converged.all():
                break
        value, slope = evaluate(trial, index)
        trial = trial + (goal - value) / slope
        moved = np.abs(trial - x) < 0.5 * (np.abs(trial) + np.abs(x))
        rounding = 1e-9 * np.abs(trial)
        same_side = (trial.imag * np.sign(goal.imag) >= -rounding) | (goal.imag == 0)
        return trial, converged & moved & same_side & np.isfinite(trial)
