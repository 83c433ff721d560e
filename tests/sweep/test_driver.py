"""`run_sweep` in this process: complete, idempotent, extending, and equal to runs done by hand."""

from pathlib import Path

import pytest

from limes.core.errors import SpecError
from limes.core.status import RunStatus
from limes.spec import RunSpec, StudySpec
from limes.store import OVER_BUDGET, NewRun, Store
from limes.sweep import SweepView, build_run, expand, run_sweep
from limes.sweep.worker import Worker, main
from limes.train import train


def study(**changes: object) -> StudySpec:
    panel = {
        "axis": "width",
        "sizes": [4, 8],
        "seeds": [1, 1],
        "parametrizations": [{"name": "standard"}, {"name": "mup"}],
        "grid": {"center": -4, "low": -9, "high": 1},
    }
    content = {
        "name": "x",
        "data": {"source": "teacher", "num_inputs": 4},
        "model": {"family": "mlp", "width": 4, "depth": 1},
        "training": {"steps": 30, "warmup_steps": 2, "batch_size": 8},
        "panels": [panel],
    }
    return StudySpec.model_validate(content | changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[SweepView]]:
    folder = tmp_path_factory.mktemp("sweep") / "out"
    views: list[SweepView] = []
    outcome = run_sweep(study(), folder, workers=2, progress=views.append)
    assert outcome.status == "complete" and outcome.num_failed == 0 and outcome.num_reused == 0
    return folder, views


def test_every_run_equals_one_done_by_hand(finished: tuple[Path, list[SweepView]]):
    with Store.open(finished[0]) as store:
        rows = store.rows()
        for key in sorted({row.key for row in rows})[:4]:
            spec = RunSpec.model_validate(store.spec(key))
            trace = train(*build_run(spec), spec.training)
            (loss,) = {row.loss for row in rows if row.key == key}
            assert loss == trace.validation_loss
            assert (store.curve(key)["train_loss"] == trace.train_loss).all()


def test_points_of_the_study_are_there_and_grids_were_extended(finished: tuple[Path, list[SweepView]]):
    with Store.open(finished[0]) as store:
        rows = store.rows()
        assert store.note("torch") and store.note("limes") and store.note("python")
    found = {(row.parametrization, row.size, row.log2_lr) for row in rows}
    assert {(x.member.parametrization, x.member.size, x.member.log2_lr) for x in expand(study())} < found
    assert all(row.status in (RunStatus.DONE, RunStatus.DIVERGED) for row in rows)
    assert all(-9 <= row.log2_lr <= 1 for row in rows)
    last = finished[1][-1]
    assert last.progress.finished == last.progress.total and last.added == len(rows) - 20


def test_second_call_does_nothing(finished: tuple[Path, list[SweepView]]):
    with Store.open(finished[0]) as store:
        before = store.rows()
    outcome = run_sweep(study(), finished[0], workers=2)
    assert outcome.num_reused == outcome.progress.total and outcome.num_added == 0
    with Store.open(finished[0]) as store:
        assert store.rows() == before


def test_edited_study_is_refused_with_a_diff(finished: tuple[Path, list[SweepView]]):
    edited = study(training={"steps": 31, "warmup_steps": 2, "batch_size": 8})
    with pytest.raises(SpecError, match=r"- training.steps = 30\n\+ training.steps = 31"):
        run_sweep(edited, finished[0])


def test_worker_alone_does_what_is_there_and_ends(tmp_path: Path):
    with Store.create(tmp_path) as store:
        store.add_runs([item.new_run() for item in expand(study())[:2]])
    assert main([str(tmp_path)]) == 0
    with Store.open(tmp_path) as store:
        assert store.progress().counts[RunStatus.DONE] == 2


def test_worker_says_in_one_sentence_that_there_is_no_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([str(tmp_path / "absent")]) == 3
    assert "there is no such file" in capsys.readouterr().err


def test_failing_run_is_tried_three_times_and_others_go_on(tmp_path: Path):
    good = expand(study())[0].new_run()
    bad = NewRun(key="bad", spec={"nonsense": 1}, cost=99.0, steps=1, num_params=1, num_tokens=1, flops=1.0)
    with Store.create(tmp_path) as store:
        store.add_runs([bad, good])
        Worker(store, name="w").run()
        counts = store.progress().counts
        assert (counts[RunStatus.DONE], counts[RunStatus.QUARANTINED]) == (1, 1)


def test_leaving_worker_takes_no_new_run(tmp_path: Path):
    with Store.create(tmp_path) as store:
        store.add_runs([expand(study())[0].new_run()])
        worker = Worker(store, name="w")
        worker.leave()
        worker.run()
        assert store.progress().counts[RunStatus.PENDING] == 1


def test_orphan_leaves(tmp_path: Path):
    with Store.create(tmp_path) as store:
        store.add_runs([expand(study())[0].new_run()])
        Worker(store, name="w", driver_pid=1).run()
        assert store.progress().counts[RunStatus.PENDING] == 1


def test_time_budget_stops_extension(tmp_path: Path):
    outcome = run_sweep(study(time_budget_s=1e-3), tmp_path / "out", workers=1)
    assert outcome.status == "complete" and outcome.num_added == 0
    with Store.open(outcome.folder) as store:
        assert int(store.note(OVER_BUDGET)) > 0, "the report must be able to say what was left out"


@pytest.mark.parametrize("damage", ["none", "flip", "truncate", "remove"])
def test_run_goes_on_from_its_checkpoint_or_starts_again(tmp_path: Path, damage: str, capsys):
    spec = expand(study())[0]
    reference = train(*build_run(spec.spec), spec.spec.training)
    with Store.create(tmp_path) as store:
        store.add_runs([spec.new_run()])
        claim = store.claim("w")

        def save(done: int, capture) -> None:
            if done == 11:
                store.save_checkpoint(claim, capture().to_bytes(), step=done)

        train(*build_run(spec.spec), spec.spec.training, checkpoint=save, on_step=lambda step, _: step == 10)
        store.release(claim)
        (file,) = (tmp_path / "checkpoints").iterdir()
        data = bytearray(file.read_bytes())
        if damage == "flip":
            data[len(data) // 2] ^= 4
        file.write_bytes(data[: len(data) // 2] if damage == "truncate" else data)
        if damage == "remove":
            file.unlink()
        Worker(store, name="w").run()
        curve = store.curve(spec.spec.key)
        assert (curve["train_loss"] == reference.train_loss).all()
    assert ("starts from its beginning" in capsys.readouterr().err) == (damage != "none")
