"""Diagnostics: (model, batch) -> numbers. They work on any `nn.Module` and import no model of ours."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from limes.measure.activations import Recording, main_tensor, record_forward_pass
from limes.measure.kernels import (
    centered_alignment,
    empirical_ntk,
    feature_kernels,
    gradient_kernels,
    target_alignment,
)
from limes.measure.shrinkage import effective_shrinkage
from limes.measure.updates import TensorUpdate, second_order_ratio, split_updates

DIAGNOSTICS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "feature_kernels": feature_kernels,
        "gradient_kernels": gradient_kernels,
        "empirical_ntk": empirical_ntk,
        "centered_alignment": centered_alignment,
        "target_alignment": target_alignment,
        "record_forward_pass": record_forward_pass,
        "split_updates": split_updates,
        "second_order_ratio": second_order_ratio,
        "effective_shrinkage": effective_shrinkage,
    }
)

__all__ = [
    "DIAGNOSTICS",
    "Recording",
    "TensorUpdate",
    "centered_alignment",
    "effective_shrinkage",
    "empirical_ntk",
    "feature_kernels",
    "gradient_kernels",
    "main_tensor",
    "record_forward_pass",
    "second_order_ratio",
    "split_updates",
    "target_alignment",
]
