"""Damaged checkpoints are noticed by their checksum; the run starts again and ends the same."""

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from support.processes import Driver, results


@pytest.mark.sim
@pytest.mark.parametrize("damage", ["truncate", "flip"])
def test_damaged_checkpoint(start: Callable[..., Driver], long_study: Path, long_undisturbed: dict, damage: str):
    driver = start(study=long_study, checkpoint_s=0.02)
    checkpoints = driver.folder / "checkpoints"
    driver.wait_for(lambda: list(checkpoints.glob("*.safetensors")))
    for pid in [driver.process.pid, *driver.workers()]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    driver.finish()
    files = list(checkpoints.glob("*.safetensors"))
    assert files
    for file in files:
        data = bytearray(file.read_bytes())
        data[2 * len(data) // 3] ^= 16
        file.write_bytes(data if damage == "flip" else data[: len(data) // 2])
    assert start(study=long_study).finish() == (0, "complete\n")
    assert results(driver.folder) == long_undisturbed
