"""Contours for each optimizer: where the Laplace variable is taken, and with which weights, for a given time.

Letters: z Laplace variable, s(z) what it is worth to the mean field equations, u = s - ridge,
omega = exp(zt) dz / (2 pi i z), m inertia, beta momentum, eta step size, zeta = 1 + eta z, mu edge of the spectrum.

    gradient flow       s = z + m z^2 + ridge
    discrete steps      s = (zeta - 1)(1 - beta/zeta) / eta + ridge,   exp(zt) becomes zeta^steps

Late times need little of the contour: a cotangent contour. Where modes still oscillate, it must go around all of them:
an ellipse around the spectrum in u, on which the number of nodes grows as sqrt(steps).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from limes.core.errors import ScopeError
from limes.numerics.contour import TALBOT_RIGHT, Complex, ellipse_nodes, talbot_nodes

# Exponential growth allowed on an ellipse; rounding grows by its square.
_GROWTH = 4.0
_NEGLIGIBLE = math.log(1e-15)
# Oscillations fall as exp(-time / 2 inertia); the other contour converges slowly before they are long gone.
_LATE = 150.0
MAX_NODES = 3000


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Nodes:
    """Upper half of a contour.

    Args:
        path: (J + 1,) values of s, after a real positive starting point.
        omega: (J,) weights, exp(zt) dz / (2 pi i z).
        z: (J,) the Laplace variable itself.
    """

    path: Complex
    omega: Complex
    z: Complex


def _nodes(start: float, s: Any, omega: Any, z: Any) -> Nodes:
    return Nodes(path=np.concatenate([[start + 0j], s]), omega=omega, z=z)


@dataclass(frozen=True, kw_only=True, slots=True)
class Clock:
    """How an optimizer moves in time.

    Args:
        ridge: Weight decay.
        lr: Step size; None is gradient flow.
        momentum: Of discrete steps.
        inertia: Of gradient flow.
    """

    ridge: float
    lr: float | None
    momentum: float
    inertia: float

    @property
    def needs_edge(self) -> bool:
        """Whether the contour depends on where the spectrum ends."""
        return self.lr is not None or self.inertia > 0.0

    def largest_stable_edge(self) -> float:
        """Edge of the spectrum at which the slowest step becomes unstable."""
        return math.inf if self.lr is None else 2.0 * (1.0 + self.momentum) / self.lr - self.ridge

    def nodes(self, time: float, edge: float, num_nodes: int, *, share: float = 1.0) -> Nodes:
        """The contour for one time: a share of `num_nodes`, or of as many as an ellipse needs."""
        if self.lr is not None:
            return self._steps(time, edge, num_nodes, share)
        if self.inertia and time < _LATE * self.inertia:
            return self._oscillating_flow(time, edge, num_nodes, share)
        return self._flow(time, _even(share * num_nodes))

    def _flow(self, time: float, num_nodes: int) -> Nodes:
        u, weights = talbot_nodes(num_nodes)
        u, start = u / time, num_nodes * TALBOT_RIGHT / time
        z, slope = u, np.ones(u.shape, dtype=complex)
        if self.inertia:
            root = np.sqrt(1.0 + 4.0 * self.inertia * u)
            z, slope = 2.0 * u / (1.0 + root), 1.0 / root
        omega = np.exp(z * time) * weights / time * slope / z
        return _nodes(start + self.ridge, u + self.ridge, omega, z)

    def _oscillating_flow(self, time: float, edge: float, num_nodes: int, share: float) -> Nodes:
        m = self.inertia
        length = max(edge + self.ridge, 0.25 / m)
        right = _GROWTH / time
        growth = math.acosh(1.0 + 2.0 * (right + m * right**2) / length)
        # The map from u to z has two sheets, so the angle runs over two turns.
        count = _even(share * (2.0 * num_nodes + 64.0 / growth + 3.0 * time * math.sqrt(length / m)))
        theta = (np.arange(count // 2) + 0.5) * (4.0 * np.pi / count)
        angle = growth + 1j * theta
        u, du = 0.5 * length * (np.cosh(angle) - 1.0), 0.5 * length * np.sinh(angle)
        root = np.sqrt(1.0 + 4.0 * m * u) * np.where(theta < np.pi, 1.0, -1.0)
        z = (root - 1.0) / (2.0 * m)
        omega = np.exp(z * time) * du / root / z * (2.0 / count)
        start = 0.5 * length * (math.cosh(growth) - 1.0)
        return _nodes(start + self.ridge, u + self.ridge, omega, z)

    def _steps(self, time: float, edge: float, num_nodes: int, share: float) -> Nodes:
        eta, beta = float(self.lr or 0.0), self.momentum
        slowest = self._rate_at(1.0 + beta - eta * (edge + self.ridge))
        forgotten = slowest == 0.0 or time * math.log(slowest) < _NEGLIGIBLE
        if forgotten and time * (1.0 - beta) > 2.0 * num_nodes:
            return self._late_steps(time, _even(share * num_nodes))
        right = 1.0 + beta
        left = min(right - eta * (edge + self.ridge), -2.0 * math.sqrt(beta))
        half = 0.5 * (right - left)
        # The contour meets the real axis where zeta^time has grown by the allowed factor.
        outermost = 1.0 + _GROWTH / max(time, 1.0)
        growth = min(math.acosh(1.0 + (outermost + beta / outermost - right) / half), 1.5)
        count = _even(share * (num_nodes + 34.0 / growth))
        w, weights = ellipse_nodes(count, left=left, right=right, growth=growth)
        root = np.sqrt(w - 2.0 * math.sqrt(beta)) * np.sqrt(w + 2.0 * math.sqrt(beta))
        zeta = 0.5 * (w + root)
        omega = zeta**time * weights * (zeta / root) / (zeta - 1.0)
        start = 0.5 * (left + right) + half * math.cosh(growth)
        start, u = (start - right) / eta, (w - right) / eta
        return _nodes(start + self.ridge, u + self.ridge, omega, (zeta - 1.0) / eta)

    def _late_steps(self, time: float, num_nodes: int) -> Nodes:
        eta, beta = float(self.lr or 0.0), self.momentum
        tau, weights = talbot_nodes(num_nodes)
        tau, weights, first = tau / time, weights / time, num_nodes * TALBOT_RIGHT / time
        # u runs from 0 to -(1 - beta)/eta as tau goes to -infinity, and zeta stays outside the circle of radius
        # sqrt(beta) on which the modes oscillate.
        rate = (1.0 - beta) / eta
        u, start = rate * np.expm1(tau), rate * math.expm1(first)
        w = 1.0 + beta + eta * u
        root = np.sqrt(w - 2.0 * math.sqrt(beta)) * np.sqrt(w + 2.0 * math.sqrt(beta))
        zeta = 0.5 * (w + root)
        slope = eta * rate * np.exp(tau) * zeta / root
        omega = np.exp(time * np.log(zeta)) * weights * slope / (zeta - 1.0)
        return _nodes(start + self.ridge, u + self.ridge, omega, (zeta - 1.0) / eta)

    def _rate_at(self, w: float) -> float:
        """|zeta| of the mode at w = 1 + beta - eta h, or of the circle of oscillations if that is larger."""
        beta = self.momentum
        circle = math.sqrt(beta)
        if w >= -2.0 * circle:
            return circle
        return 0.5 * (-w + math.sqrt(w * w - 4.0 * beta))


def _even(count: float) -> int:
    number = 2 * math.ceil(count / 2.0)
    if number > MAX_NODES:
        raise ScopeError(
            f"this time needs {number} nodes, at most {MAX_NODES}: modes still oscillate there; use a smaller lr or "
            "less inertia, or a time at which the oscillations have died"
        )
    return number
