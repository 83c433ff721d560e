"""The one training loop: returns a trace, writes no files, draws no random numbers."""

import copy
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from limes.core.status import RunStatus
from limes.spec.training import TrainingSpec
from limes.train.objective import Objective
from limes.train.probe import Probe
from limes.train.schedule import lr_factor
from limes.train.state import History, TrainState
from limes.train.trace import RunTrace

Batch = tuple[Tensor, Tensor]
Capture = Callable[[], TrainState]


class Data(Protocol):
    """What the loop asks of a data source."""

    @property
    def task(self) -> str:
        """Key of `LOSSES`."""

    def batch(self, step: int) -> Batch:
        """Training batch of `step`, a pure function of it."""

    def validation(self) -> Sequence[Batch]:
        """Fixed batches of equal size."""


def train(
    model: nn.Module,
    data: Data,
    optimizer: Optimizer,
    training: TrainingSpec,
    *,
    state: TrainState | None = None,
    probes: Sequence[Probe] = (),
    on_step: Callable[[int, float], Any] | None = None,
    checkpoint: Callable[[int, Capture], None] | None = None,
) -> RunTrace:
    """Train to the last step, to divergence, or until told to stop.

    Args:
        model: At its initialization, in the training dtype (float32 for bfloat16, which is autocast).
        data: Batches by step.
        optimizer: Fresh; the lr of each group is that group's peak.
        training: Schedule, clipping, evaluation, bounds.
        state: Go on from here; the result equals that of an uninterrupted run bitwise on a CPU.
        probes: Measurements.
        on_step: Called with step and loss after each update; a true answer stops the run.
        checkpoint: Called with the number of updates made and a function that captures the state; it decides whether
            to use it.

    Returns:
        The trace of the whole run, the part before `state` included.
    """
    return _Loop(model, data, optimizer, training, probes=probes).run(state, on_step=on_step, checkpoint=checkpoint)


class _Loop:
    def __init__(
        self, model: nn.Module, data: Data, optimizer: Optimizer, training: TrainingSpec, *, probes: Sequence[Probe]
    ) -> None:
        self.model, self.data, self.optimizer, self.training, self.probes = model, data, optimizer, training, probes
        self.peaks = [group["lr"] for group in optimizer.param_groups]
        self.parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self.initial = copy.deepcopy(model).requires_grad_(False) if training.center_output else None
        self.objective = Objective(task=data.task, training=training, initial=self.initial)
        self.history = History()
        self.bound = math.inf

    def run(
        self,
        state: TrainState | None,
        *,
        on_step: Callable[[int, float], Any] | None,
        checkpoint: Callable[[int, Capture], None] | None,
    ) -> RunTrace:
        first = 0
        if state is not None:
            state.restore(self.model, self.optimizer, initial=self.initial)
            self.history, first = copy.deepcopy(state.history), state.step
            self._set_bound()
        clock = _Clock(self.history)
        self.model.train()
        for step in range(first, self.training.steps):
            loss = self._step(step)
            if loss is None:
                return self._trace(RunStatus.DIVERGED, step, clock)
            done = step + 1
            every = self.training.eval_every
            if every is not None and done % every == 0 and done < self.training.steps:
                self.history.evals.append((done, self._evaluate()))
            if checkpoint is not None and done < self.training.steps:
                checkpoint(done, partial(self._capture, done, clock))
            if on_step is not None and on_step(step, loss) and done < self.training.steps:
                return self._trace(RunStatus.RUNNING, done, clock)
        final = self._evaluate()
        self.history.evals.append((self.training.steps, final))
        inside = math.isfinite(final) and final <= self.bound
        return self._trace(RunStatus.DONE if inside else RunStatus.DIVERGED, self.training.steps, clock)

    def _step(self, step: int) -> float | None:
        """One update; the loss before it, or None if that was out of bounds and no update was made."""
        factor = lr_factor(step, self.training)
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * factor
        batch = self.data.batch(step)
        self._probe(batch, step)
        loss = self.objective(self.model, batch)
        value = loss.item()
        self.history.train_loss.append(value)
        if step == 0:
            self._set_bound()
        if not (math.isfinite(value) and value <= self.bound):
            return None
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.training.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.training.clip_norm)
        self.optimizer.step()
        return value

    def _evaluate(self) -> float:
        self.model.eval()
        with torch.no_grad():
            losses = [self.objective.plain(self.model, batch).item() for batch in self.data.validation()]
        self.model.train()
        return math.fsum(losses) / len(losses)

    def _probe(self, batch: Batch, step: int) -> None:
        for probe in self.probes:
            if step % probe.every == 0:
                for name, value in probe.measure(self.model, batch, step).items():
                    self.history.probes.setdefault(f"{probe.name}/{name}", []).append((step, float(value)))

    def _set_bound(self) -> None:
        # A non-finite first loss leaves the bound open; that step is out of bounds anyway.
        initial = self.history.train_loss[0] if self.history.train_loss else math.nan
        self.bound = self.training.divergence_factor * initial if math.isfinite(initial) else math.inf

    def _capture(self, done: int, clock: "_Clock") -> TrainState:
        clock.update()
        return TrainState.capture(done, self.model, self.optimizer, history=self.history, initial=self.initial)

    def _trace(self, status: RunStatus, steps_done: int, clock: "_Clock") -> RunTrace:
        clock.update()
        history, losses = self.history, np.array(self.history.train_loss, dtype=np.float64)
        inside = losses[np.isfinite(losses) & (losses <= self.bound)]
        done = status is RunStatus.DONE
        return RunTrace(
            status=status,
            steps_done=steps_done,
            train_loss=losses,
            eval_steps=np.array([step for step, _ in history.evals], dtype=np.int64),
            eval_loss=np.array([value for _, value in history.evals], dtype=np.float64),
            validation_loss=history.evals[-1][1] if done else None,
            initial_loss=float(losses[0]) if len(losses) and math.isfinite(losses[0]) else None,
            diverged_step=steps_done if status is RunStatus.DIVERGED else None,
            last_finite_loss=float(inside[-1]) if len(inside) else None,
            cpu_seconds=history.cpu_seconds,
            wall_seconds=history.wall_seconds,
            probes={name: np.array(rows, dtype=np.float64).T for name, rows in history.probes.items()},
        )


class _Clock:
    """Adds the time since its last update to a history."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.cpu, self.wall = time.process_time(), time.monotonic()

    def update(self) -> None:
        cpu, wall = time.process_time(), time.monotonic()
        self.history.cpu_seconds += cpu - self.cpu
        self.history.wall_seconds += wall - self.wall
        self.cpu, self.wall = cpu, wall
