"""What the theories of initialization check about their inputs: one clear sentence for each mistake."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limes.core.errors import SpecError


def check_count(name: str, value: Any, *, low: int = 1) -> int:
    """A whole number of at least `low`."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise SpecError(f"{name} is {value!r}; expected a whole number of at least {low}") from None
    if not math.isfinite(number) or number != round(number) or number < low:
        raise SpecError(f"{name} is {value!r}; expected a whole number of at least {low}")
    return round(number)


def check_real(name: str, value: Any, *, low: float = -math.inf, open_low: bool = False) -> float:
    """A finite number of at least `low` (above it where `open_low`)."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise SpecError(f"{name} is {value!r}; expected a number") from None
    if not math.isfinite(number) or number < low or (open_low and number == low):
        bound = "" if low == -math.inf else f" {'above' if open_low else 'of at least'} {low:g}"
        raise SpecError(f"{name} is {value!r}; expected a finite number{bound}")
    return number


def check_covariance(name: str, value: Any) -> Tensor:
    """A float64 copy of a symmetric positive semidefinite matrix with a positive diagonal."""
    try:
        matrix = torch.as_tensor(np.array(value, dtype=np.float64) if not isinstance(value, Tensor) else value)
        matrix = matrix.detach().to("cpu", torch.float64).clone()
    except (TypeError, ValueError) as error:
        raise SpecError(f"{name}: expected a square matrix of numbers, got {type(value).__name__} ({error})") from None
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.shape[0] == 0:
        raise SpecError(f"{name} has shape {tuple(matrix.shape)}; expected (num_inputs, num_inputs)")
    if not bool(matrix.isfinite().all()):
        raise SpecError(f"{name} holds {int((~matrix.isfinite()).sum())} entries that are not finite")
    scale = float(matrix.diagonal().abs().max())
    if float((matrix - matrix.T).abs().max()) > 1e-10 * max(scale, 1e-300):
        raise SpecError(f"{name} is not symmetric; symmetrize it, or check the order of its axes")
    if float(matrix.diagonal().min()) <= 0.0:
        raise SpecError(f"{name} has {float(matrix.diagonal().min()):g} on its diagonal; expected positive variances")
    lowest = float(torch.linalg.eigvalsh(matrix)[0])
    if lowest < -1e-10 * float(matrix.trace()):
        raise SpecError(f"{name} has the eigenvalue {lowest:.3g}; expected a covariance, positive semidefinite")
    return 0.5 * (matrix + matrix.T)
