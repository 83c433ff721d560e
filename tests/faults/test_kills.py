"""Processes killed at any moment: afterwards the result table equals that of an undisturbed run, bit for bit."""

import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from limes.core.status import RunStatus
from limes.store import Store, doctor
from support.processes import Driver, results, tiny_study

Start = Callable[..., Driver]


def kill_one_worker(driver: Driver, rng: random.Random) -> bool:
    """Kill a worker that holds a run, a random while after it was seen."""
    driver.wait_for(driver.running)
    time.sleep(rng.uniform(0.0, 0.3))
    workers = driver.workers()
    if not workers:
        return False
    os.kill(rng.choice(workers), signal.SIGKILL)
    return True


def assert_sound(folder: Path) -> None:
    damage = [finding.sentence for finding in doctor(folder) if finding.severity == "damage"]
    assert not damage
    assert all(finding.repaired for finding in doctor(folder, repair=True))
    assert doctor(folder) == []


def disturb_workers(driver: Driver, *, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    done = 0
    while done < kills:
        done += kill_one_worker(driver, rng)


def test_three_kills_of_workers(start: Start, undisturbed: dict, tmp_path: Path):
    driver = start()
    disturb_workers(driver, kills=3, seed=0)
    assert driver.finish() == (0, "complete\n")
    assert results(tmp_path / "out") == undisturbed
    assert_sound(tmp_path / "out")


def test_kill_of_the_driver(start: Start, undisturbed: dict, tmp_path: Path):
    driver = start()
    driver.wait_for(driver.running)
    driver.process.kill()
    driver.finish()
    assert start().finish() == (0, "complete\n")
    assert results(tmp_path / "out") == undisturbed
    assert_sound(tmp_path / "out")


def test_two_drivers_on_one_store(start: Start, undisturbed: dict, tmp_path: Path):
    drivers = [start(workers=1), start(workers=1)]
    assert [driver.finish() for driver in drivers] == [(0, "complete\n")] * 2
    assert results(tmp_path / "out") == undisturbed
    assert_sound(tmp_path / "out")


@pytest.mark.sim
def test_twenty_kills_of_workers(start: Start, long_study: Path, long_undisturbed: dict, tmp_path: Path):
    driver = start(study=long_study)
    disturb_workers(driver, kills=20, seed=1)
    assert driver.finish() == (0, "complete\n")
    assert results(tmp_path / "out") == long_undisturbed
    assert_sound(tmp_path / "out")


@pytest.mark.sim
def test_five_kills_of_the_driver(start: Start, long_study: Path, long_undisturbed: dict, tmp_path: Path):
    rng = random.Random(2)
    for _ in range(5):
        driver = start(study=long_study)
        driver.wait_for(driver.running)
        time.sleep(rng.uniform(0.0, 0.5))
        driver.process.kill()
        driver.finish()
    assert start(study=long_study).finish() == (0, "complete\n")
    assert results(tmp_path / "out") == long_undisturbed
    assert_sound(tmp_path / "out")


def test_first_interrupt_drains(start: Start, tmp_path: Path):
    driver = start()
    driver.wait_for(driver.running)
    driver.process.send_signal(signal.SIGINT)
    assert driver.finish() == (0, "drained\n")
    with Store.open(tmp_path / "out") as store:
        counts = store.progress().counts
    assert counts[RunStatus.RUNNING] == 0 and counts[RunStatus.PENDING] > 0 and counts[RunStatus.DONE] > 0


def test_second_interrupt_stops_at_once(start: Start, tmp_path: Path):
    path = tmp_path / "endless.json"
    path.write_text(json.dumps(tiny_study(steps=10**7)))
    driver = start(study=path)
    driver.wait_for(lambda: len(driver.running()) == 2)
    driver.process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert driver.process.poll() is None
    driver.process.send_signal(signal.SIGINT)
    assert driver.finish() == (0, "stopped\n")
    with Store.open(tmp_path / "out") as store:
        assert store.progress().counts[RunStatus.RUNNING] == 0
