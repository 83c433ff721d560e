"""A run of a store trained once more under a monitor.

A run is a pure function of its settings, so what it did not record can still be seen: the same batches, the same
weights, and signs of trouble along the way.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from limes.data import DataSource
from limes.measure.edge_probe import EdgeProbe
from limes.measure.inspection import (
    MAX_PRODUCTS,
    MICRO_BATCHES,
    batch_signs,
    equal_parts,
    gradient_signs,
    weight_signs,
)
from limes.measure.monitor import loss_signs
from limes.measure.monitor_probe import MonitorProbe
from limes.measure.spikes import SpikeDetector
from limes.spec import RunSpec
from limes.store import SweepRow
from limes.sweep.build import build_run
from limes.train import Objective, RunTrace, TrainState, lr_factor, train

Log = list[tuple[int, dict[str, float]]]
NUM_MEASUREMENTS = 20


def watch_run(
    spec: RunSpec,
    *,
    every: int,
    base_dir: Path | None = None,
    curvature: bool = False,
    on_step: Callable[[int, float], Any] | None = None,
) -> Log:
    """Train a run from its first step and measure along the way.

    Args:
        spec: The run.
        every: Steps between measurements.
        base_dir: Folder that relative paths start from.
        curvature: Measure the edge of stability each time too, on the first validation batch.
        on_step: As for `train`.

    Returns:
        Step and signs, "sign/place" -> value; the last entry is of the trained network, unless it diverged.

    Raises:
        DataError: The data are not those that the run was planned with.
    """
    model, data, optimizer, objective, initial = _built(spec, base_dir)
    probes: list[Any] = [MonitorProbe(optimizer, objective, every=every, logits=data.task != "regression")]
    if curvature:
        probes.append(
            EdgeProbe(
                optimizer,
                objective,
                every=every,
                batch=data.validation()[0],
                tolerance=1e-2,
                max_products=MAX_PRODUCTS,
            )
        )
    trace = train(model, data, optimizer, spec.training, probes=probes, on_step=on_step)
    log = _log_of(trace)
    if trace.validation_loss is None:
        return log
    final = _state_signs(model, data.validation()[0], objective, optimizer, initial=initial, curvature=curvature)
    # At the end of its schedule the learning rate is no longer the one that trained.
    final |= {name: value for name, value in log[-1][1].items() if name.partition("/")[0] in _OF_STEPS}
    final["validation_loss"] = trace.validation_loss
    return [*log, (spec.training.steps, final)]


def _built(
    spec: RunSpec, base_dir: Path | None
) -> tuple[nn.Module, DataSource, Optimizer, Objective, dict[str, Tensor]]:
    """A run before its first step; last, the weights that it starts from."""
    model, data, optimizer = build_run(spec, base_dir=base_dir)
    start = copy.deepcopy(model).requires_grad_(False) if spec.training.center_output else None
    objective = Objective(task=data.task, training=spec.training, initial=start)
    return model, data, optimizer, objective, {name: p.detach().clone() for name, p in model.named_parameters()}


def best_runs(rows: Sequence[SweepRow]) -> list[SweepRow]:
    """Of every curve (axis, parametrization, size, seed) the run with the least loss; some may have none."""
    best: dict[tuple[str, str, int, int], SweepRow] = {}
    for row in rows:
        curve = row.axis, row.parametrization, row.size, row.seed
        if row.loss is not None and (curve not in best or row.loss < _loss(best[curve])):
            best[curve] = row
    return list(best.values())


def _loss(row: SweepRow) -> float:
    return math.inf if row.loss is None else row.loss


def _log_of(trace: RunTrace) -> Log:
    """Numbers of all probes by step, with the spikes of the loss up to there."""
    log: dict[int, dict[str, float]] = {}
    for name, (steps, values) in trace.probes.items():
        probe, _, sign = name.partition("/")
        if probe == "edge":
            sign = "edge_of_stability" if sign == "ratio" else ""
        for step, value in zip(steps, values):
            # Before Adam's first step there is no edge.
            if sign and not (probe == "edge" and math.isnan(value)):
                log.setdefault(int(step), {})[sign] = float(value)
    detector, seen = SpikeDetector(), 0
    for step in sorted(log):
        # The loss of a step comes from the loop: the probe's is without dropout.
        losses = trace.train_loss[seen : step + 1].tolist()
        log[step] |= loss_signs(detector, losses)
        seen = step + 1
    return sorted(log.items())


def resumed_signs(
    spec: RunSpec, state: TrainState, *, base_dir: Path | None = None, curvature: bool = False
) -> dict[str, float]:
    """All signs of a run that was interrupted, on the batch of the step that comes next.

    Args:
        spec: The run.
        state: Its checkpoint.
        base_dir: Folder that relative paths start from.
        curvature: As for `watch_run`.

    Raises:
        DataError: The data are not those that the run was planned with.
        StoreError: The state is of another network.
    """
    model, data, optimizer, objective, initial = _built(spec, base_dir)
    state.restore(model, optimizer, initial=objective.initial)
    for group in optimizer.param_groups:
        group["lr"] *= lr_factor(state.step, spec.training)
    return _state_signs(model, data.batch(state.step), objective, optimizer, initial=initial, curvature=curvature)


def _state_signs(
    model: nn.Module,
    batch: tuple[Tensor, Tensor],
    objective: Objective,
    optimizer: Optimizer,
    *,
    initial: Mapping[str, Tensor],
    curvature: bool,
) -> dict[str, float]:
    """All that a network tells at one moment."""
    inputs, targets = batch
    # What the loop does to inputs before the model sees them.
    if inputs.is_floating_point():
        inputs = inputs.to(objective.dtype)
    size, bounds = equal_parts(len(inputs))
    signs = weight_signs(model, initial=initial)
    signs |= batch_signs(model, inputs, logits=objective.task != "regression")
    return signs | gradient_signs(
        model,
        objective,
        (inputs, targets),
        optimizer=optimizer,
        micro_batches=[(inputs[i:j], targets[i:j]) for i, j in bounds] if len(inputs) >= MICRO_BATCHES else (),
        batch_size=size,
        curvature=curvature,
    )


# What only a step tells; of the trained network it is taken from the last step that was watched.
_OF_STEPS = ("loss_spike", "spikes_per_1000", "update_ratio", "role_update_ratio", "edge_of_stability")
