"""What the theories of scaling check about their inputs: one clear sentence for each mistake."""

from typing import Any

import numpy as np

from limes.core.errors import SpecError
from limes.theory.checks import as_floats


def as_nonnegative(name: str, values: Any, *, size: int | None = None) -> np.ndarray:
    """A read-only float64 copy, one axis, finite, nonnegative."""
    array = as_floats(name, values)
    if array.ndim != 1 or array.size == 0 or (size is not None and len(array) != size):
        expected = "one non-empty axis" if size is None else f"({size},), one entry per eigenvalue"
        raise SpecError(f"{name} has shape {array.shape}; expected {expected}")
    bad = np.flatnonzero(~(np.isfinite(array) & (array >= 0.0)))
    if len(bad):
        raise SpecError(
            f"{name}[{bad[0]}] is {array[bad[0]]:g}; expected finite numbers of at least 0 "
            "(set rounding below zero to 0)"
        )
    array.flags.writeable = False
    return array


def check_size(name: str, value: Any) -> float:
    """A positive number of features, samples or modes; math.inf is allowed."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise SpecError(f"{name} is {value!r}; expected a positive number, or math.inf") from None
    if not number > 0.0:
        raise SpecError(f"{name} is {value!r}; expected a positive number, or math.inf for no limit")
    return number


def check_times(times: Any, *, whole: bool, allow_inf: bool = True) -> np.ndarray:
    """(T,) increasing, nonnegative; whole numbers of steps where `whole`."""
    try:
        array = np.atleast_1d(np.array(times, dtype=np.float64))
    except (TypeError, ValueError):
        raise SpecError(f"times: expected numbers, got {type(times).__name__}") from None
    if array.ndim != 1 or array.size == 0 or np.isnan(array).any() or (array < 0).any():
        raise SpecError(f"times {array.tolist()}: expected one or more numbers of at least 0")
    order = np.flatnonzero(array[1:] <= array[:-1])
    if len(order):
        first = order[0]
        raise SpecError(f"times[{first + 1}] is {array[first + 1]:g} after {array[first]:g}; times must increase")
    finite = array[np.isfinite(array)]
    if not allow_inf and len(finite) < len(array):
        raise SpecError("times holds infinity; expected finite times")
    if whole and not np.array_equal(finite, np.round(finite)):
        raise SpecError(f"times {array.tolist()}: with lr given they are numbers of steps; expected whole numbers")
    return array
