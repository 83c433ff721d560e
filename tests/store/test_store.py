"""The store: what is promised about freezing, claiming, recording and reading."""

import json
import multiprocessing
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from limes.core.errors import SpecError, StoreError
from limes.core.status import RunStatus
from limes.store import Member, NewRun, Store
from support.store_worker import claim_all, result


def new_run(key: str, cost: float = 1.0) -> NewRun:
    return NewRun(key=key, spec={"name": key}, cost=cost, steps=10, num_params=3, num_tokens=80, flops=1e6)


def member(key: str, log2_lr: float = -6.0, axis: str = "width", seed: int = 0) -> Member:
    return Member(axis=axis, parametrization="mup", size=32, seed=seed, log2_lr=log2_lr, key=key)


@pytest.fixture
def store(tmp_path: Path):
    with Store.create(tmp_path / "out") as store:
        yield store


def test_import_loads_no_torch():
    code = "import limes.store, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_record_and_read_back(store: Store):
    store.add_runs([new_run("a"), new_run("b")])
    assert store.add_members([member("a"), member("b", -5.0), member("a", axis="depth")]) == 3
    claim = store.claim("w")
    assert claim is not None and claim.spec == {"name": "a"}
    assert store.record(claim, result())
    rows = store.rows()
    assert [(row.axis, row.key, row.status, row.loss) for row in rows] == [
        ("depth", "a", RunStatus.DONE, 2.5),
        ("width", "a", RunStatus.DONE, 2.5),
        ("width", "b", RunStatus.PENDING, None),
    ]
    np.testing.assert_array_equal(store.curve("a")["train_loss"], result().curve["train_loss"])
    assert store.metrics("a") == {"train_loss": 2.6}
    assert store.spec("b") == {"name": "b"}
    with pytest.raises(StoreError, match="not finished"):
        store.curve("b")


def test_adding_twice_changes_nothing(store: Store):
    assert store.add_runs([new_run("a")]) == 1
    assert store.add_runs([new_run("a"), new_run("b")]) == 1
    assert store.add_members([member("a")]) == 1
    assert store.add_members([member("a")]) == 0
    with pytest.raises(StoreError, match="is run a in the store but b now"):
        store.add_members([member("b")])


def test_costliest_first_and_each_once(store: Store):
    store.add_runs([new_run("a", 1.0), new_run("b", 3.0), new_run("c", 2.0)])
    claims = [store.claim("w") for _ in range(4)]
    assert [claim and claim.key for claim in claims] == ["b", "c", "a", None]


def test_diverged_run_has_no_loss_and_counts_as_finished(store: Store):
    store.add_runs([new_run("a")])
    store.add_members([member("a")])
    assert store.record(store.claim("w"), result(None))
    (row,) = store.rows()
    assert (row.status, row.loss, row.diverged_step, row.last_finite_loss) == (RunStatus.DIVERGED, None, 3, 2.6)
    assert store.progress().finished == 1


def test_nan_never_enters(store: Store):
    store.add_runs([new_run("a")])
    claim = store.claim("w")
    with pytest.raises(ValueError, match="loss is nan"):
        store.record(claim, result(float("nan")))
    assert store.progress().counts[RunStatus.RUNNING] == 1
    assert store.record(claim, result(metrics={"bad": float("inf"), "good": 1.0}))
    assert store.metrics("a") == {"good": 1.0}


def test_stale_token_can_do_nothing(store: Store):
    store.add_runs([new_run("a")])
    store.add_members([member("a")])
    old = store.claim("slow", lease_s=-1.0)
    new = store.claim("quick")
    assert new is not None and new.key == old.key and new.token > old.token
    assert not store.heartbeat(old, step=5)
    assert not store.record(old, result(9.0))
    assert not store.save_checkpoint(old, b"x", step=3)
    assert store.fail(old, "boom") is None
    assert not store.release(old)
    assert store.record(new, result(2.0))
    assert not store.record(new, result(3.0))
    assert [row.loss for row in store.rows()] == [2.0]
    assert len(list((store.folder / "curves").iterdir())) == 1


def test_lease_of_a_dead_process_is_given_back_at_once(store: Store):
    store.add_runs([new_run("a")])
    code = "import sys, pathlib, limes.store as s; assert s.Store.open(pathlib.Path(sys.argv[1])).claim('w')"
    subprocess.run([sys.executable, "-c", code, str(store.folder)], check=True)
    assert store.progress().counts[RunStatus.RUNNING] == 1
    claim = store.claim("other")
    assert claim is not None and claim.key == "a" and claim.attempt == 1


def test_three_failures_put_a_run_into_quarantine(store: Store):
    store.add_runs([new_run("a")])
    statuses = [store.fail(store.claim("w"), f"error {i}") for i in range(3)]
    assert statuses == [RunStatus.FAILED, RunStatus.FAILED, RunStatus.QUARANTINED]
    assert store.claim("w") is None
    assert store.retry_quarantined() == 1
    assert store.claim("w") is not None


def test_dead_worker_with_error_counts_as_a_try(store: Store):
    store.add_runs([new_run("a")])
    for _ in range(3):
        store.claim("w")
        assert store.release_worker("w", error="signal 11") == 1
    assert store.progress().counts[RunStatus.QUARANTINED] == 1


def test_killed_worker_does_not_count_as_a_try(store: Store):
    store.add_runs([new_run("a")])
    for _ in range(5):
        store.claim("w")
        assert store.release_worker("w") == 1
    assert store.progress().counts[RunStatus.PENDING] == 1


def test_freeze_refuses_another_study_with_a_diff(store: Store):
    store.freeze({"name": "x", "training": {"steps": 200}, "sizes": (1, 2)})
    store.freeze({"name": "x", "training": {"steps": 200}, "sizes": [1, 2]})
    with pytest.raises(SpecError, match=r"(?s)another study.*- training.steps = 200\n\+ training.steps = 100"):
        store.freeze({"name": "x", "training": {"steps": 100}, "sizes": [1, 2]})
    assert store.study()["training"] == {"steps": 200}


def test_checkpoints_are_replaced_checked_and_removed(store: Store):
    store.add_runs([new_run("a")])
    claim = store.claim("w")
    assert store.load_checkpoint("a") is None
    store.save_checkpoint(claim, b"one", step=1)
    store.save_checkpoint(claim, b"two", step=2)
    assert store.load_checkpoint("a") == b"two"
    (file,) = (store.folder / "checkpoints").iterdir()
    file.write_bytes(b"twp")
    with pytest.raises(StoreError, match="damaged"):
        store.load_checkpoint("a")
    store.record(claim, result())
    assert not list((store.folder / "checkpoints").iterdir())


def test_progress_knows_cost_speed_and_running(store: Store):
    store.add_runs([new_run("a", 4.0), new_run("b", 2.0), new_run("c", 1.0)])
    store.record(store.claim("w"), result(wall_seconds=8.0))
    claim = store.claim("w")
    store.heartbeat(claim, step=5)
    progress = store.progress()
    assert (progress.total, progress.finished, progress.cost_done) == (3, 1, 4.0)
    assert progress.cost_left == pytest.approx(1.0 + 2.0 * 0.5)
    assert progress.seconds_left(2) == pytest.approx(2.0)
    assert [(run.key, run.step, run.steps) for run in progress.running] == [("b", 5, 10)]


@pytest.mark.parametrize("suffix", [".csv", ".json", ".parquet"])
def test_export(store: Store, tmp_path: Path, suffix: str):
    pandas = pytest.importorskip("pandas")
    store.add_runs([new_run("a"), new_run("b")])
    store.add_members([member("a"), member("b", -5.0)])
    store.record(store.claim("w"), result())
    path = tmp_path / f"table{suffix}"
    store.export(path)
    read = {".csv": pandas.read_csv, ".json": pandas.read_json, ".parquet": pandas.read_parquet}[suffix]
    table = read(path)
    assert list(table["key"]) == ["a", "b"] and list(table["status"]) == ["done", "pending"]
    assert table["loss"][0] == 2.5 and np.isnan(table["loss"][1])


def test_export_refuses_an_unknown_suffix(store: Store, tmp_path: Path):
    with pytest.raises(SpecError, match=r"'.xls' names no format"):
        store.export(tmp_path / "table.xls")


def test_not_a_store(tmp_path: Path):
    with pytest.raises(StoreError, match="no such file"):
        Store.open(tmp_path)
    (tmp_path / "limes.db").write_bytes(b"not a database, but long enough to have a header" * 100)
    with pytest.raises(StoreError, match="not a SQLite database"):
        Store.create(tmp_path)


def test_foreign_and_future_databases_are_refused(tmp_path: Path):
    connection = sqlite3.connect(tmp_path / "limes.db")
    connection.execute("CREATE TABLE other (x)")
    connection.close()
    with pytest.raises(StoreError, match="something else"):
        Store.create(tmp_path)
    Store.create(tmp_path / "new").close()
    connection = sqlite3.connect(tmp_path / "new" / "limes.db")
    connection.execute("UPDATE meta SET value = '99' WHERE name = 'schema_version'")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="schema version 99, but this limes reads version 1"):
        Store.open(tmp_path / "new")


def test_locked_database_is_one_sentence(store: Store, monkeypatch: pytest.MonkeyPatch):
    other = sqlite3.connect(store.folder / "limes.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store._connection.execute("PRAGMA busy_timeout = 10")
    with pytest.raises(StoreError, match="another process has held it"):
        store.set_note("a", "b")
    other.close()
    store.set_note("a", "b")
    assert store.note("a") == "b" and store.note("absent") is None


def test_folder_that_is_a_file(tmp_path: Path):
    (tmp_path / "out").write_text("")
    with pytest.raises(StoreError, match="a folder was expected"):
        Store.create(tmp_path / "out")


def test_read_only_handle_reads_while_another_writes_and_cannot_write(store: Store):
    store.add_runs([new_run("a")])
    with Store.open(store.folder, read_only=True) as reader:
        assert reader.progress().total == 1
        store.add_runs([new_run("b")])
        assert reader.progress().total == 2
        with pytest.raises(StoreError, match="cannot be written"):
            reader.set_note("a", "b")


def test_strange_folder_names(tmp_path: Path):
    folder = tmp_path / "50% a?b#c d"
    with Store.create(folder) as store:
        store.set_note("a", "b")
    with Store.open(folder, read_only=True) as store:
        assert store.note("a") == "b"


def test_four_processes_share_the_work_without_overlap(store: Store):
    store.add_runs([new_run(f"run{i:02d}") for i in range(24)])
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [context.Process(target=claim_all, args=(store.folder, queue)) for _ in range(4)]
    for worker in workers:
        worker.start()
    keys = [queue.get(timeout=60) for _ in range(24)]
    for worker in workers:
        worker.join()
    assert sorted(keys) == [f"run{i:02d}" for i in range(24)]
    assert store.progress().counts[RunStatus.DONE] == 24


def test_sidecar_holds_members_added_after_the_result(store: Store):
    store.add_runs([new_run("a")])
    store.add_members([member("a")])
    store.record(store.claim("w"), result())
    store.add_members([member("a", axis="depth")])
    sidecar = json.loads((store.folder / "sidecars" / "a.json").read_text())
    assert [item["axis"] for item in sidecar["members"]] == ["depth", "width"]
