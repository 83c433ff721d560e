"""The result of a finished run, and a worker that spawned processes can import: it claims until nothing is left."""

import multiprocessing
import os
from pathlib import Path

import numpy as np

from limes.core.status import RunStatus
from limes.store import RunResult, Store


def result(loss: float | None = 2.5, **changes: object) -> RunResult:
    values = {
        "status": RunStatus.DONE if loss is not None else RunStatus.DIVERGED,
        "loss": loss,
        "initial_loss": 4.5,
        "diverged_step": None if loss is not None else 3,
        "last_finite_loss": 2.6,
        "cpu_seconds": 2.0,
        "wall_seconds": 2.5,
        "metrics": {"train_loss": 2.6},
        "curve": {"train_loss": np.array([4.5, 2.6, np.nan])},
    }
    return RunResult(**(values | changes))


def claim_all(folder: Path, queue: multiprocessing.Queue) -> None:
    """Record a made-up result for every run that can be claimed; tell the keys."""
    with Store.open(folder) as store:
        while claim := store.claim(f"w{os.getpid()}"):
            assert store.record(claim, result())
            queue.put(claim.key)
