"""Diagnostics: (model, batch) -> numbers. They work on any `nn.Module` and import no model of ours."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from limes.measure.kernels import (
    centered_alignment,
    empirical_ntk,
    feature_kernels,
    gradient_kernels,
    target_alignment,
)

DIAGNOSTICS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "feature_kernels": feature_kernels,
        "gradient_kernels": gradient_kernels,
        "empirical_ntk": empirical_ntk,
        "centered_alignment": centered_alignment,
        "target_alignment": target_alignment,
    }
)

__all__ = [
    "DIAGNOSTICS",
    "centered_alignment",
    "empirical_ntk",
    "feature_kernels",
    "gradient_kernels",
    "target_alignment",
]
