"""Run a study: expand it, keep workers busy, extend grids, survive whatever happens to any of them.

The driver trains nothing and holds nothing that is not in the store: it may be killed at any moment, two of them may
work on one store, and a later one goes on where the last one stopped.
"""

import platform
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from limes.core.status import RunStatus
from limes.spec import StudySpec
from limes.store import OVER_BUDGET, TASK, Progress, Store
from limes.sweep.build import PlannedRun, Workbench
from limes.sweep.grid import missing_points
from limes.sweep.pool import CHECKPOINT_S, Pool, available_cores

POLL_S = 0.1
REPORT_S = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepView:
    """What a progress callback is told.

    Attributes:
        progress: State of the store.
        workers: Workers of this driver.
        elapsed_s: Since this driver began.
        seconds_left: Expected; None before the first run has finished.
        added: Points added to grids by this driver.
        draining: The user asked to stop; runs in hand are being finished.
    """

    progress: Progress
    workers: int
    elapsed_s: float
    seconds_left: float | None
    added: int
    draining: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepOutcome:
    """How a sweep ended.

    Attributes:
        status: "complete" (every run finished), "drained" (stopped after the runs in hand), "stopped" (at once).
        folder: Where the store is.
        progress: State of the store at the end.
        num_reused: Runs that were finished before this sweep began.
        num_added: Points that grids were extended by.
        elapsed_s: Wall time.
    """

    status: Literal["complete", "drained", "stopped"]
    folder: Path
    progress: Progress
    num_reused: int
    num_added: int
    elapsed_s: float

    @property
    def num_failed(self) -> int:
        """Runs in quarantine."""
        return self.progress.counts[RunStatus.QUARANTINED]


def run_sweep(
    study: StudySpec,
    out_dir: Path,
    *,
    workers: int | None = None,
    progress: Callable[[SweepView], Any] | None = None,
    base_dir: Path | None = None,
    checkpoint_s: float = CHECKPOINT_S,
) -> SweepOutcome:
    """Do every run of `study` that `out_dir` lacks.

    Args:
        study: What to do; frozen in `out_dir` at the first call.
        out_dir: Folder of the store; made if absent.
        workers: Processes, one thread each; the available cores by default.
        progress: Called about once a second, and at the end.
        base_dir: Where relative data paths start.
        checkpoint_s: Seconds between checkpoints of a run.

    Raises:
        SpecError, DataError, PlanError: The study cannot be done, or differs from the frozen one.
        StoreError: The folder cannot be used (disk full, not writable, damaged).
    """
    bench = Workbench(study, base_dir=base_dir)
    return run_planned(
        list(bench.initial()),
        out_dir,
        frozen=study.to_dict(),
        notes={TASK: bench.data.task},
        bench=bench,
        workers=workers,
        progress=progress,
        base_dir=base_dir,
        checkpoint_s=checkpoint_s,
    )


def run_planned(
    planned: Sequence[PlannedRun],
    out_dir: Path,
    *,
    frozen: Mapping[str, Any],
    notes: Mapping[str, str],
    bench: Workbench | None = None,
    workers: int | None = None,
    progress: Callable[[SweepView], Any] | None = None,
    base_dir: Path | None = None,
    checkpoint_s: float = CHECKPOINT_S,
) -> SweepOutcome:
    """Do every one of these runs that `out_dir` lacks.

    Args:
        planned: Points and their runs.
        out_dir: Folder of the store; made if absent.
        frozen: What was asked for, fixed in `out_dir` at the first call.
        notes: Further lines of provenance.
        bench: Extends the grids of its study as curves come in; None leaves it at `planned`.
        workers: As `run_sweep`.
        progress: As `run_sweep`.
        base_dir: As `run_sweep`.
        checkpoint_s: As `run_sweep`.

    Raises:
        SpecError: `frozen` differs from what the folder was started with.
        StoreError: The folder cannot be used.
    """
    with Store.create(out_dir) as store:
        store.freeze(frozen)
        for name, value in {**_provenance(base_dir), **notes}.items():
            store.set_note(name, value)
        add_points(store, planned)
        pool = Pool(folder=out_dir, size=workers or available_cores(), checkpoint_s=checkpoint_s)
        return _Driver(store, bench, pool, progress=progress).run()


def add_points(store: Store, planned: Sequence[PlannedRun]) -> int:
    """Put points and their runs into the store; returns how many points were new."""
    runs = {item.spec.key: item for item in planned}
    store.add_runs([item.new_run() for item in runs.values()])
    return store.add_members([item.member for item in planned])


class _Driver:
    def __init__(
        self, store: Store, bench: Workbench | None, pool: Pool, *, progress: Callable[[SweepView], Any] | None
    ) -> None:
        self.store, self.bench, self.pool, self.callback = store, bench, pool, progress
        self.started = time.monotonic()
        self.state = store.progress()
        self.num_reused = self.state.finished
        self.added = 0
        self.refused = 0
        self.interrupts = 0
        self.version = -1
        self.reported = 0.0

    def run(self) -> SweepOutcome:
        store_is_sound = False
        try:
            with self._signals():
                complete = self._loop()
            self.store.set_note(OVER_BUDGET, str(self.refused))
            store_is_sound = True
        finally:
            # After an error of the store, it cannot be asked to take the runs back; dead pids will be noticed.
            self.pool.kill(self.store if store_is_sound else None)
        self.state = self.store.progress()
        self._report(force=True)
        return SweepOutcome(
            status="complete" if complete else "drained" if self.interrupts == 1 else "stopped",
            folder=self.store.folder,
            progress=self.state,
            num_reused=self.num_reused,
            num_added=self.added,
            elapsed_s=time.monotonic() - self.started,
        )

    def _loop(self) -> bool:
        """Until all is finished (True) or the user has stopped it (False)."""
        while True:
            if self.pool.reap(self.store):
                # What this connection itself writes does not show as a change.
                self.version = -1
            if self._changed():
                self.state = self.store.progress()
                if self.interrupts == 0:
                    self._extend()
            if self.state.finished == self.state.total:
                self._let_go()
                return True
            if self.interrupts > 1 or (self.interrupts == 1 and self.pool.alive == 0):
                return False
            if self.interrupts == 0:
                self.pool.fill(limit=self.state.total - self.state.finished)
            self._report()
            time.sleep(POLL_S)

    def _changed(self) -> bool:
        seen, self.version = self.version, self.store.version()
        return seen != self.version

    def _extend(self) -> None:
        """Add the points that finished curves want, as far as the time budget allows."""
        if self.bench is None:
            return
        wanted = missing_points(self.bench.study, self.store.rows())
        points = [self.bench.point(item.curve, item.log2_lr) for item in wanted]
        planned = self._affordable(points, self.bench.study.time_budget_s)
        self.refused = len(points) - len(planned)
        if planned:
            self.added += add_points(self.store, planned)
            self.state = self.store.progress()

    def _affordable(self, planned: Sequence[PlannedRun], budget: float | None) -> Sequence[PlannedRun]:
        speed = self.state.seconds_per_cost
        if budget is None or speed is None:
            return planned
        end = time.monotonic() - self.started + (self.state.seconds_left(self.pool.size) or 0.0)
        chosen = []
        for item in planned:
            # One more run in the tail of the queue costs its own length at worst.
            end += item.new_run().cost * speed
            if end <= budget:
                chosen.append(item)
        return chosen

    def _let_go(self) -> None:
        """Idle workers leave by themselves; one that is busy elsewhere would have kept the loop going."""
        self.pool.ask_to_leave()
        while self.pool.alive:
            self.pool.reap(self.store)
            time.sleep(POLL_S / 5)

    def _report(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if self.callback is None or (now - self.reported < REPORT_S and not force):
            return
        self.reported = now
        self.callback(
            SweepView(
                progress=self.state,
                workers=self.pool.alive,
                elapsed_s=now - self.started,
                seconds_left=self.state.seconds_left(self.pool.size),
                added=self.added,
                draining=self.interrupts > 0,
            )
        )

    def _interrupt(self, signum: int, frame: FrameType | None) -> None:
        self.interrupts += 1
        if self.interrupts == 1:
            self.pool.ask_to_leave()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """The first Ctrl-C (or SIGTERM) drains, the second stops at once; outside the main thread nothing changes."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        saved = {number: signal.signal(number, self._interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in saved.items():
                signal.signal(number, handler)


def _provenance(base_dir: Path | None) -> dict[str, str]:
    from importlib.metadata import version

    notes = {name: version(name) for name in ("limes", "torch", "numpy")}
    notes |= {"python": platform.python_version(), "platform": platform.platform(terse=True)}
    notes["base_dir"] = str((base_dir or Path()).absolute())
    return notes
