"""Finite sets of samples: what arrays, tables, digits and synthetic tasks with `num_samples` become."""

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from limes.core.errors import DataError
from limes.core.rng import stream
from limes.data.hashing import fingerprint_of
from limes.data.source import Batch, Task

_MAX_VALIDATION_BATCH = 512


@dataclass(frozen=True, kw_only=True, eq=False)
class SampleContent:
    """Samples split into training and validation; shared by all runs of a process.

    Args:
        task: "classification" (targets (N,) int64) or "regression" (targets (N, num_outputs) float32).
        inputs: (N, num_inputs) or (N, channels, height, width) float32.
        targets: Training targets.
        validation_inputs: Same layout as `inputs`.
        validation_targets: Same layout as `targets`.
        num_outputs: Classes, or components of a target.
        label: How messages call the source.
    """

    task: Task
    inputs: Tensor
    targets: Tensor
    validation_inputs: Tensor
    validation_targets: Tensor
    num_outputs: int
    label: str

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of all four tensors."""
        names = ("inputs", "targets", "validation_inputs", "validation_targets")
        header = {"kind": "samples", "task": self.task, "num_outputs": self.num_outputs}
        return fingerprint_of(header, [(name, getattr(self, name).numpy()) for name in names])


class SampleSource:
    """Epochs over a finite set, each in an order of its own; or the full batch in fixed order."""

    vocab_size: None = None

    def __init__(self, content: SampleContent, *, seed: int, batch_size: int) -> None:
        num_samples = len(content.inputs)
        if batch_size > num_samples:
            raise DataError(
                f"training.batch_size = {batch_size} exceeds the {num_samples} training samples of "
                f"{content.label}; lower it to at most {num_samples}"
            )
        self.content = content
        self.task: Task = content.task
        self.num_outputs = content.num_outputs
        self.num_inputs, self.input_shape = input_sizes(content.inputs)
        self._seed, self._batch_size = seed, batch_size
        self._epoch: tuple[int, Tensor] = (-1, torch.empty(0, dtype=torch.int64))

    def batch(self, step: int) -> Batch:
        """`batch_size` samples, none twice; the few that do not fill a batch sit out this epoch."""
        assert step >= 0, f"step {step}"
        num_samples = len(self.content.inputs)
        if self._batch_size == num_samples:
            return self.content.inputs.clone(), self.content.targets.clone()
        epoch, position = divmod(step, num_samples // self._batch_size)
        index = self._order(epoch)[position * self._batch_size : (position + 1) * self._batch_size]
        return self.content.inputs[index], self.content.targets[index]

    def validation(self) -> tuple[Batch, ...]:
        """All validation samples, in batches of equal size (see `equal_batches`)."""
        return equal_batches(self.content.validation_inputs, self.content.validation_targets)

    def fingerprint(self) -> str:
        """Hash of samples and split."""
        return self.content.fingerprint

    def _order(self, epoch: int) -> Tensor:
        if self._epoch[0] != epoch:
            generator = stream(self._seed, "batch", str(epoch))
            self._epoch = (epoch, torch.randperm(len(self.content.inputs), generator=generator))
        return self._epoch[1]


def input_sizes(inputs: Tensor) -> tuple[int, tuple[int, int, int] | None]:
    """Numbers in one input, and its (channels, height, width) if it is an image."""
    shape = inputs.shape[1:]
    image = (shape[0], shape[1], shape[2]) if len(shape) == 3 else None
    return int(np.prod(shape)), image


def equal_batches(inputs: Tensor, targets: Tensor) -> tuple[Batch, ...]:
    """As few equal batches as hold at most 512 samples each; fewer samples than batches are left over.

    >>> [len(x) for x, _ in equal_batches(torch.zeros(1025, 2), torch.zeros(1025, 1))]
    [341, 341, 341]
    """
    num_batches = -(-len(inputs) // _MAX_VALIDATION_BATCH)
    size = len(inputs) // num_batches
    return tuple(
        (inputs[start : start + size], targets[start : start + size]) for start in range(0, size * num_batches, size)
    )


def split_indices(num_samples: int, *, validation_fraction: float, label: str) -> tuple[Tensor, Tensor]:
    """Indices of training and validation samples: disjoint, random, equal for all seeds and machines.

    Raises:
        DataError: One side would be empty.
    """
    num_validation = round(num_samples * validation_fraction)
    if not 0 < num_validation < num_samples:
        raise DataError(
            f"{label}: data.validation_fraction = {validation_fraction} of {num_samples} samples leaves "
            f"{num_samples - num_validation} for training and {num_validation} for validation; "
            "both need at least 1"
        )
    order = torch.randperm(num_samples, generator=stream(0, "data", "split"))
    return order[num_validation:], order[:num_validation]


def split_samples(
    inputs: Tensor, targets: Tensor, *, task: Task, num_outputs: int, validation_fraction: float, label: str
) -> SampleContent:
    """Split samples at random; see `split_indices`."""
    train, held_out = split_indices(len(inputs), validation_fraction=validation_fraction, label=label)
    return SampleContent(
        task=task,
        inputs=inputs[train],
        targets=targets[train],
        validation_inputs=inputs[held_out],
        validation_targets=targets[held_out],
        num_outputs=num_outputs,
        label=label,
    )
