"""Damaged checkpoints are noticed by their checksum; the run starts again and ends the same."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support.processes import Driver, driver_command, results, tiny_study


@pytest.fixture(scope="module")
def few_long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Few runs, each long enough to be met in the middle."""
    study = tiny_study(steps=2000)
    study["panels"][0]["parametrizations"] = [{"name": "mup"}]
    study["panels"][0]["grid"] = {"center": -5, "low": -7, "high": -3}
    path = tmp_path_factory.mktemp("study") / "few_long.json"
    path.write_text(json.dumps(study))
    return path


@pytest.fixture(scope="module")
def few_long_undisturbed(tmp_path_factory: pytest.TempPathFactory, few_long: Path) -> dict:
    folder = tmp_path_factory.mktemp("few_long") / "out"
    subprocess.run(driver_command(folder, few_long), check=True, capture_output=True, timeout=900)
    return results(folder)


@pytest.mark.sim
@pytest.mark.parametrize("damage", ["truncate", "flip"])
def test_damaged_checkpoint(start: Callable[..., Driver], few_long: Path, few_long_undisturbed: dict, damage: str):
    driver = start(study=few_long, checkpoint_s=0.02)
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
    assert start(study=few_long).finish() == (0, "complete\n")
    assert results(driver.folder) == few_long_undisturbed
