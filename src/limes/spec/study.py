"""The study: a base model, its data and training, and the panels along which it grows."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from limes.spec.base import Spec
from limes.spec.data import CorpusSpec, DataSpec
from limes.spec.model import Depth, ModelSpec, Size, TransformerSpec
from limes.spec.swept import SweptSpec, swept_problem
from limes.spec.training import TrainingSpec

Seed = Annotated[int, Field(ge=0, lt=2**31, strict=True)]
Octaves = Annotated[float, Field(ge=-60, le=60)]
AxisName = Literal["width", "depth"]


class ParametrizationChoice(Spec):
    """A parametrization by name, with what it takes (`alpha` for depth_mup, `gamma0` for meanfield)."""

    name: str
    alpha: Annotated[float, Field(ge=0, le=2)] | None = None
    gamma0: Annotated[float, Field(gt=0)] | None = None

    @property
    def label(self) -> str:
        """How the report calls it."""
        parts = [f"{key}={value:g}" for key in ("alpha", "gamma0") if (value := getattr(self, key)) is not None]
        return f"{self.name}({', '.join(parts)})" if parts else self.name


class GridSpec(Spec):
    """What is swept (learning rates, unless the study says otherwise) as log2 values: `count` points `step` octaves
    apart, centred on `center`.

    `center_slope` moves the centre by that many octaves per doubling of the size (-1 for `standard` over width, whose
    optimum is known to fall): it saves runs, and the grid extends by itself if the guess was wrong.
    """

    center: Octaves = -6.0
    count: Annotated[int, Field(ge=5, le=101)] = 5
    step: Annotated[float, Field(ge=1 / 64, le=4)] = 1.0
    low: Octaves = -16.0
    high: Octaves = 4.0
    center_slope: dict[str, Annotated[float, Field(ge=-4, le=4)]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _inside(self) -> "GridSpec":
        if not self.low <= self.center <= self.high:
            raise ValueError(f"center {self.center} must lie between low {self.low} and high {self.high}")
        if self.high - self.low < 4 * self.step:
            raise ValueError(
                f"low {self.low} to high {self.high} leaves fewer than 5 points of step {self.step}, too few for an "
                "optimum; widen the bounds or take a smaller step"
            )
        return self


class PanelSpec(Spec):
    """One axis of growth, the sizes along it, the seeds of each size, and the parametrizations compared.

    `seeds[i]` is the *number* of seeds at `sizes[i]` (seed values 0, 1, ...).
    """

    axis: AxisName
    sizes: Annotated[tuple[Annotated[int, Field(ge=1, strict=True)], ...], Field(min_length=2)]
    seeds: tuple[Annotated[int, Field(ge=1, le=1000, strict=True)], ...]
    parametrizations: Annotated[tuple[ParametrizationChoice, ...], Field(min_length=1)]
    grid: GridSpec = GridSpec()

    @model_validator(mode="after")
    def _consistent(self) -> "PanelSpec":
        if list(self.sizes) != sorted(set(self.sizes)):
            raise ValueError(f"sizes {list(self.sizes)} must increase without repetition")
        if len(self.seeds) != len(self.sizes):
            raise ValueError(
                f"seeds has {len(self.seeds)} entries for {len(self.sizes)} sizes; give one count per size"
            )
        labels = [choice.label for choice in self.parametrizations]
        if len(set(labels)) != len(labels):
            raise ValueError(f"parametrizations {labels} repeat")
        known = {*labels, *(choice.name for choice in self.parametrizations)}
        if unknown := sorted(self.grid.center_slope.keys() - known):
            raise ValueError(
                f"grid.center_slope names {unknown[0]!r}, which this panel does not train; it has {', '.join(labels)}"
            )
        return self


class TargetSpec(Spec):
    """The size to recommend settings for, and to forecast the loss of."""

    width: Size | None = None
    depth: Depth | None = None


class StudySpec(Spec):
    """A whole study. `model` is the base: there every parametrization equals standard training.

    The grids hold learning rates; with `swept`, another hyperparameter at a learning rate tuned before.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    data: DataSpec = CorpusSpec()
    model: ModelSpec = TransformerSpec(head_dim=16)
    training: TrainingSpec = TrainingSpec()
    panels: Annotated[tuple[PanelSpec, ...], Field(min_length=1)]
    recommend: ParametrizationChoice = ParametrizationChoice(name="completep")
    target: TargetSpec = TargetSpec()
    swept: SweptSpec | None = None
    first_seed: Seed = 0
    level: Annotated[float, Field(ge=0.5, lt=1)] = 0.9
    tolerance_octaves: Annotated[float, Field(gt=0)] = 1.0
    prior_octaves: Annotated[float, Field(gt=0)] = 0.35
    time_budget_s: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _no_panel_stands_twice(self) -> "StudySpec":
        seen: set[tuple[str, str]] = set()
        for panel in self.panels:
            for choice in panel.parametrizations:
                if (key := (panel.axis, choice.label)) in seen:
                    raise ValueError(f"the panel of {choice.label} over {panel.axis} stands twice")
                seen.add(key)
        return self

    @model_validator(mode="after")
    def _swept_values_exist(self) -> "StudySpec":
        if self.swept is None:
            return self
        for panel in self.panels:
            grid = panel.grid
            ends = (grid.center - grid.step * (grid.count - 1) / 2, grid.center + grid.step * (grid.count - 1) / 2)
            points = (grid.low, *(point for point in (*ends, ends[0] + grid.step) if grid.low <= point), grid.high)
            if problem := swept_problem(self.training, self.swept, points):
                raise ValueError(f"swept {self.swept.field} over {panel.axis}: {problem}")
        return self

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; without `swept` where the learning rate is swept, as in files older than that field."""
        content = super().to_dict()
        return content if self.swept else {key: value for key, value in content.items() if key != "swept"}
