"""What the solvable models check about their inputs: one clear sentence for each mistake."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from limes.core.errors import SpecError
from limes.theory.checks import as_floats

Real = NDArray[np.float64]


def check_array(name: str, values: Any, *, shape: tuple[int, ...] | None = None, axes: int = 1) -> Real:
    """A read-only float64 copy, finite, of the given shape (or number of axes)."""
    array = as_floats(name, values)
    if (array.shape != shape) if shape is not None else (array.ndim != axes or array.size == 0):
        expected = f"{shape}" if shape is not None else f"{axes} non-empty {'axis' if axes == 1 else 'axes'}"
        raise SpecError(f"{name} has shape {array.shape}; expected {expected}")
    if not np.isfinite(array).all():
        raise SpecError(f"{name} holds {array[~np.isfinite(array)][0]}; expected finite numbers")
    array.flags.writeable = False
    return array
