"""From a study of consistency to its runs: one plan for each size and parametrization, one run for each seed."""

import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limes.core.errors import SpecError
from limes.models import num_flops
from limes.parametrize import Plan
from limes.spec import ModelSpec, OptimizerSpec, RunSpec, TensorSettings, TransformerSpec
from limes.spec.consistency import ConsistencyChoice, ConsistencySpec
from limes.store import TASK, Member
from limes.sweep.build import PlannedRun, data_for, fill_model, plan_between, resize
from limes.sweep.cost import FLOPS_PER_SECOND
from limes.sweep.driver import SweepOutcome, SweepView, run_planned
from limes.sweep.observe import NUM_QUANTILES, SHARPNESS_PRODUCTS, SHARPNESS_SAMPLES, observed_layers

# Seeds of different sizes never meet, so that no two networks of different size share numbers. Parametrizations do
# share seeds: at the base they are one run.
SEEDS_PER_SIZE = 1_000
BYTES_PER_NUMBER = 4
# Measured on one core with networks so small that nothing else counts.
SECONDS_PER_MEASUREMENT = 0.06


@dataclass(frozen=True, kw_only=True, slots=True)
class ConsistencyCost:
    """What a study takes, before it starts.

    Attributes:
        runs: Distinct networks to train.
        cpu_seconds: Training and measuring, on a reference core.
        disk_bytes: Of the recorded arrays.
        memory_bytes: Of one worker at the largest size, weights with their optimizer and what measuring adds.
    """

    runs: int
    cpu_seconds: float
    disk_bytes: int
    memory_bytes: int


def run_consistency(
    spec: ConsistencySpec,
    out_dir: Path,
    *,
    workers: int | None = None,
    progress: Callable[[SweepView], Any] | None = None,
    base_dir: Path | None = None,
) -> SweepOutcome:
    """Train every network of `spec` that `out_dir` lacks; a run that was killed begins anew, finished ones stay.

    Raises:
        SpecError, DataError, PlanError: The study cannot be done, or differs from the one of the folder.
        StoreError: The folder cannot be used.
    """
    data = data_for(spec.data, spec.model, spec.training, seed=spec.first_seed, base_dir=base_dir)
    return run_planned(
        plan_consistency(spec, base_dir=base_dir),
        out_dir,
        frozen=spec.to_dict(),
        notes={TASK: data.task},
        workers=workers,
        progress=progress,
        base_dir=base_dir,
    )


def plan_consistency(spec: ConsistencySpec, *, base_dir: Path | None = None) -> list[PlannedRun]:
    """Every run of a study.

    Raises:
        SpecError: A size does not fit the model, or a pattern of `lr_exponents` names no tensor.
    """
    data = data_for(spec.data, spec.model, spec.training, seed=spec.first_seed, base_dir=base_dir)
    base = fill_model(spec.model, data, base_dir=base_dir)
    planned = []
    for choice in spec.parametrizations:
        for place, (size, seeds) in enumerate(zip(spec.sizes, spec.seeds, strict=True)):
            target = sized(base, spec.axis, size)
            made = plan_between(base, target, choice.plain(), spec.training)
            log2_lr = spec.log2_lr if choice.log2_lr is None else choice.log2_lr
            optimizer = spec.training.optimizer
            tensors = made.settings(lr=2.0**log2_lr, weight_decay=optimizer.weight_decay, eps=optimizer.eps)
            assert spec.observe is not None
            observe = spec.observe.model_copy(update={"kernel_weights": _kernel_weights(spec, base, target, choice)})
            for count in range(seeds):
                run = RunSpec(
                    model=target,
                    attention_scale=made.attention_scale,
                    data=spec.data,
                    data_fingerprint=data.fingerprint(),
                    training=spec.training,
                    seed=spec.first_seed + SEEDS_PER_SIZE * place + count,
                    tensors=_faulty(tensors, choice, growth=size / base_size(base, spec.axis)),
                    batch_seed=spec.first_seed,
                    observe=observe,
                )
                member = Member(
                    axis=spec.axis,
                    parametrization=choice.label,
                    size=size,
                    seed=run.seed,
                    log2_lr=log2_lr,
                    key=run.key,
                )
                planned.append(PlannedRun(member=member, spec=run))
    return planned


def sized(model: ModelSpec, axis: str, size: int) -> ModelSpec:
    """`model` at another width, number of heads of fixed dimension, or depth."""
    if axis != "heads":
        return resize(model, axis, size)
    return resize(model, "width", size * int(getattr(model, "head_dim", None) or 1))


def base_size(model: ModelSpec, axis: str) -> int:
    """The size of the base along the axis."""
    if axis == "heads":
        return model.width // int(getattr(model, "head_dim", None) or 1)
    return int(getattr(model, axis))


def _kernel_weights(
    spec: ConsistencySpec, base: ModelSpec, target: ModelSpec, choice: ConsistencyChoice
) -> dict[str, float]:
    """Learning rates of the same parametrization under SGD: the tangent kernel's own weights, for any optimizer."""
    training = spec.training.model_copy(update={"optimizer": OptimizerSpec(name="sgd", decay_mode="coupled")})
    made: Plan = plan_between(base, target, choice.plain(), training)
    return {row["name"]: float(row["lr_scale"]) for row in made.rows}


def _faulty(
    tensors: Mapping[str, TensorSettings], choice: ConsistencyChoice, *, growth: float
) -> dict[str, TensorSettings]:
    changed = dict(tensors)
    for pattern, power in choice.lr_exponents.items():
        names = fnmatch.filter(tensors, pattern)
        if not names:
            raise SpecError(
                f"lr_exponents {pattern!r} names none of the tensors, which are {', '.join(list(tensors)[:4])}, ..."
            )
        for name in names:
            changed[name] = changed[name].model_copy(update={"lr": changed[name].lr * growth**power})
    return changed


def consistency_cost(spec: ConsistencySpec, *, base_dir: Path | None = None) -> ConsistencyCost:
    """What a study will take; a running study measures its speed and corrects itself."""
    runs = {item.spec.key: item for item in plan_consistency(spec, base_dir=base_dir)}
    observe = spec.observe
    assert observe is not None
    seconds, disk, params = 0.0, 0, 0
    for item in runs.values():
        new = item.new_run()
        seconds += new.cost + len(observe.steps) * _measuring_seconds(item.spec)
        disk += len(observe.steps) * _numbers(item.spec) * BYTES_PER_NUMBER
        params = max(params, new.num_params)
    # Weights, gradients and two moments; the tangent kernel's rows; the vectors of the sharpness.
    vectors = 4 + 6 * 2 + (SHARPNESS_PRODUCTS if observe.sharpness else 0)
    return ConsistencyCost(
        runs=len(runs), cpu_seconds=seconds, disk_bytes=disk, memory_bytes=params * vectors * BYTES_PER_NUMBER
    )


def _measuring_seconds(run: RunSpec) -> float:
    """Forward and backward passes of one measurement; a Hessian-vector product is worth two of them."""
    observe = run.observe
    assert observe is not None
    passes = observe.num_probe / 3 + observe.num_kernel + observe.num_ntk * max(observe.num_ntk / 4, 1.0)
    if observe.sharpness:
        # The largest eigenvalue is found well before the limit, as a rule.
        passes += 2 * SHARPNESS_PRODUCTS * SHARPNESS_SAMPLES / 3
    tokens = run.model.context if isinstance(run.model, TransformerSpec) else 1
    return passes * num_flops(run.model, tokens) / FLOPS_PER_SECOND + SECONDS_PER_MEASUREMENT


def _numbers(run: RunSpec) -> int:
    observe = run.observe
    assert observe is not None
    outputs = getattr(run.model, "vocab_size", None) or getattr(run.model, "num_outputs", None) or 1
    layers = len(observed_layers(run.model, observe.layers))
    context = run.model.context if isinstance(run.model, TransformerSpec) else 16
    return (
        observe.num_outputs * (outputs + 1)
        + layers * (2 * observe.num_kernel**2 + NUM_QUANTILES + 32 * context)
        + observe.num_ntk**2
    )
