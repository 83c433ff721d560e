"""Inputs and targets from NumPy files, never unpickled."""

import contextlib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limes.core.errors import DataError
from limes.data.files import DataFile, open_file
from limes.data.samples import SampleContent, split_samples
from limes.data.tables import as_float32, class_indices
from limes.spec.data import ArraysSpec

# A header may promise any size, and a compressed member may be cut anywhere.
_LOAD_ERRORS = (
    ValueError,
    OSError,
    EOFError,
    KeyError,
    MemoryError,
    # Caught, not raised, and no open work of ours: zipfile's answer to a compression that it does not know.
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)


def load_arrays(spec: ArraysSpec, *, base_dir: Path) -> SampleContent:
    """Integer targets make a classification, floating ones a regression; the split is random and fixed.

    Inputs are (N, num_inputs), (N, height, width) or (N, channels, height, width). uint8 inputs are pixels,
    standardized by one mean and one deviation over all of them; others are taken as they are.

    Raises:
        DataError: A file, key, shape, type or value cannot be used.
    """
    (inputs, inputs_label), (targets, targets_label) = _read(spec, base_dir)
    if inputs.ndim == 0 or targets.ndim == 0 or len(inputs) != len(targets):
        raise DataError(
            f"{inputs_label} has shape {inputs.shape} and {targets_label} shape {targets.shape}; "
            "expected the same number of samples along the first axis"
        )
    if len(inputs) < 2:
        raise DataError(f"{inputs_label}: {len(inputs)} samples, expected at least 2; add data")
    features = _features(inputs, inputs_label)
    if targets.dtype.kind in "iub":
        labels, num_outputs = class_indices(targets, label=targets_label)
        return split_samples(
            features,
            labels,
            task="classification",
            num_outputs=num_outputs,
            validation_fraction=spec.validation_fraction,
            label=inputs_label,
        )
    values = _regression_targets(targets, targets_label)
    return split_samples(
        features,
        values,
        task="regression",
        num_outputs=values.shape[1],
        validation_fraction=spec.validation_fraction,
        label=inputs_label,
    )


def _read(spec: ArraysSpec, base_dir: Path) -> tuple[tuple[np.ndarray, str], tuple[np.ndarray, str]]:
    file = open_file(spec.path, field="data.path", base_dir=base_dir)
    suffix = file.path.suffix
    if suffix == ".npz":
        if spec.targets_path is not None:
            raise DataError(
                f"data.targets_path = {spec.targets_path!r}: {file.label} is an .npz file and "
                "holds both arrays; remove targets_path"
            )
        if spec.inputs_key == spec.targets_key:
            raise DataError(f"data.inputs_key = data.targets_key = {spec.inputs_key!r}; name two different arrays")
        return _member(file, spec.inputs_key, "inputs_key"), _member(file, spec.targets_key, "targets_key")
    if suffix != ".npy":
        raise DataError(f"{file.label}: ends in {suffix!r}, expected .npz or .npy; save it with numpy.savez")
    if spec.targets_path is None:
        raise DataError(f"{file.label}: an .npy file holds one array; give data.targets_path, or use an .npz file")
    targets_file = open_file(spec.targets_path, field="data.targets_path", base_dir=base_dir)
    if targets_file.identity == file.identity:
        raise DataError(f"{file.label} and {targets_file.label} are the same file; name two")
    for name in ("inputs_key", "targets_key"):
        if (key := getattr(spec, name)) != ArraysSpec.model_fields[name].default:
            raise DataError(f"data.{name} = {key!r} has no effect on .npy files; remove it")
    return _whole(file), _whole(targets_file)


def _whole(file: DataFile) -> tuple[np.ndarray, str]:
    with _open(file, file.label) as loaded:
        if not isinstance(loaded, np.ndarray):
            raise DataError(f"{file.label}: is an archive, expected a single array; name it .npz")
        return loaded, file.label


def _member(file: DataFile, key: str, field: str) -> tuple[np.ndarray, str]:
    label = f"{file.label}, data.{field} = {key!r}"
    with _open(file, label) as loaded:
        if isinstance(loaded, np.ndarray):
            raise DataError(f"{file.label}: is a single array, expected an .npz archive; name it .npy")
        if key not in loaded.files:
            present = ", ".join(map(repr, sorted(loaded.files))) or "no array at all"
            raise DataError(f"{label}: no such array; the file has {present}")
        return loaded[key], label


@contextlib.contextmanager
def _open(file: DataFile, label: str) -> Iterator[Any]:
    try:
        # Opened here, because numpy.load leaves the file of a broken archive open.
        with file.path.open("rb") as stream:
            yield np.load(stream, allow_pickle=False)
    except DataError:
        raise
    except _LOAD_ERRORS as error:
        raise _unreadable(label, error) from None


def _unreadable(label: str, error: BaseException) -> DataError:
    if "Object arrays" in str(error):
        return DataError(f"{label}: holds Python objects (dtype object), which are never loaded; save a numeric array")
    # numpy's own sentence about pickles advises to trust the file.
    reason = "a pickle or no NumPy format" if "pickle" in str(error) else str(error) or type(error).__name__
    return DataError(f"{label}: is not a readable NumPy file ({reason}); save it again with numpy.save or savez")


def _features(inputs: np.ndarray, label: str) -> Tensor:
    if inputs.ndim not in (2, 3, 4) or 0 in inputs.shape:
        raise DataError(
            f"{label}: inputs of shape {inputs.shape}, expected (N, num_inputs), (N, height, width) or "
            "(N, channels, height, width), no axis empty; reshape them"
        )
    if inputs.ndim == 4 and inputs.shape[3] in (1, 3, 4) and inputs.shape[1] > 4:
        raise DataError(
            f"{label}: inputs of shape {inputs.shape} have their channels last, expected "
            "(N, channels, height, width); transpose them with numpy.moveaxis(x, 3, 1)"
        )
    values = as_float32(inputs, label=label, name="inputs")
    if inputs.dtype == np.uint8:
        pixels = inputs.astype(np.float64)
        if inputs.min() == inputs.max():
            raise DataError(f"{label}: all inputs are {inputs.flat[0]}; there is nothing to learn from")
        values = ((pixels - pixels.mean()) / pixels.std()).astype(np.float32)
    return torch.from_numpy(values[:, None] if values.ndim == 3 else values)


def _regression_targets(targets: np.ndarray, label: str) -> Tensor:
    if targets.ndim not in (1, 2) or 0 in targets.shape:
        raise DataError(f"{label}: targets of shape {targets.shape}, expected (N,) or (N, num_outputs); reshape them")
    values = as_float32(targets, label=label, name="targets")
    return torch.from_numpy(values.reshape(len(values), -1))
