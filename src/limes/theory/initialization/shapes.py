"""Activations shaped so that depth and width may go to infinity together: nearly linear, by 1 / sqrt(width).

Source: Li, Nica & Roy, arXiv:2206.02768, definitions 3.1 and 3.8; Martens et al., arXiv:2110.01765 (shaping by hand).
Letters: phi_s the shaped activation, c its normalizer 1 / E phi_s(g)^2, s_pm = 1 + c_pm / sqrt(n) the slopes of a
shaped relu, a the scale of a smooth one, nu the drift of a correlation rho.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from limes.core.errors import SpecError
from limes.numerics.quadrature import normal_expectation
from limes.theory.activations import Activation, get_activation
from limes.theory.checks import check_number


@dataclass(frozen=True, slots=True, eq=False)
class ShapedReLU:
    """max(x, 0) (1 + positive / sqrt(n)) + min(x, 0) (1 + negative / sqrt(n)).

    Args:
        positive, negative: c_+ and c_-; only their difference matters in the limit.

    **Source**: arXiv:2206.02768, definition 3.1.

    >>> ShapedReLU(0.0, -1.0).value(torch.tensor([-2.0, 2.0], dtype=torch.float64), 4).tolist()
    [-1.0, 2.0]
    """

    positive: float = 0.0
    negative: float = -1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "positive", check_number("positive", self.positive))
        object.__setattr__(self, "negative", check_number("negative", self.negative))

    @property
    def growth(self) -> float:
        """k of dV = k V (V - 1) dt + noise on the diagonal: none, the variance is a geometric Brownian motion."""
        return 0.0

    def value(self, x: Tensor, width: int) -> Tensor:
        """phi_s at this width."""
        up, down = 1.0 + self.positive / math.sqrt(width), 1.0 + self.negative / math.sqrt(width)
        return up * x.clamp_min(0.0) + down * x.clamp_max(0.0)

    def normalizer(self, width: int) -> float:
        """c = 1 / E phi_s(g)^2."""
        up, down = 1.0 + self.positive / math.sqrt(width), 1.0 + self.negative / math.sqrt(width)
        return 2.0 / (up**2 + down**2)

    def correlation_drift(self, rho: Tensor) -> Tensor:
        """nu(rho), zero at 1."""
        rho = rho.clamp(-1.0, 1.0)
        strength = (self.positive - self.negative) ** 2 / (2.0 * math.pi)
        return strength * ((1.0 - rho * rho).clamp_min(0.0).sqrt() - rho * torch.arccos(rho))

    def drift(self, covariance: Tensor) -> Tensor:
        """b(V), (..., m, m): the diagonal does not drift."""
        std = covariance.diagonal(dim1=-2, dim2=-1).clamp_min(1e-300).sqrt()
        scale = std[..., :, None] * std[..., None, :]
        drift = self.correlation_drift(covariance / scale) * scale
        return drift - torch.diag_embed(drift.diagonal(dim1=-2, dim2=-1))


@dataclass(frozen=True, slots=True, eq=False)
class ShapedSmooth:
    """s phi(x / s) with s = scale sqrt(n), for phi(0) = 0 and phi'(0) = 1.

    Args:
        activation: Name or object, smooth at zero.
        scale: a; large is nearly linear.

    Raises:
        SpecError: phi(0) or phi'(0) is another, or the scale is not positive.

    **Source**: arXiv:2206.02768, definition 3.8.

    >>> ShapedSmooth("tanh", 1.0).growth
    -2.0
    """

    activation: str | Activation = "tanh"
    scale: float = 1.0
    second: float = field(init=False)
    third: float = field(init=False)

    def __post_init__(self) -> None:
        settle = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731
        settle("activation", get_activation(self.activation))
        settle("scale", check_number("scale", self.scale, low=0.0, open_low=True))
        value, slope, second, third = _taylor(self.phi)
        if abs(value) > 1e-12 or abs(slope - 1.0) > 1e-12:
            raise SpecError(
                f"activation {self.phi.name!r} has phi(0) = {value:g} and phi'(0) = {slope:g}; expected 0 and 1: "
                "subtract the value and divide by the slope"
            )
        settle("second", second)
        settle("third", third)

    @property
    def phi(self) -> Activation:
        """The activation itself."""
        return get_activation(self.activation)

    @property
    def growth(self) -> float:
        """k of dV = k V (V - 1) dt + sqrt(2) V dB on the diagonal; positive means explosion in finite time."""
        return (0.75 * self.second**2 + self.third) / self.scale**2

    def value(self, x: Tensor, width: int) -> Tensor:
        """phi_s at this width."""
        s = self.scale * math.sqrt(width)
        return s * self.phi.value(x / s)

    def normalizer(self, width: int) -> float:
        """c = 1 / E phi_s(g)^2."""
        one = torch.ones((), dtype=torch.float64)
        return 1.0 / float(normal_expectation(lambda x: self.value(x, width) ** 2, one))

    def drift(self, covariance: Tensor) -> Tensor:
        """b(V), (..., m, m)."""
        d = covariance.diagonal(dim1=-2, dim2=-1)
        left, right = d[..., :, None], d[..., None, :]
        even = self.second**2 / (4.0 * self.scale**2)
        odd = self.third / (2.0 * self.scale**2)
        v = covariance
        return even * (left * right + v * (2.0 * v - 3.0)) + odd * v * (left + right - 2.0)


Shape = ShapedReLU | ShapedSmooth


def _taylor(phi: Activation) -> tuple[float, float, float, float]:
    """phi and its first three derivatives at zero."""
    x = torch.zeros((), dtype=torch.float64, requires_grad=True)
    values = [phi.value(x)]
    for _ in range(3):
        if not values[-1].requires_grad:
            values.append(torch.zeros_like(x))
            continue
        (slope,) = torch.autograd.grad(values[-1], x, create_graph=True, allow_unused=True)
        values.append(torch.zeros_like(x) if slope is None else slope)
    first, second, third, fourth = (value.item() for value in values)
    return first, second, third, fourth
