"""What the synthetic tasks share: a rule that draws samples, used online or to fill a finite set.

The task (weights, spectrum, phases), the finite training set and the validation set come from streams that do
not depend on the run's seed. Validation targets carry no label noise.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from limes.core.rng import stream
from limes.data.hashing import fingerprint_of
from limes.data.samples import SampleContent, equal_batches
from limes.data.source import Batch, Task

_PROBE_SAMPLES = 64


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Rule:
    """Distribution of inputs, and the function to learn.

    Args:
        draw_inputs: (count, generator) -> (count, num_inputs) float64.
        function: (count, num_inputs) float64 -> (count, num_outputs) float64.
        num_inputs: Components of an input.
        num_outputs: Components of a target.
        noise_std: Standard deviation of the noise on each component of a training target.
    """

    draw_inputs: Callable[[int, Generator], Tensor]
    function: Callable[[Tensor], Tensor]
    num_inputs: int
    num_outputs: int
    noise_std: float = 0.0

    def draw(self, count: int, *, generator: Generator, noisy: bool = True) -> Batch:
        """Inputs (count, num_inputs) and targets (count, num_outputs), float32."""
        inputs = self.draw_inputs(count, generator)
        targets = self.function(inputs)
        if noisy and self.noise_std:
            targets = targets + self.noise_std * normal(count, self.num_outputs, generator=generator)
        # Computed in float64 first: the rounded numbers, and so the fingerprint, then agree between machines.
        return inputs.float(), targets.float()


@dataclass(frozen=True, kw_only=True, eq=False)
class OnlineContent:
    """Endless fresh samples of a rule, with a fixed validation set."""

    rule: Rule
    validation_inputs: Tensor
    validation_targets: Tensor
    label: str

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of the validation set and of a fixed draw of training samples, noise included."""
        probe = self.rule.draw(_PROBE_SAMPLES, generator=stream(0, "data", "probe"))
        tensors = (*probe, self.validation_inputs, self.validation_targets)
        names = ("inputs", "targets", "validation_inputs", "validation_targets")
        return fingerprint_of({"kind": "online"}, [(name, t.numpy()) for name, t in zip(names, tensors, strict=True)])


class OnlineSource:
    """Fresh samples at every step."""

    task: Task = "regression"
    vocab_size: None = None
    input_shape: None = None

    def __init__(self, content: OnlineContent, *, seed: int, batch_size: int) -> None:
        self.content = content
        self.num_inputs, self.num_outputs = content.rule.num_inputs, content.rule.num_outputs
        self._seed, self._batch_size = seed, batch_size

    def batch(self, step: int) -> Batch:
        """Samples that no other step and no other seed draws."""
        assert step >= 0, f"step {step}"
        return self.content.rule.draw(self._batch_size, generator=stream(self._seed, "batch", str(step)))

    def validation(self) -> tuple[Batch, ...]:
        """The fixed validation set, in batches of equal size."""
        return equal_batches(self.content.validation_inputs, self.content.validation_targets)

    def fingerprint(self) -> str:
        """Hash of the task."""
        return self.content.fingerprint


def synthetic_content(
    rule: Rule, *, num_samples: int | None, num_validation: int, name: str
) -> SampleContent | OnlineContent:
    """A finite training set of `num_samples`, or fresh samples for ever where that is None."""
    label = f'data.source = "{name}"'
    inputs, targets = rule.draw(num_validation, generator=stream(0, "data", "validation"), noisy=False)
    if num_samples is None:
        return OnlineContent(rule=rule, validation_inputs=inputs, validation_targets=targets, label=label)
    train_inputs, train_targets = rule.draw(num_samples, generator=stream(0, "data", "train"))
    return SampleContent(
        task="regression",
        inputs=train_inputs,
        targets=train_targets,
        validation_inputs=inputs,
        validation_targets=targets,
        num_outputs=rule.num_outputs,
        label=label,
    )


def normal(rows: int, columns: int, *, generator: Generator) -> Tensor:
    """(rows, columns) standard normal numbers, float64."""
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64)
