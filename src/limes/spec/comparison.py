"""What `limes compare` trains: one perceptron at several widths, from several seeds, at several gamma0."""

from typing import Annotated

from pydantic import Field, model_validator

from limes.spec.base import Spec
from limes.spec.data import DataSpec, DigitsSpec
from limes.spec.model import Activation, Size

Positive = Annotated[float, Field(gt=0)]


class ComparisonSpec(Spec):
    """Networks of finite width beside their infinitely wide limit.

    Args:
        data: A regression on a finite set; every update sees all of it.
        depth: Hidden layers.
        activation: Of every hidden layer.
        widths: At least three, increasing: the convergence is fitted over them.
        seeds: Networks of each width at each gamma0; every one has a seed of its own.
        gamma0: Richness of the limit, increasing.
        lr: Learning rate in units of gamma0^2 x width, as the theory states it.
        steps: Updates.
        momentum: Heavy ball coefficient.
        snapshots: Steps at which kernels and pre-activations are kept, besides the first and the last.
        num_particles: Of the theory's solver.
        num_scrambles: Of the theory's solver.
    """

    data: DataSpec = DigitsSpec(task="parity", num_samples=12)
    depth: Size = 2
    activation: Activation = "tanh"
    widths: Annotated[tuple[Annotated[int, Field(ge=2, le=16384)], ...], Field(min_length=3)] = (64, 128, 256, 512)
    seeds: Annotated[int, Field(ge=4, le=1000)] = 24
    gamma0: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=8)] = (0.2, 1.0, 2.0)
    lr: Positive = 0.3
    steps: Annotated[int, Field(ge=2, le=10_000)] = 24
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    snapshots: tuple[Annotated[int, Field(ge=0)], ...] = ()
    num_particles: Annotated[int, Field(ge=2)] = 4096
    num_scrambles: Annotated[int, Field(ge=2)] = 4

    @model_validator(mode="after")
    def _ordered(self) -> "ComparisonSpec":
        for name in ("widths", "gamma0"):
            values = list(getattr(self, name))
            if values != sorted(set(values)):
                raise ValueError(f"{name} {values} must increase without repetition")
        if any(step > self.steps for step in self.snapshots):
            raise ValueError(f"snapshots {list(self.snapshots)} must not lie beyond the last step, {self.steps}")
        return self

    @property
    def kept_steps(self) -> tuple[int, ...]:
        """Steps at which kernels and pre-activations are kept, increasing."""
        return tuple(sorted({0, *self.snapshots, self.steps}))
