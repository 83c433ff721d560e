"""Standard normal inputs and a fixed random linear target."""

from pathlib import Path

from torch import Generator, Tensor

from limes.core.rng import stream
from limes.data.samples import SampleContent
from limes.data.synthetic import OnlineContent, Rule, normal, synthetic_content
from limes.spec.data import GaussianSpec


def load_gaussian(spec: GaussianSpec, *, base_dir: Path) -> SampleContent | OnlineContent:
    """Inputs N(0, 1); each target component is a unit vector times the input (variance 1, plus noise)."""
    weights = normal(spec.num_outputs, spec.num_inputs, generator=stream(0, "teacher", "gaussian"))
    weights = weights / weights.norm(dim=1, keepdim=True)

    def draw_inputs(count: int, generator: Generator) -> Tensor:
        return normal(count, spec.num_inputs, generator=generator)

    rule = Rule(
        draw_inputs=draw_inputs,
        function=lambda inputs: inputs @ weights.T,
        num_inputs=spec.num_inputs,
        num_outputs=spec.num_outputs,
        noise_std=spec.noise_std,
    )
    return synthetic_content(rule, num_samples=spec.num_samples, num_validation=spec.num_validation, name=spec.source)
