"""Where all families meet: from a study to runs, and from a run to model, data and optimizer.

This is the one file that knows models, data, parametrizations and optimizers at once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn
from torch.optim import Optimizer

from limes.core.dtypes import DTYPES
from limes.core.errors import DataError, SpecError
from limes.core.rng import stream
from limes.data import DataSource, build_data
from limes.models import build_model, check_module, example_input, read_source
from limes.optim import build_optimizer
from limes.parametrize import Plan, choose_parametrization, plan
from limes.parametrize.apply import attach_multipliers, group_parameters, init_tensors_
from limes.spec import (
    DataSpec,
    ModelSpec,
    ModuleSpec,
    ParametrizationChoice,
    RunSpec,
    StudySpec,
    TrainingSpec,
    TransformerSpec,
    resolve_point,
)
from limes.store import Member, NewRun
from limes.sweep.cost import run_cost
from limes.sweep.grid import Curve, initial_grid

AXES = ("width", "depth")


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedRun:
    """A point of a curve, and the run that gives its value."""

    member: Member
    spec: RunSpec

    def new_run(self) -> NewRun:
        """As the store takes it."""
        cost = run_cost(self.spec)
        return NewRun(
            key=self.spec.key,
            spec=self.spec.to_dict(),
            cost=cost.seconds,
            steps=self.spec.training.steps,
            num_params=cost.num_params,
            num_tokens=cost.num_tokens,
            flops=cost.flops,
        )


class Workbench:
    """A study with its data loaded and its plans made once per size; turns points of curves into runs.

    Raises:
        SpecError, DataError, PlanError: The study does not fit its data, or a size cannot be planned.
    """

    def __init__(self, study: StudySpec, *, base_dir: Path | None = None) -> None:
        self.study = study
        self.data = data_for(study.data, study.model, study.training, seed=study.first_seed, base_dir=base_dir)
        self.model = fill_model(study.model, self.data, base_dir=base_dir)
        choose_parametrization(study.recommend)
        if study.training.z_loss and self.data.task == "regression":
            raise SpecError(f"training.z_loss {study.training.z_loss} is for logits; these data are a regression")
        self._plans: dict[tuple[str, str, int], tuple[ModelSpec, Plan]] = {}
        self._choices: dict[tuple[str, str], ParametrizationChoice] = {
            (panel.axis, choice.label): choice for panel in study.panels for choice in panel.parametrizations
        }

    def initial(self) -> Iterator[PlannedRun]:
        """Every point that the study starts with."""
        for panel in self.study.panels:
            base_size = getattr(self.model, panel.axis)
            for choice in panel.parametrizations:
                for size, num_seeds in zip(panel.sizes, panel.seeds, strict=True):
                    points = initial_grid(panel.grid, choice, size=size, base_size=base_size)
                    for seed in range(self.study.first_seed, self.study.first_seed + num_seeds):
                        curve = Curve(axis=panel.axis, parametrization=choice.label, size=size, seed=seed)
                        yield from (self.point(curve, log2_lr) for log2_lr in points)

    def point(self, curve: Curve, log2_lr: float) -> PlannedRun:
        """The run behind one point of a curve; `log2_lr` is log2 of what the study sweeps."""
        model, made = self.plan(curve.axis, curve.parametrization, curve.size)
        training, base_lr = resolve_point(self.study.training, self.study.swept, log2_lr)
        optimizer = training.optimizer
        spec = RunSpec(
            model=model,
            attention_scale=made.attention_scale,
            data=self.study.data,
            data_fingerprint=self.data.fingerprint(),
            training=training,
            seed=curve.seed,
            tensors=made.settings(lr=2.0**base_lr, weight_decay=optimizer.weight_decay, eps=optimizer.eps),
        )
        member = Member(
            axis=curve.axis,
            parametrization=curve.parametrization,
            size=curve.size,
            seed=curve.seed,
            log2_lr=log2_lr,
            key=spec.key,
        )
        return PlannedRun(member=member, spec=spec)

    def plan(self, axis: str, label: str, size: int) -> tuple[ModelSpec, Plan]:
        """The model at a size, and the plan that one of the study's parametrizations has for it."""
        key = (axis, label, size)
        if key not in self._plans:
            target = resize(self.model, axis, size)
            self._plans[key] = (target, self.plan_model(self._choices[axis, label], target))
        return self._plans[key]

    def plan_model(self, choice: ParametrizationChoice, target: ModelSpec) -> Plan:
        """The plan from the study's base to any size, such as the one that settings are recommended for."""
        return plan_between(self.model, target, choice, self.study.training)


def plan_between(base: ModelSpec, target: ModelSpec, choice: ParametrizationChoice, training: TrainingSpec) -> Plan:
    """Plan `target` relative to `base`; the specs must be filled in."""
    return plan(
        _build,
        base=base,
        target=target,
        parametrization=choice,
        optimizer=training.optimizer.name,
        weight_decay=training.optimizer.decay_mode,
        # Nobody multiplies the attention scale of a user's own network; its query maps take the factor over.
        attention="fold" if isinstance(base, ModuleSpec) else "auto",
        example_inputs=example_input,
        # The base stands in every panel, as its first size.
        allow_no_growth=True,
    )


def _build(spec: ModelSpec) -> nn.Module:
    # The plan reads a user's own initialization from two builds, under generators of its choice.
    generator = None if isinstance(spec, ModuleSpec) else torch.Generator().manual_seed(0)
    return build_model(spec, generator=generator)


def expand(study: StudySpec, *, base_dir: Path | None = None) -> list[PlannedRun]:
    """All points that a study starts with; points of several curves may share a run."""
    return list(Workbench(study, base_dir=base_dir).initial())


def data_for(
    data: DataSpec, model: ModelSpec, training: TrainingSpec, *, seed: int, base_dir: Path | None = None
) -> DataSource:
    """The data source that fits a model and a training."""
    context = model.context if isinstance(model, TransformerSpec | ModuleSpec) else None
    return build_data(data, seed=seed, batch_size=training.batch_size, context=context, base_dir=base_dir)


def fill_model(model: ModelSpec, data: DataSource, *, base_dir: Path | None = None) -> ModelSpec:
    """`model` with the sizes that the data fix, and with the text of a user's own file.

    Raises:
        SpecError: The data do not fit the family, a size was given that differs from the data's, or the user's file
            cannot be trained.
    """
    found = {
        "vocab_size": data.vocab_size,
        "num_inputs": data.num_inputs,
        "input_shape": data.input_shape,
        "num_outputs": data.num_outputs,
    }
    update: dict[str, Any] = {}
    for name in found.keys() & type(model).model_fields.keys():
        value, given = found[name], getattr(model, name)
        if value is None and isinstance(model, ModuleSpec):
            continue
        if value is None:
            raise SpecError(
                f"model.family {model.family!r} needs {name}, which data with the task {data.task!r} do not have; "
                "choose another family or another source"
            )
        if given is not None and given != value:
            raise SpecError(f"model.{name} is {given}, but the data have {value}; leave it out")
        update[name] = value
    return _with_source(_changed(model, update), data, base_dir=base_dir)


def _with_source(model: ModelSpec, data: DataSource, *, base_dir: Path | None) -> ModelSpec:
    if not isinstance(model, ModuleSpec):
        return model
    if model.source is not None or model.packages:
        raise SpecError("model.source and model.packages are read from the file; leave them out")
    source, packages = read_source(model.build, base_dir=base_dir)
    model = model.model_copy(update={"source": source, "packages": packages})
    inputs, targets = data.batch(0)
    classes = {"next_token": data.vocab_size, "classification": data.num_outputs}.get(data.task)
    check_module(model, inputs, outputs=tuple(targets.shape) if classes is None else (*targets.shape, classes))
    return model


def resize(model: ModelSpec, axis: str, size: int) -> ModelSpec:
    """`model` at another width or depth.

    Raises:
        SpecError: The family cannot have that size.
    """
    if axis not in AXES:
        raise SpecError(f"axis {axis!r}, expected one of {', '.join(AXES)}")
    return _changed(model, {axis: size})


def _changed(model: ModelSpec, update: dict[str, Any]) -> ModelSpec:
    # Validated again: a width may not fit the head dimension.
    try:
        return type(model).model_validate(model.to_dict() | update)
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        what = ", ".join(f"{name} = {value}" for name, value in update.items())
        raise SpecError(f"model.family {model.family!r} with {what}: {reason}") from None


def build_run(spec: RunSpec, *, base_dir: Path | None = None) -> tuple[nn.Module, DataSource, Optimizer]:
    """Model at its initialization, data and fresh optimizer of a run.

    Raises:
        DataError: The data are not those that the run was planned with.
    """
    batch_seed = spec.seed if spec.batch_seed is None else spec.batch_seed
    data = _cached_data(spec.data, spec.model, spec.training, batch_seed, base_dir)
    if (found := data.fingerprint()) != spec.data_fingerprint:
        raise DataError(
            f"data.source {spec.data.source!r} has changed since the runs were planned: fingerprint {found[:12]}, "
            f"expected {spec.data_fingerprint[:12]}; restore the data, or start in a new folder"
        )
    name = spec.training.optimizer.name
    model = build_model(spec.model, generator=stream(spec.seed, "init"), attention_scale=spec.attention_scale)
    if spec.training.dtype == "float64":
        model = model.to(DTYPES["float64"])
    init_tensors_(model, spec.tensors, seed=spec.seed)
    attach_multipliers(model, spec.tensors)
    groups = group_parameters(model, spec.tensors, optimizer=name)
    return model, data, build_optimizer(groups, spec.training.optimizer)


@lru_cache(maxsize=8)
def _cached_data(
    data: DataSpec, model: ModelSpec, training: TrainingSpec, seed: int, base_dir: Path | None
) -> DataSource:
    return data_for(data, model, training, seed=seed, base_dir=base_dir)
