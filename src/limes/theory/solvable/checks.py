"""What the solvable models check about their inputs: one clear sentence for each mistake."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limes.core.errors import SpecError

Real = NDArray[np.float64]


def check_number(name: str, value: Any, *, low: float = 0.0, open_low: bool = False, allow_inf: bool = False) -> float:
    """A number of at least `low` (above it where `open_low`); finite unless `allow_inf`."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise SpecError(f"{name} is {value!r}; expected a number") from None
    inside = number > low if open_low else number >= low
    if not inside or (math.isinf(number) and not allow_inf):
        kind = "number" if allow_inf else "finite number"
        raise SpecError(f"{name} is {value!r}; expected a {kind} {'above' if open_low else 'of at least'} {low:g}")
    return number


def check_count(name: str, value: Any, *, low: int = 1) -> int:
    """A whole number of at least `low`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < low:
        raise SpecError(f"{name} is {value!r}; expected a whole number of at least {low}")
    return int(value)


def check_array(name: str, values: Any, *, shape: tuple[int, ...] | None = None, axes: int = 1) -> Real:
    """A read-only float64 copy, finite, of the given shape (or number of axes)."""
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise SpecError(f"{name}: expected an array of numbers, got {type(values).__name__}") from None
    if (array.shape != shape) if shape is not None else (array.ndim != axes or array.size == 0):
        expected = f"{shape}" if shape is not None else f"{axes} non-empty {'axis' if axes == 1 else 'axes'}"
        raise SpecError(f"{name} has shape {array.shape}; expected {expected}")
    if not np.isfinite(array).all():
        raise SpecError(f"{name} holds {array[~np.isfinite(array)][0]}; expected finite numbers")
    array.flags.writeable = False
    return array
