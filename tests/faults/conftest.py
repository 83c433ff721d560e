"""Drivers as processes, and the result that each of them must reproduce."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.processes import Driver, driver_command, results, tiny_study


@pytest.fixture(scope="session")
def study_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "study.json"
    path.write_text(json.dumps(tiny_study()))
    return path


@pytest.fixture
def start(tmp_path: Path, study_file: Path) -> Iterator[Callable[..., Driver]]:
    """Starts drivers on one folder; whatever of them is left is killed at the end of the test."""
    started: list[Driver] = []

    def go(*, study: Path = study_file, folder: Path = tmp_path / "out", **options: object) -> Driver:
        command = driver_command(folder, study, **options)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(Driver(folder=folder, process=process))
        return started[-1]

    yield go
    for driver in started:
        if driver.process.poll() is None:
            for pid in [*driver.workers(), driver.process.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            driver.process.communicate()


@pytest.fixture(scope="session")
def undisturbed_folder(tmp_path_factory: pytest.TempPathFactory, study_file: Path) -> Path:
    """A store that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed") / "out"
    subprocess.run(driver_command(folder, study_file), check=True, capture_output=True, timeout=900)
    return folder


@pytest.fixture(scope="session")
def undisturbed(undisturbed_folder: Path) -> dict[tuple, tuple]:
    """The result table that every disturbed run must reproduce."""
    return results(undisturbed_folder)


@pytest.fixture(scope="session")
def long_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Few runs, each long enough to be met in the middle."""
    study = tiny_study(steps=2500)
    study["panels"][0]["parametrizations"] = [{"name": "mup"}]
    study["panels"][0]["grid"] = {"center": -5, "low": -7, "high": -3}
    path = tmp_path_factory.mktemp("study") / "long_study.json"
    path.write_text(json.dumps(study))
    return path


@pytest.fixture(scope="session")
def long_undisturbed(tmp_path_factory: pytest.TempPathFactory, long_study: Path) -> dict:
    folder = tmp_path_factory.mktemp("long_study") / "out"
    subprocess.run(driver_command(folder, long_study), check=True, capture_output=True, timeout=900)
    return results(folder)
