"""From a comparison to its runs: one plan for each width and gamma0, one run for each seed."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from limes.core.errors import ScopeError
from limes.data import DataSource
from limes.spec import MLPSpec, OptimizerSpec, ParametrizationChoice, RunSpec, TrainingSpec
from limes.spec.comparison import ComparisonSpec
from limes.store import Member
from limes.sweep.build import PlannedRun, data_for, plan_between
from limes.sweep.driver import SweepOutcome, SweepView, run_planned
from limes.sweep.record import RECORD

# Seeds of different widths and gamma0 never meet, so that no two networks share numbers.
SEEDS_PER_WIDTH = 1_000


def run_comparison(
    spec: ComparisonSpec,
    out_dir: Path,
    *,
    workers: int | None = None,
    progress: Callable[[SweepView], Any] | None = None,
    base_dir: Path | None = None,
) -> SweepOutcome:
    """Train every network of `spec` that `out_dir` lacks; kernels are recorded beside the losses.

    Raises:
        SpecError, DataError, ScopeError: The comparison cannot be done, or differs from the one of the folder.
        StoreError: The folder cannot be used.
    """
    return run_planned(
        plan_comparison(spec, base_dir=base_dir),
        out_dir,
        frozen=spec.to_dict(),
        notes={RECORD: json.dumps(spec.kept_steps)},
        workers=workers,
        progress=progress,
        base_dir=base_dir,
    )


def plan_comparison(spec: ComparisonSpec, *, base_dir: Path | None = None) -> list[PlannedRun]:
    """Every run of a comparison, under the mean field parametrization.

    Raises:
        ScopeError: The data are no regression with one target, or no finite set.
    """
    data, training = load_comparison(spec, base_dir=base_dir)
    # At a base as wide as the inputs the theory's learning rates are the same for all matrices.
    base = _model(spec, width=data.num_inputs or 1).model_copy(
        update={"num_inputs": data.num_inputs, "num_outputs": data.num_outputs}
    )
    planned = []
    for index, gamma0 in enumerate(spec.gamma0):
        # The plan's gamma0 is relative to the base, whose own is base width^-1/2.
        choice = ParametrizationChoice(name="meanfield", gamma0=gamma0 * math.sqrt(base.width))
        for place, width in enumerate(spec.widths):
            target = base.model_copy(update={"width": width})
            settings = plan_between(base, target, choice, training).settings(lr=spec.lr / base.width)
            for count in range(spec.seeds):
                run = RunSpec(
                    model=target,
                    data=spec.data,
                    data_fingerprint=data.fingerprint(),
                    training=training,
                    seed=SEEDS_PER_WIDTH * (index * len(spec.widths) + place) + count,
                    tensors=settings,
                )
                member = Member(
                    axis="width",
                    parametrization=member_label(gamma0),
                    size=width,
                    seed=run.seed,
                    log2_lr=math.log2(spec.lr / base.width),
                    key=run.key,
                )
                planned.append(PlannedRun(member=member, spec=run))
    return planned


def member_label(gamma0: float) -> str:
    """How the store's rows of one gamma0 are called.

    >>> member_label(0.5)
    'meanfield, gamma0 0.5'
    """
    return f"meanfield, gamma0 {gamma0:g}"


def load_comparison(spec: ComparisonSpec, *, base_dir: Path | None = None) -> tuple[DataSource, TrainingSpec]:
    """The data, all of them in every batch, and how a run trains.

    Raises:
        ScopeError: The data are no regression with one target, or no finite set.
    """
    model = _model(spec, width=1)
    data = data_for(spec.data, model, _training(spec, batch_size=1), seed=0, base_dir=base_dir)
    content = getattr(data, "content", None)
    inputs = getattr(content, "inputs", None)
    if inputs is None:
        raise ScopeError(f"data.source {spec.data.source!r} has no finite set of samples; give data.num_samples")
    if data.task != "regression" or data.num_outputs != 1:
        raise ScopeError(
            f"data.source {spec.data.source!r}: the task is {data.task} with {data.num_outputs} outputs; the spread of "
            "finite networks is predicted for a regression with one target"
        )
    training = _training(spec, batch_size=len(inputs))
    return data_for(spec.data, model, training, seed=0, base_dir=base_dir), training


def _model(spec: ComparisonSpec, *, width: int) -> MLPSpec:
    return MLPSpec(width=width, depth=spec.depth, activation=spec.activation)


def _training(spec: ComparisonSpec, *, batch_size: int) -> TrainingSpec:
    return TrainingSpec(
        steps=spec.steps,
        batch_size=batch_size,
        optimizer=OptimizerSpec(name="sgd", momentum=spec.momentum),
        schedule="constant",
        warmup_steps=0,
        center_output=True,
        dtype="float64",
        # A finite network may overshoot; what has left all bounds says so itself.
        divergence_factor=1e6,
    )
