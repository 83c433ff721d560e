"""Gaussian inputs with a power-law spectrum, and a linear target whose power over the modes is one too.

Letters: k = 1..D the mode, b the capacity exponent, a the source exponent.
"""

from pathlib import Path

import torch
from torch import Generator, Tensor

from limes.core.errors import DataError
from limes.core.rng import stream
from limes.data.samples import SampleContent
from limes.data.synthetic import OnlineContent, Rule, normal, synthetic_content
from limes.spec.data import PowerLawSpec

# Its square, a gradient's size, is still a normal float32.
_SMALLEST_DEVIATION = 1e-18


def load_power_law(spec: PowerLawSpec, *, base_dir: Path) -> SampleContent | OnlineContent:
    """Input component k has variance k^-b; the target is a sum of +-k^(-a/2) times its unit-variance part.

    The inputs are given in the eigenbasis of their covariance. Neither spectrum is normalized: the target's
    variance is the sum of k^-a.

    Raises:
        DataError: The smallest eigenvalue is below what float32 resolves.
    """
    deviations, powers = power_law_spectrum(spec)
    if deviations.min() < _SMALLEST_DEVIATION:
        raise DataError(
            f"data.capacity = {spec.capacity} with data.num_inputs = {spec.num_inputs}: the last input's "
            f"deviation is {deviations.min():.3g}, too small for float32 training; lower one of them"
        )
    signs = normal(1, spec.num_inputs, generator=stream(0, "teacher", "power_law")).sign()
    weights = (signs * powers.sqrt() / deviations).T

    def draw_inputs(count: int, generator: Generator) -> Tensor:
        return normal(count, spec.num_inputs, generator=generator) * deviations

    rule = Rule(
        draw_inputs=draw_inputs,
        function=lambda inputs: inputs @ weights,
        num_inputs=spec.num_inputs,
        num_outputs=1,
        noise_std=spec.noise_std,
    )
    return synthetic_content(rule, num_samples=spec.num_samples, num_validation=spec.num_validation, name=spec.source)


def power_law_spectrum(spec: PowerLawSpec) -> tuple[Tensor, Tensor]:
    """Standard deviation of each input component, and the target's power in it; (num_inputs,) float64."""
    mode = torch.arange(1, spec.num_inputs + 1, dtype=torch.float64)
    return mode ** (-spec.capacity / 2), mode**-spec.source_exponent
