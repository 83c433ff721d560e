"""What 8 bits do to a tensor: the practical price of outliers in weights and activations.

Source: limes, docs/diagnostics.md; formats: arXiv:2209.05433 (fp8), symmetric absolute-maximum scaling.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from limes.core.errors import SpecError

Format = Literal["int8", "fp8_e4m3", "fp8_e5m2"]
Granularity = Literal["tensor", "row"]

LARGEST: Mapping[str, float] = MappingProxyType({"int8": 127.0, "fp8_e4m3": 448.0, "fp8_e5m2": 57344.0})
_DTYPES = {"fp8_e4m3": torch.float8_e4m3fn, "fp8_e5m2": torch.float8_e5m2}


def quantize(tensor: Tensor, format: Format, *, granularity: Granularity = "tensor") -> Tensor:
    """The tensor as 8 bits would hold it, back in its own units.

    Args:
        tensor: Real, any shape.
        format: "int8" (uniform steps, -127 to 127), "fp8_e4m3" (4 exponent bits) or "fp8_e5m2".
        granularity: One scale for the whole tensor, or one per "row" of the last axis: a token of an activation
            (tokens, d), an output unit of a weight (d_out, d_in).

    Returns:
        Same shape, float32 (float64 for float64 tensors). The scale puts the largest absolute value on the largest
        number of the format; rounding is to nearest, ties to even.

    Raises:
        SpecError: Unknown format or granularity, or the tensor is not real.

    Source: limes, docs/diagnostics.md.

    >>> quantize(torch.tensor([127.0, 1.4, 0.2]), "int8").tolist()
    [127.0, 1.0, 0.0]
    """
    if format not in LARGEST or granularity not in ("tensor", "row"):
        raise SpecError(f"format {format!r}, granularity {granularity!r}: expected {', '.join(LARGEST)}; tensor, row")
    if not tensor.is_floating_point():
        raise SpecError(f"a tensor of {tensor.dtype}: expected real numbers")
    x = tensor.detach()
    x = x if x.dtype == torch.float64 else x.float()
    if not x.numel():
        return x
    largest = x.abs().amax(-1, keepdim=True) if granularity == "row" and x.dim() else x.abs().max()
    scale = torch.where(largest > 0, largest / LARGEST[format], torch.ones_like(largest))
    units = (x / scale).clamp(-LARGEST[format], LARGEST[format])
    if format == "int8":
        return units.round() * scale
    return units.float().to(_DTYPES[format]).to(x.dtype) * scale


def quantization_error(tensor: Tensor, format: Format = "int8", *, granularity: Granularity = "tensor") -> Tensor:
    """Relative error |Q(x) - x| / |x| (Frobenius norms) of holding a tensor in 8 bits.

    Args:
        tensor: Weights or activations.
        format: See `quantize`.
        granularity: See `quantize`.

    Returns:
        Scalar; 0 for a zero tensor. A normal tensor (512, 128) has 0.0104 in int8, 0.0265 in fp8_e4m3 and 0.0525 in
        fp8_e5m2; a neuron 50 times the rest multiplies the int8 error of the others by 33 and leaves that of fp8.

    Raises:
        SpecError: As `quantize`.

    Source: limes, docs/diagnostics.md. **Accuracy**: that of float32.

    >>> round(quantization_error(torch.tensor([127.0, 0.5])).item(), 6)
    0.003937
    """
    x = tensor.detach()
    x = x if x.dtype == torch.float64 else x.float()
    size = x.norm()
    return size if size == 0 else (quantize(x, format, granularity=granularity) - x).norm() / size
