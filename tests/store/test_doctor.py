"""`doctor`: every kind of damage is found, told in a sentence, and repaired without inventing a result."""

import json
from pathlib import Path

import numpy as np
import pytest

from limes.core.errors import StoreError
from limes.core.status import RunStatus
from limes.store import Member, NewRun, RunResult, Store, doctor

STUDY = {"name": "x", "training": {"steps": 10}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Store.create(tmp_path) as store:
        store.freeze(STUDY)
        for i, key in enumerate("abc"):
            store.add_runs(
                [NewRun(key=key, spec={"k": key}, cost=3.0 - i, steps=10, num_params=1, num_tokens=10, flops=1.0)]
            )
            store.add_members([Member(axis="width", parametrization="mup", size=8, seed=0, log2_lr=float(-i), key=key)])
        for loss in (1.5, 2.5):
            store.record(
                store.claim("w"),
                RunResult(
                    status=RunStatus.DONE,
                    loss=loss,
                    initial_loss=4.0,
                    diverged_step=None,
                    last_finite_loss=loss,
                    cpu_seconds=1.0,
                    wall_seconds=1.0,
                    metrics={"m": loss},
                    curve={"train_loss": np.array([4.0, loss])},
                ),
            )
    return tmp_path


def table(folder: Path) -> list:
    with Store.open(folder) as store:
        return store.rows()


def curve_file(folder: Path, key: str) -> Path:
    (path,) = (folder / "curves").glob(f"{key}.*")
    return path


def test_sound_store_has_no_findings(folder: Path):
    assert doctor(folder) == []


def test_empty_folder_is_refused(tmp_path: Path):
    with pytest.raises(StoreError, match=r"neither limes.db nor study.json"):
        doctor(tmp_path)


@pytest.mark.parametrize("content", [b"", b"garbage" * 1000, None])
def test_lost_database_is_rebuilt_from_sidecars(folder: Path, content: bytes | None):
    before = [row for row in table(folder) if row.status is RunStatus.DONE]
    if content is None:
        (folder / "limes.db").unlink()
    else:
        (folder / "limes.db").write_bytes(content)
    (finding,) = doctor(folder)
    assert finding.severity == "damage" and not finding.repaired
    assert doctor(folder, repair=True)[0].repaired
    assert table(folder) == before
    with Store.open(folder) as store:
        assert store.study() == STUDY and store.metrics("b") == {"m": 2.5}
        assert store.curve("a")["train_loss"].tolist() == [4.0, 1.5]
    assert doctor(folder) == []


def test_damaged_curves_send_the_run_back(folder: Path):
    path = curve_file(folder, "a")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    (finding,) = doctor(folder)
    assert "damaged" in finding.sentence and not finding.repaired
    with Store.open(folder) as store, pytest.raises(StoreError, match="damaged"):
        store.curve("a")
    doctor(folder, repair=True)
    assert doctor(folder) == []
    assert {row.key: row.status for row in table(folder)}["a"] is RunStatus.PENDING


def test_damaged_sidecar_is_rewritten_and_not_believed(folder: Path):
    path = folder / "sidecars" / "a.json"
    content = json.loads(path.read_text())
    content["result"]["loss"] = 0.1
    path.write_text(json.dumps(content))
    (finding,) = doctor(folder, repair=True)
    assert "not an intact sidecar" in finding.sentence and finding.repaired
    assert json.loads(path.read_text())["result"]["loss"] == 1.5
    path.write_text(json.dumps(content))
    (folder / "limes.db").unlink()
    doctor(folder, repair=True)
    assert [row.key for row in table(folder)] == ["b"]


def test_missing_sidecar_and_study_are_written_again(folder: Path):
    (folder / "sidecars" / "b.json").unlink()
    (folder / "study.json").unlink()
    assert len(doctor(folder)) == 2
    doctor(folder, repair=True)
    assert doctor(folder) == [] and json.loads((folder / "study.json").read_text()) == STUDY


def test_debris_is_removed(folder: Path):
    (folder / "curves" / "zzz.7.safetensors").write_bytes(b"x")
    (folder / "curves" / ".a.5.safetensors.99.tmp").write_bytes(b"x")
    findings = doctor(folder)
    assert [finding.severity for finding in findings] == ["debris", "debris"]
    doctor(folder, repair=True)
    assert doctor(folder) == []


def test_damaged_checkpoint_is_forgotten(folder: Path):
    with Store.open(folder) as store:
        claim = store.claim("w")
        store.save_checkpoint(claim, b"state", step=3)
    next((folder / "checkpoints").iterdir()).write_bytes(b"stat")
    (finding,) = doctor(folder, repair=True)
    assert "will start from its beginning" in finding.sentence
    with Store.open(folder) as store:
        assert store.load_checkpoint("c") is None
        store.release(claim)
    assert doctor(folder) == []


def test_quarantined_run_is_told_with_its_error(folder: Path):
    with Store.open(folder) as store:
        for _ in range(3):
            store.fail(store.claim("w"), "Traceback\nValueError: bad thing")
    (finding,) = doctor(folder)
    assert finding.severity == "note" and finding.sentence.endswith("ValueError: bad thing")


def test_an_unreadable_study_in_the_database_is_taken_from_its_file(folder: Path):
    with Store.open(folder) as store:
        store.set_note("study", "{")
        with pytest.raises(StoreError, match="doctor --repair"):
            store.study()
    (finding,) = doctor(folder)
    assert finding.severity == "damage" and "study.json has it" in finding.sentence
    doctor(folder, repair=True)
    assert doctor(folder) == []
    with Store.open(folder) as store:
        assert store.study() == STUDY
