"""Pointwise activations by the names that a model spec uses."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor


def _erf(x: Tensor) -> Tensor:
    return torch.erf(x / 2**0.5)


def _identity(x: Tensor) -> Tensor:
    return x


ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {"relu": F.relu, "gelu": F.gelu, "tanh": torch.tanh, "erf": _erf, "linear": _identity}
)
