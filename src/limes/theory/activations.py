"""The activations that the theories know: value, derivatives, and their dual in closed form where there is one.

Source: the functions themselves. `erf` is erf(x), `erf_sqrt2` is erf(x / sqrt 2), `gelu` the exact x Phi(x).
Letters: x any tensor, Phi the standard normal distribution function.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from limes.core.errors import SpecError
from limes.numerics.gaussian import (
    Dual,
    erf_dual,
    gelu_dual,
    linear_dual,
    polynomial_dual,
    relu_dual,
    series_dual,
    sin_dual,
)

Elementwise = Callable[[Tensor], Tensor]

_DENSITY = 1.0 / math.sqrt(2.0 * math.pi)
_ERF_SLOPE = 2.0 / math.sqrt(math.pi)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Activation:
    """One elementwise nonlinearity.

    Args:
        name: What reports and error messages call it.
        value: phi, applied elementwise; float64 in, float64 out.
        derivative: phi', the torch convention at a kink (0 for relu at 0).
        second_derivative: phi'' without the delta functions of kinks; None where nobody stated it.
        closed_form: The dual in closed form; None takes the Hermite series of `value`, good for smooth functions.
    """

    name: str
    value: Elementwise
    derivative: Elementwise
    second_derivative: Elementwise | None = None
    closed_form: Dual | None = None

    @property
    def dual(self) -> Dual:
        """The map of covariances k(a, b, c) with its slope: in closed form, by series otherwise."""
        return self.closed_form or series_dual(self.value, self.derivative)


def leaky_relu(negative_slope: float) -> Activation:
    """max(x, 0) + negative_slope * min(x, 0).

    >>> leaky_relu(0.1).value(torch.tensor([-1.0, 2.0], dtype=torch.float64)).tolist()
    [-0.1, 2.0]
    """

    def value(x: Tensor) -> Tensor:
        return torch.where(x > 0, x, negative_slope * x)

    def derivative(x: Tensor) -> Tensor:
        return torch.where(x > 0, torch.ones_like(x), torch.full_like(x, negative_slope))

    name = f"leaky_relu({negative_slope:g})"
    return Activation(
        name=name,
        value=value,
        derivative=derivative,
        second_derivative=torch.zeros_like,
        closed_form=relu_dual(negative_slope),
    )


def polynomial(coefficients: tuple[float, ...] | list[float]) -> Activation:
    """sum_n coefficients[n] x^n.

    >>> polynomial([1.0, 0.0, 2.0]).derivative(torch.tensor([3.0], dtype=torch.float64)).item()
    12.0
    """
    powers = [float(c) for c in coefficients]
    if not powers or not all(math.isfinite(c) for c in powers):
        raise SpecError(f"coefficients {coefficients!r}: expected at least one finite number, lowest power first")
    first = _differentiate(powers)
    second = _differentiate(first)
    return Activation(
        name="polynomial(" + ", ".join(f"{c:g}" for c in powers) + ")",
        value=lambda x: _horner(powers, x),
        derivative=lambda x: _horner(first, x),
        second_derivative=lambda x: _horner(second, x),
        closed_form=polynomial_dual(powers),
    )


def _differentiate(powers: list[float]) -> list[float]:
    return [n * c for n, c in enumerate(powers)][1:] or [0.0]


def _horner(powers: list[float], x: Tensor) -> Tensor:
    total = torch.full_like(x, powers[-1])
    for c in reversed(powers[:-1]):
        total = total * x + c
    return total


def _error_function(name: str, scale: float) -> Activation:
    def derivative(x: Tensor) -> Tensor:
        return scale * _ERF_SLOPE * torch.exp(-((scale * x) ** 2))

    return Activation(
        name=name,
        value=lambda x: torch.erf(scale * x),
        derivative=derivative,
        second_derivative=lambda x: -2.0 * scale**2 * x * derivative(x),
        closed_form=erf_dual(scale),
    )


def _normal_density(x: Tensor) -> Tensor:
    return _DENSITY * torch.exp(-0.5 * x * x)


RELU = Activation(
    name="relu",
    value=torch.relu,
    derivative=lambda x: (x > 0).to(x.dtype),
    second_derivative=torch.zeros_like,
    closed_form=relu_dual(),
)
ERF = _error_function("erf", 1.0)
ERF_SQRT2 = _error_function("erf_sqrt2", math.sqrt(0.5))
GELU = Activation(
    name="gelu",
    value=lambda x: x * torch.special.ndtr(x),
    derivative=lambda x: torch.special.ndtr(x) + x * _normal_density(x),
    second_derivative=lambda x: (2.0 - x * x) * _normal_density(x),
    closed_form=gelu_dual(),
)
TANH = Activation(
    name="tanh",
    value=torch.tanh,
    derivative=lambda x: 1.0 - torch.tanh(x) ** 2,
    second_derivative=lambda x: -2.0 * torch.tanh(x) * (1.0 - torch.tanh(x) ** 2),
)
SIN = Activation(
    name="sin",
    value=torch.sin,
    derivative=torch.cos,
    second_derivative=lambda x: -torch.sin(x),
    closed_form=sin_dual(),
)
LINEAR = Activation(
    name="linear",
    value=lambda x: x,
    derivative=torch.ones_like,
    second_derivative=torch.zeros_like,
    closed_form=linear_dual(),
)

ACTIVATIONS: Mapping[str, Activation] = MappingProxyType(
    {
        "relu": RELU,
        "leaky_relu": leaky_relu(0.01),
        "erf": ERF,
        "erf_sqrt2": ERF_SQRT2,
        "gelu": GELU,
        "tanh": TANH,
        "sin": SIN,
        "linear": LINEAR,
    }
)


def get_activation(name_or_object: str | Activation) -> Activation:
    """The activation of that name, or the object itself.

    Args:
        name_or_object: A key of `ACTIVATIONS`, or an `Activation` such as `leaky_relu(0.2)`.

    Raises:
        SpecError: The name is not in the table.

    >>> get_activation("tanh").name
    'tanh'
    """
    if isinstance(name_or_object, Activation):
        return name_or_object
    if name_or_object not in ACTIVATIONS:
        raise SpecError(f"activation {name_or_object!r}: expected one of {', '.join(ACTIVATIONS)}, or an Activation")
    return ACTIVATIONS[name_or_object]
