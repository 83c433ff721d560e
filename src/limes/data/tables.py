"""Checks on numbers that came from a file: finite, numeric, and labels without a gap."""

import numpy as np
import torch
from torch import Tensor

from limes.core.errors import DataError

_MAX_CLASSES = 65_536


def as_float32(values: np.ndarray, *, label: str, name: str) -> np.ndarray:
    """A float32 copy.

    Raises:
        DataError: The type is not real numbers, or an entry is NaN, infinite, or too large for float32.
    """
    if values.dtype.kind not in "fiub":
        raise DataError(f"{label}: dtype {values.dtype} is not real numbers; convert to float32")
    with np.errstate(over="ignore"):
        converted = np.array(values, dtype=np.float32, order="C")
    finite = np.isfinite(converted)
    if not finite.all():
        index = np.unravel_index(int(np.argmin(finite)), finite.shape)
        value, where = values[index], ", ".join(str(int(i)) for i in index)
        what = "does not fit float32; rescale" if np.isfinite(value) else "is not finite; remove or replace it"
        raise DataError(f"{label}: {name}[{where}] = {value} {what}")
    return converted


def class_indices(labels: np.ndarray, *, label: str) -> tuple[Tensor, int]:
    """Labels (N,) as int64, and the number of classes.

    Raises:
        DataError: They are not one per sample, or do not number the classes 0, 1, ... without a gap.
    """
    if labels.ndim != 1:
        raise DataError(
            f"{label}: integer targets of shape {labels.shape} are class labels and must be (N,); "
            "convert to float32 for a regression"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0:
        index = int(labels.argmin())
        raise DataError(f"{label}: targets[{index}] = {low} is negative, expected classes 0, 1, ...; renumber them")
    if high == 0:
        raise DataError(f"{label}: all targets are 0; a classification needs at least two classes")
    if high >= _MAX_CLASSES:
        index = int(labels.argmax())
        raise DataError(
            f"{label}: targets[{index}] = {high} would make {high + 1} classes, more than {_MAX_CLASSES}; "
            "renumber them, or convert to float32 for a regression"
        )
    indices = labels.astype(np.int64)
    counts = np.bincount(indices)
    if not counts.all():
        raise DataError(
            f"{label}: no sample of class {int(counts.argmin())}, but the largest is {high}; "
            "renumber the classes without a gap"
        )
    return torch.from_numpy(indices), high + 1
