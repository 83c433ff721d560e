"""What goes into the store and what comes out of it: plain frozen records, without torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from limes.core.status import RunStatus
from limes.store.files import Array

TASK = "task"
"""Name of the note on what the targets are: next_token, classification or regression."""

OVER_BUDGET = "points_over_time_budget"
"""Name of the note on how many points the study's time budget kept from the grids."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NewRun:
    """A run to be done.

    Args:
        key: Hash of its resolved settings.
        spec: Those settings as plain JSON.
        cost: Expected CPU seconds on a reference machine; only ratios matter. The costliest run is claimed first.
        steps: Training steps.
        num_params: Trained parameters.
        num_tokens: Training samples (tokens for text).
        flops: Training FLOPs.
    """

    key: str
    spec: Mapping[str, Any]
    cost: float
    steps: int
    num_params: int
    num_tokens: int
    flops: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One point of one curve of a panel, and the run that gives its value; several members may share a run."""

    axis: str
    parametrization: str
    size: int
    seed: int
    log2_lr: float
    key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A worker's right to a run. Only the newest `token` of a run may record anything."""

    key: str
    spec: dict[str, Any]
    token: int
    attempt: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RunResult:
    """What a finished run leaves.

    Args:
        status: DONE or DIVERGED.
        loss: Final validation loss; None if it diverged.
        initial_loss: Training loss before the first update.
        diverged_step: Step at which the loss left its bound; None if it did not.
        last_finite_loss: Training loss of the last step at which it was finite and inside the bound.
        cpu_seconds: CPU time of all tries that led to this result.
        wall_seconds: Wall time of the same.
        metrics: Further finite scalars by name.
        curve: Arrays by name (losses by step, evaluations, probes).
    """

    status: RunStatus
    loss: float | None
    initial_loss: float | None
    diverged_step: int | None
    last_finite_loss: float | None
    cpu_seconds: float
    wall_seconds: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    curve: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepRow:
    """One member of a panel with what is known of its run. `loss` is None unless `status` is DONE."""

    axis: str
    parametrization: str
    size: int
    seed: int
    log2_lr: float
    key: str
    status: RunStatus
    loss: float | None
    initial_loss: float | None
    diverged_step: int | None
    last_finite_loss: float | None
    cpu_seconds: float | None
    wall_seconds: float | None
    num_params: int
    num_tokens: int
    steps: int
    flops: float
    attempts: int
    error: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RunningRun:
    """A run that a worker holds now."""

    key: str
    worker: str
    step: int
    steps: int
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far the store is.

    Args:
        counts: Number of runs by status.
        cost_done: Sum of the expected costs of finished runs.
        cost_left: The same of the others, less what the running ones have done.
        seconds_per_cost: Wall seconds of a run per unit of cost, over the finished runs; None before the first.
        running: The runs in work.
    """

    counts: Mapping[RunStatus, int]
    cost_done: float
    cost_left: float
    seconds_per_cost: float | None
    running: tuple[RunningRun, ...]

    @property
    def total(self) -> int:
        """Number of runs known so far."""
        return sum(self.counts.values())

    @property
    def finished(self) -> int:
        """Number of runs that no worker will touch again."""
        return sum(number for status, number in self.counts.items() if status.finished)

    def seconds_left(self, workers: int) -> float | None:
        """Expected remaining wall time with `workers` of them; None before the first run has finished."""
        if self.seconds_per_cost is None:
            return None
        return self.cost_left * self.seconds_per_cost / max(workers, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that `doctor` found.

    Args:
        severity: "damage" (results or their files are affected), "debris" (harmless leftovers), "note".
        sentence: What was found, and what to do about it.
        repaired: Whether it has been put right.
    """

    severity: str
    sentence: str
    repaired: bool = False
