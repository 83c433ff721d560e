"""The 1797 handwritten digits of 8x8 pixels that scikit-learn ships."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from limes.core.errors import DataError
from limes.data.samples import SampleContent, split_indices
from limes.spec.data import DigitsSpec

_NUM_CLASSES = 10


def load_digits(spec: DigitsSpec, *, base_dir: Path) -> SampleContent:
    """Pixels standardized by one mean and one deviation over all pixels of the training side of the split.

    One pair for the whole image: pixels at the border are almost constant, and their own deviation would blow
    up single strokes. `regression` targets are one-hot vectors minus 1/10, `parity` targets one number, +1 for
    even digits and -1 for odd ones. `num_samples` keeps the first so many training samples; validation and
    standardization do not depend on it.

    Raises:
        DataError: scikit-learn is missing, or `num_samples` is more than there are.
    """
    label = 'data.source = "digits"'
    pixels, classes = _bundled()
    train, held_out = split_indices(len(pixels), validation_fraction=spec.validation_fraction, label=label)
    num_samples = spec.num_samples or len(train)
    if num_samples > len(train):
        raise DataError(
            f"data.num_samples = {num_samples}: digits has {len(train)} training samples at "
            f"data.validation_fraction = {spec.validation_fraction}; lower one of them"
        )
    mean, deviation = pixels[train].mean(), pixels[train].std(correction=0)
    inputs = ((pixels - mean) / deviation).float()
    if spec.layout == "image":
        inputs = inputs.reshape(-1, 1, 8, 8)
    targets = _TARGETS[spec.task](classes)
    train = train[:num_samples]
    return SampleContent(
        task="classification" if spec.task == "classification" else "regression",
        inputs=inputs[train],
        targets=targets[train],
        validation_inputs=inputs[held_out],
        validation_targets=targets[held_out],
        num_outputs=1 if spec.task == "parity" else _NUM_CLASSES,
        label=label,
    )


def _centered_one_hot(classes: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(classes, _NUM_CLASSES).float() - 1 / _NUM_CLASSES


def _parity(classes: Tensor) -> Tensor:
    return (1.0 - 2.0 * (classes % 2))[:, None]


_TARGETS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "classification": lambda classes: classes,
    "regression": _centered_one_hot,
    "parity": _parity,
}


@functools.lru_cache(maxsize=1)
def _bundled() -> tuple[Tensor, Tensor]:
    try:
        from sklearn.datasets import load_digits as load
    except ImportError:
        raise DataError('data.source = "digits" needs scikit-learn; run: pip install "limes[data]"') from None
    bunch = load()
    pixels = torch.from_numpy(np.ascontiguousarray(bunch.data, dtype=np.float64))
    return pixels, torch.from_numpy(bunch.target.astype(np.int64))
