"""Standard normal inputs, and targets from a random two-layer network."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Generator, Tensor

from limes.core.rng import stream
from limes.data.samples import SampleContent
from limes.data.synthetic import OnlineContent, Rule, normal, synthetic_content
from limes.spec.data import TeacherSpec

_ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "erf": torch.erf,
}


def load_teacher(spec: TeacherSpec, *, base_dir: Path) -> SampleContent | OnlineContent:
    """Target: readout @ activation(hidden @ x / sqrt(num_inputs)) / sqrt(teacher_width); weights N(0, 1)."""
    generator = stream(0, "teacher", "teacher")
    hidden = normal(spec.teacher_width, spec.num_inputs, generator=generator) / math.sqrt(spec.num_inputs)
    readout = normal(spec.num_outputs, spec.teacher_width, generator=generator) / math.sqrt(spec.teacher_width)
    activation = _ACTIVATIONS[spec.activation]

    def draw_inputs(count: int, generator: Generator) -> Tensor:
        return normal(count, spec.num_inputs, generator=generator)

    rule = Rule(
        draw_inputs=draw_inputs,
        function=lambda inputs: activation(inputs @ hidden.T) @ readout.T,
        num_inputs=spec.num_inputs,
        num_outputs=spec.num_outputs,
        noise_std=spec.noise_std,
    )
    return synthetic_content(rule, num_samples=spec.num_samples, num_validation=spec.num_validation, name=spec.source)
