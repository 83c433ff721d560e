"""Inputs and targets from NumPy files, never unpickled."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from limes.core.errors import DataError
from limes.data.files import DataFile, open_file
from limes.data.samples import SampleContent, split_samples
from limes.data.tables import as_float32, class_indices
from limes.spec.data import ArraysSpec

_LOAD_ERRORS = (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError)


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
            raise DataError(
                f"data.inputs_key = data.targets_key = {spec.inputs_key!r}; name two different arrays"
            )
        return _member(file, spec.inputs_key, "inputs_key"), _member(file, spec.targets_key, "targets_key")
    if suffix != ".npy":
        raise DataError(f"{file.label}: ends in {suffix!r}, expected .npz or .npy; save it with numpy.savez")
    if spec.targets_path is None:
        raise DataError(
            f"{file.label}: an .npy file holds one array; give data.targets_path, or use an .npz file"
        )
    targets_file = open_file(spec.targets_path, field="data.targets_path", base_dir=base_dir)
    if targets_file.identity == file.identity:
        raise DataError(f"{file.label} and {targets_file.label} are the same file; name two")
    for name in ("inputs_key", "targets_key"):
        if (key := getattr(spec, name)) != ArraysSpec.model_fields[name].default:
            raise DataError(f"data.{name} = {key!r} has no effect on .npy files; remove it")
    return _whole(file), _whole(targets_file)


def _whole(file: DataFile) -> tuple[np.ndarray, str]:
    try:
        array = np.load(file.path, allow_pickle=False)
    except _LOAD_ERRORS as error:
        raise _unreadable(file.label, error) from None
    if not isinstance(array, np.ndarray):
        array.close()
        raise DataError(f"{file.label}: is a zip archive, expected one array; name it .npz")
    return array, file.label


def _member(file: DataFile, key: str, field: str) -> tuple[np.ndarray, str]:
    label = f"{file.label}, data.{field} = {key!r}"
    try:
        with np.load(file.path, allow_pickle=False) as archive:
            keys = sorted(archive.files)
            array = archive[key] if key in keys else None
    except _LOAD_ERRORS as error:
        raise _unreadable(label, error) from None
    except AttributeError:
        raise DataError(f"{file.label}: is a single array, expected an .npz archive; name it .npy") from None
    if array is None:
        raise DataError(f"{label}: no such array; the file has {', '.join(map(repr, keys)) or 'none'}")
    return array, label


def _unreadable(label: str, error: Exception) -> DataError:
    if "allow_pickle" in str(error):
        return DataError(
            f"{label}: holds Python objects (dtype object or a pickle), which are never loaded; "
            "save a numeric array with numpy.save"
        )
    return DataError(
        f"{label}: is not a readable NumPy file ({str(error) or type(error).__name__}); save it again"
    )


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
        if not pixels.std():
            raise DataError(f"{label}: all inputs are {inputs.flat[0]}; there is nothing to learn from")
        values = ((pixels - pixels.mean()) / pixels.std()).astype(np.float32)
    return torch.from_numpy(values[:, None] if values.ndim == 3 else values)


def _regression_targets(targets: np.ndarray, label: str) -> Tensor:
    if targets.ndim not in (1, 2) or 0 in targets.shape:
        raise DataError(
            f"{label}: targets of shape {targets.shape}, expected (N,) or (N, num_outputs); reshape them"
        )
    values = as_float32(targets, label=label, name="targets")
    return torch.from_numpy(values.reshape(len(values), -1))
