"""One worker process: claims a run, trains it, records it, and again. `python -m limes.sweep.worker DIR`.

It lives as long as there is work, with one thread, and leaves after its run when it gets SIGTERM or when the driver
that started it is gone. Exit code 3: the store failed it; what it held goes back to the queue.
"""

import argparse
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType

import torch

from limes.core.errors import StoreError
from limes.core.status import RunStatus
from limes.spec import RunSpec
from limes.store import Claim, RunResult, Store
from limes.sweep.build import build_run
from limes.sweep.observe import ScaleRecorder
from limes.sweep.pool import CHECKPOINT_S
from limes.sweep.record import RECORD, FieldRecorder
from limes.train import RunTrace, TrainState, train

HEARTBEAT_S = 5.0
IDLE_S = 0.2
MIN_LEASE_S = 300.0


class Worker:
    """The loop of one worker.

    Args:
        store: Where the runs are.
        name: Unique among all workers of the store.
        driver_pid: Process that started it and gives it work until told to leave; None to leave when nothing is left.
        checkpoint_s: Seconds between checkpoints of a run.
    """

    def __init__(
        self, store: Store, *, name: str, driver_pid: int | None = None, checkpoint_s: float = CHECKPOINT_S
    ) -> None:
        self.store, self.name, self.driver_pid, self.checkpoint_s = store, name, driver_pid, checkpoint_s
        self.leaving = False
        self.base_dir = store.base_dir

    def leave(self, signum: int = 0, frame: FrameType | None = None) -> None:
        """Finish the run in hand, then end."""
        self.leaving = True

    def run(self) -> None:
        """Work until there is nothing left to do here."""
        while not (self.leaving or self._orphaned()):
            claim = self.store.claim(self.name, lease_s=MIN_LEASE_S)
            if claim is not None:
                self.execute(claim)
            elif self.driver_pid is None:
                return
            else:
                time.sleep(IDLE_S)

    def execute(self, claim: Claim) -> None:
        """Do one run, whatever becomes of it."""
        try:
            result = self._train(claim)
        except StoreError:
            raise
        except Exception:
            # Any error is the run's own until it has failed three times; the text is kept for the user.
            self.store.fail(claim, traceback.format_exc())
            return
        if result is not None:
            self.store.record(claim, result)

    def _train(self, claim: Claim) -> RunResult | None:
        spec = RunSpec.model_validate(claim.spec)
        model, data, optimizer = build_run(spec, base_dir=self.base_dir)
        watch = _Watch(self.store, claim, checkpoint_s=self.checkpoint_s)
        recorder = FieldRecorder.from_note(spec, self.store.note(RECORD)) or ScaleRecorder.of(spec, data)
        trace = train(
            model,
            data,
            optimizer,
            spec.training,
            # What a recorder has seen is in no checkpoint: a recorded run begins anew.
            state=self._saved_state(claim) if recorder is None else None,
            probes=() if recorder is None else (recorder,),
            on_step=watch.on_step,
            checkpoint=watch.checkpoint if recorder is None else None,
        )
        if trace.status is RunStatus.RUNNING:
            return None
        result = result_of(trace)
        if recorder is None:
            return result
        recorded = recorder.arrays(model, steps_done=trace.steps_done)
        return replace(result, curve={**result.curve, **recorded})

    def _saved_state(self, claim: Claim) -> TrainState | None:
        try:
            data = self.store.load_checkpoint(claim.key)
            return None if data is None else TrainState.from_bytes(data)
        except StoreError as error:
            print(f"run {claim.key} starts from its beginning: {error}", file=sys.stderr)
            return None

    def _orphaned(self) -> bool:
        return self.driver_pid is not None and os.getppid() != self.driver_pid


class _Watch:
    """Heartbeats and checkpoints of one run, by the clock; stops the run when its lease is lost."""

    def __init__(self, store: Store, claim: Claim, *, checkpoint_s: float) -> None:
        self.store, self.claim, self.checkpoint_s = store, claim, checkpoint_s
        self.beat = self.saved = self.last = time.monotonic()
        self.longest = 0.0

    def on_step(self, step: int, loss: float) -> bool:
        now = time.monotonic()
        self.longest, self.last = max(self.longest, now - self.last), now
        if now - self.beat < HEARTBEAT_S:
            return False
        self.beat = now
        lease_s = max(MIN_LEASE_S, 20 * self.longest)
        return not self.store.heartbeat(self.claim, step=step + 1, lease_s=lease_s)

    def checkpoint(self, done: int, capture: Callable[[], TrainState]) -> None:
        if time.monotonic() - self.saved >= self.checkpoint_s:
            self.store.save_checkpoint(self.claim, capture().to_bytes(), step=done)
            self.saved = time.monotonic()


def result_of(trace: RunTrace) -> RunResult:
    """A finished trace as the store takes it."""
    return RunResult(
        status=trace.status,
        loss=trace.validation_loss,
        initial_loss=trace.initial_loss,
        diverged_step=trace.diverged_step,
        last_finite_loss=trace.last_finite_loss,
        cpu_seconds=trace.cpu_seconds,
        wall_seconds=trace.wall_seconds,
        curve=trace.to_arrays(),
    )


def main(arguments: list[str] | None = None) -> int:
    """Entry point of the process."""
    parser = argparse.ArgumentParser(prog="python -m limes.sweep.worker", description="Works on the runs of a store.")
    parser.add_argument("folder", type=Path, help="folder of the store")
    parser.add_argument("--driver", type=int, default=None, help="process id of the driver that started this worker")
    parser.add_argument("--name", default=f"{socket.gethostname()}:{os.getpid()}", help="unique name of this worker")
    parser.add_argument("--checkpoint-s", type=float, default=CHECKPOINT_S, help="seconds between checkpoints")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        with Store.open(options.folder) as store:
            worker = Worker(store, name=options.name, driver_pid=options.driver, checkpoint_s=options.checkpoint_s)
            signal.signal(signal.SIGTERM, worker.leave)
            worker.run()
    except StoreError as error:
        print(error, file=sys.stderr)
        return StoreError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
