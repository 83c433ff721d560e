"""A study of consistency: one problem at several sizes, seeds and parametrizations, measured at matched steps."""

import math
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from limes.spec.base import Spec
from limes.spec.data import CorpusSpec, DataSpec
from limes.spec.model import ModelSpec, TransformerSpec
from limes.spec.observe import ObserveSpec
from limes.spec.study import Octaves, ParametrizationChoice, Seed
from limes.spec.training import TrainingSpec

Size = Annotated[int, Field(ge=1, le=1_000_000, strict=True)]
Axis = Literal["width", "heads", "depth"]


class ConsistencyChoice(ParametrizationChoice):
    """A parametrization of the study.

    Args:
        log2_lr: log2 of the learning rate at the base; None is the study's.
        lr_exponents: A fault put in on purpose: the learning rates of the tensors that a pattern names (`blocks.*`) are
            multiplied by (size / base) to this power, on top of what the parametrization says.
    """

    log2_lr: Octaves | None = None
    lr_exponents: dict[str, Annotated[float, Field(ge=-4, le=4)]] = Field(default_factory=dict)

    @property
    def label(self) -> str:
        """How the report calls it."""
        name = ParametrizationChoice(name=self.name, alpha=self.alpha, gamma0=self.gamma0).label
        changes = [f"lr of {pattern} x size^{power:g}" for pattern, power in self.lr_exponents.items()]
        return f"{name} with {', '.join(changes)}" if changes else name

    def plain(self) -> ParametrizationChoice:
        """The parametrization alone, as plans take it."""
        return ParametrizationChoice(name=self.name, alpha=self.alpha, gamma0=self.gamma0)


class ConsistencySpec(Spec):
    """The whole study. `model` is the base: there every parametrization equals standard training.

    Args:
        axis: `width`; `heads`, which is width at a fixed head dimension counted in heads; or `depth`.
        sizes: At least three; the largest stands for the limit, unless the theory of the problem does.
        seeds: Networks of each size. Initializations are independent of each other, batches are the same for all.
        limit: What networks are held against: the largest size, or the theory's infinitely wide perceptron.
        log2_lr: Of the learning rate at the base.
        num_times: Times at which it is measured, besides the start; on a logarithmic scale.
        observe: How it is measured; its steps follow from num_times unless they are given.
        early: Steps up to which networks are held to be early in training; a tenth of the steps by default.
        quick: Settings that make a smaller study of it, as `--set` takes them.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    data: DataSpec = CorpusSpec()
    model: ModelSpec = TransformerSpec(head_dim=16)
    training: TrainingSpec = TrainingSpec()
    axis: Axis = "width"
    sizes: Annotated[tuple[Size, ...], Field(min_length=3)]
    seeds: Annotated[tuple[Annotated[int, Field(ge=3, le=1000, strict=True)], ...], Field(min_length=3)]
    parametrizations: Annotated[tuple[ConsistencyChoice, ...], Field(min_length=1)]
    limit: Literal["largest", "theory"] = "largest"
    log2_lr: Octaves = -6.0
    num_times: Annotated[int, Field(ge=2, le=64)] = 8
    observe: ObserveSpec | None = None
    early: Annotated[int, Field(ge=1)] | None = None
    first_seed: Seed = 0
    level: Annotated[float, Field(ge=0.5, lt=1)] = 0.9
    quick: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _times(cls, content: Any) -> Any:
        """Steps of the measurement where only their number is given."""
        if not isinstance(content, dict):
            return content
        observe = content.get("observe") or {}
        training = content.get("training") or {}
        steps = training.get("steps", 200) if isinstance(training, dict) else training.steps
        if not isinstance(observe, dict) or "steps" in observe or not isinstance(steps, int) or steps < 1:
            return content
        count = content.get("num_times", 8)
        if not isinstance(count, int) or not 2 <= count <= 64:
            return content
        return content | {"observe": observe | {"steps": list(log_steps(steps, count))}}

    @model_validator(mode="after")
    def _consistent(self) -> "ConsistencySpec":
        if list(self.sizes) != sorted(set(self.sizes)):
            raise ValueError(f"sizes {list(self.sizes)} must increase without repetition")
        if len(self.seeds) != len(self.sizes):
            raise ValueError(
                f"seeds has {len(self.seeds)} entries for {len(self.sizes)} sizes; give one count per size"
            )
        labels = [choice.label for choice in self.parametrizations]
        if len(set(labels)) != len(labels):
            raise ValueError(f"parametrizations {labels} repeat")
        assert self.observe is not None
        if list(self.observe.steps) != sorted(set(self.observe.steps)) or self.observe.steps[-1] > self.training.steps:
            raise ValueError(
                f"observe.steps {list(self.observe.steps)} must increase and end at training.steps "
                f"{self.training.steps} at the latest"
            )
        if self.early_step > self.training.steps:
            raise ValueError(f"early {self.early_step} is past the last step, training.steps {self.training.steps}")
        if not any(0 < step <= self.early_step for step in self.observe.steps):
            raise ValueError(
                f"observe.steps {list(self.observe.steps)} has no step from 1 to {self.early_step}, the last that "
                "counts as early; add one, or raise early"
            )
        if self.axis == "heads" and getattr(self.model, "head_dim", None) is None:
            raise ValueError("axis 'heads' needs model.head_dim, the width of one head that stays as it is")
        return self

    @property
    def early_step(self) -> int:
        """Last step that counts as early."""
        return self.early if self.early is not None else max(1, self.training.steps // 10)


def log_steps(steps: int, count: int) -> tuple[int, ...]:
    """0, then `count` different steps up to `steps`, as evenly on a logarithmic scale as whole numbers allow.

    >>> log_steps(100, 5)
    (0, 1, 3, 10, 32, 100)
    """
    if steps <= count:
        return tuple(range(steps + 1))
    found = [0]
    for index in range(count):
        left = count - 1 - index
        wanted = round(math.exp(math.log(steps) * index / (count - 1)))
        found.append(min(max(wanted, found[-1] + 1), steps - left))
    return tuple(found)
