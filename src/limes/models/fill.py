"""Drawing weights: every number comes from the given generator, in a fixed order, and never from the global
one.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from limes.core.errors import SpecError


class Drawn(nn.Module, ABC):
    """A module that can draw its own weights."""

    @abstractmethod
    def draw_(self, generator: torch.Generator) -> None:
        """Fill the weights in the order of the forward pass."""


Model = TypeVar("Model", bound=nn.Module)


def fill_normal_(weight: Tensor, std: float, *, generator: torch.Generator, transpose: bool = False) -> None:
    """Overwrite `weight` by normal entries of the given standard deviation; on the meta device nothing is
    drawn.

    Args:
        weight: Any shape.
        std: Standard deviation of an entry.
        generator: CPU generator.
        transpose: Draw in the order (fan-in, fan-out) although the weight is stored (fan-out, fan-in): a
            matrix applied as x @ W then has the same numbers as one stored by a linear layer.
    """
    if weight.is_meta:
        return
    shape = weight.shape[::-1] if transpose else weight.shape
    draw = torch.randn(shape, generator=generator, dtype=torch.float32) * std
    with torch.no_grad():
        weight.copy_(draw.T if transpose else draw)


def fill_linear_(layer: nn.Linear, *, generator: torch.Generator) -> None:
    """Normal weights of variance 1/fan-in, zero bias."""
    fill_normal_(layer.weight, layer.in_features**-0.5, generator=generator, transpose=True)
    if layer.bias is not None and not layer.bias.is_meta:
        nn.init.zeros_(layer.bias)


def allocate(make: Callable[[], Model]) -> Model:
    """Build a module on the default device without running the layers' own (global) random initialization."""
    device = torch.get_default_device()
    with torch.device("meta"):
        module = make()
    return module if device.type == "meta" else module.to_empty(device=device)


def required(value: int | tuple[int, ...] | None, *, field: str, family: str) -> int:
    """`value`, or a SpecError that says which data-dependent size is missing."""
    if value is None or not isinstance(value, int):
        raise SpecError(
            f"model.{field} is {value} for family {family!r}; it comes from the data and must be filled in "
            "before the model is built"
        )
    return value


def required_shape(value: tuple[int, int, int] | None, *, family: str) -> tuple[int, int, int]:
    """`value`, or a SpecError that says that the image shape is missing."""
    if value is None:
        raise SpecError(
            f"model.input_shape is None for family {family!r}; give (channels, height, width) of the data's images"
        )
    return value
