"""A tiny study as real processes: started, killed and compared with an undisturbed run."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from limes.store import Store

DRIVER = Path(__file__).resolve().parents[1] / "faults" / "driver_process.py"


def tiny_study(*, steps: int = 300) -> dict:
    panel = {
        "axis": "width",
        "sizes": [8, 16],
        "seeds": [1, 1],
        "parametrizations": [{"name": "standard"}, {"name": "mup"}],
        "grid": {"center": -5, "low": -8, "high": -2},
    }
    return {
        "name": "tiny",
        "data": {"source": "teacher", "num_inputs": 8},
        "model": {"family": "mlp", "width": 8, "depth": 2},
        "training": {"steps": steps, "warmup_steps": 5, "batch_size": 16},
        "panels": [panel],
    }


@dataclass
class Driver:
    """A sweep in its own process."""

    folder: Path
    process: subprocess.Popen = field(repr=False)

    def finish(self, timeout: float = 900.0) -> tuple[int, str]:
        """Exit code and what it said on both streams."""
        out, err = self.process.communicate(timeout=timeout)
        return self.process.returncode, out + err

    def workers(self) -> list[int]:
        return [pid for pid in _children(self.process.pid) if _is_worker(pid)]

    def wait_for(self, condition: Callable[[], object], timeout: float = 600.0) -> None:
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, "nothing happened for ten minutes"
            assert self.process.poll() is None, f"the driver ended early: {self.finish()}"
            time.sleep(0.02)

    def running(self) -> list[str]:
        """Keys of the runs in work, once there is a store."""
        if not (self.folder / "study.json").exists():
            return []
        with Store.open(self.folder, read_only=True) as store:
            return [run.key for run in store.progress().running]


def _children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                    found.append(int(entry.name))
    return found


def _is_worker(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"limes.sweep.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def driver_command(
    folder: Path, study: Path, *, workers: int = 2, checkpoint_s: float = 0.1, mode: str = ""
) -> list[str]:
    return [sys.executable, str(DRIVER), str(folder), str(study), str(workers), str(checkpoint_s), mode]


def results(folder: Path) -> dict[tuple, tuple]:
    """The whole result table with a digest of each curve; times and numbers of tries left out."""
    with Store.open(folder, read_only=True) as store:
        return {
            (row.axis, row.parametrization, row.size, row.seed, row.log2_lr): (
                row.key,
                row.status.value,
                row.loss,
                row.diverged_step,
                row.last_finite_loss,
                {name: np.asarray(values).tobytes() for name, values in store.curve(row.key).items()},
            )
            for row in store.rows()
        }
