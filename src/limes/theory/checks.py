"""What all theories check about numbers: one clear sentence for each mistake."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limes.core.errors import SpecError


def check_count(name: str, value: Any, *, least: int = 1) -> int:
    """A whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise SpecError(f"{name} is {value!r}; expected a whole number of at least {least}")
    return int(value)


def check_whole(name: str, value: Any, *, least: int = 1) -> int:
    """The same, where sizes often come from arrays: whole floats count too."""
    whole = isinstance(value, float | np.floating) and float(value).is_integer()
    return check_count(name, int(value) if whole else value, least=least)


def check_number(
    name: str,
    value: Any,
    *,
    low: float = -math.inf,
    below: float = math.inf,
    open_low: bool = False,
    allow_inf: bool = False,
) -> float:
    """A number with low <= value < below (low < value where `open_low`); finite unless `allow_inf`."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise SpecError(f"{name} is {value!r}; expected a number") from None
    inside = (number > low if open_low else number >= low) and (number < below or (allow_inf and below == math.inf))
    if not inside or (math.isinf(number) and not allow_inf):
        kind = "number" if allow_inf else "finite number"
        left = "" if low == -math.inf else f" {'above' if open_low else 'at least'} {low:g}"
        right = "" if below == math.inf else f" and below {below:g}"
        raise SpecError(f"{name} is {value!r}; expected a {kind}{left}{right}")
    return number


def check_memory(what: str, *, numbers: float, limit: float = 4.0) -> None:
    """Refuse work whose arrays of `numbers` float64 would take more than `limit` GiB, before the machine does."""
    held = 8.0 * numbers / 2**30
    if held > limit:
        raise SpecError(f"{what} would hold {held:.3g} GiB; expected at most {limit:g}: ask for smaller sizes")


def as_floats(name: str, values: Any) -> np.ndarray:
    """A float64 copy of numbers, tensors included."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise SpecError(f"{name}: expected an array of numbers, got {type(values).__name__} ({error})") from None


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
