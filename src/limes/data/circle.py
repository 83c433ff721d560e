"""Points on the unit circle, and a Fourier series whose power falls as a power law."""

import math
from pathlib import Path

import torch
from torch import Generator, Tensor

from limes.core.rng import stream
from limes.data.samples import SampleContent
from limes.data.synthetic import OnlineContent, Rule, synthetic_content
from limes.spec.data import CircleSpec


def load_circle(spec: CircleSpec, *, base_dir: Path) -> SampleContent | OnlineContent:
    """Inputs (cos t, sin t), t uniform; target sum over k of sqrt(2 k^-exponent) cos(k t - phase_k).

    The phases are random. Mode k has power k^-exponent; there is no constant mode.
    """
    mode = torch.arange(1, spec.num_modes + 1, dtype=torch.float64)
    amplitudes = (2 * mode**-spec.exponent).sqrt()
    phases = _angles(spec.num_modes, stream(0, "teacher", "circle"))

    def draw_inputs(count: int, generator: Generator) -> Tensor:
        angle = _angles(count, generator)
        return torch.stack([angle.cos(), angle.sin()], dim=1)

    def function(inputs: Tensor) -> Tensor:
        angle = torch.atan2(inputs[:, 1], inputs[:, 0])
        return torch.cos(angle[:, None] * mode - phases) @ amplitudes[:, None]

    rule = Rule(draw_inputs=draw_inputs, function=function, num_inputs=2, num_outputs=1)
    return synthetic_content(rule, num_samples=spec.num_samples, num_validation=spec.num_validation, name=spec.source)


def _angles(count: int, generator: Generator) -> Tensor:
    return 2 * math.pi * torch.rand(count, generator=generator, dtype=torch.float64)
