"""The learning-rate factor of each step: a pure function, so that a resumed run needs no scheduler state."""

import math
from collections.abc import Callable, Mapping

from limes.spec.training import TrainingSpec


def lr_factor(step: int, training: TrainingSpec) -> float:
    """Factor on every peak learning rate at `step` = 0, 1, ..., steps - 1.

    Warm-up gives (step + 1) / warmup_steps; what follows falls from 1 towards `final_lr_fraction`, which a step after
    the last would reach, so that no step is wasted at zero.

    >>> training = TrainingSpec(steps=200, warmup_steps=20)
    >>> lr_factor(0, training), lr_factor(20, training), lr_factor(199, training) * 180
    (0.05, 1.0, 1.0)
    """
    if not 0 <= step < training.steps:
        raise ValueError(f"step {step} is outside 0 .. {training.steps - 1}")
    if step < training.warmup_steps:
        return (step + 1) / training.warmup_steps
    final = training.final_lr_fraction
    return final + (1.0 - final) * SCHEDULES[training.schedule](step, training)


def _linear(step: int, training: TrainingSpec) -> float:
    return (training.steps - step) / (training.steps - training.warmup_steps)


def _cosine(step: int, training: TrainingSpec) -> float:
    progress = (step - training.warmup_steps) / (training.steps - training.warmup_steps)
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def _wsd(step: int, training: TrainingSpec) -> float:
    length = min(max(round(training.decay_fraction * training.steps), 1), training.steps - training.warmup_steps)
    return min((training.steps - step) / length, 1.0)


def _constant(step: int, training: TrainingSpec) -> float:
    return 1.0


SCHEDULES: Mapping[str, Callable[[int, TrainingSpec], float]] = {
    "linear": _linear,
    "cosine": _cosine,
    "wsd": _wsd,
    "constant": _constant,
}
