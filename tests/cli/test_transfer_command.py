"""The main job on a tiny study, as a user runs it."""

import json
import shutil

import pytest
import torch
from torch import nn

from limes import load_recommendation
from limes.core.errors import SpecError
from limes.parametrize import group_parameters, init_tensors_

STUDY = """
name = "tiny"
[data]
source = "teacher"
num_inputs = 8
[model]
family = "resmlp"
width = 8
depth = 2
[training]
steps = 30
warmup_steps = 3
batch_size = 32
[recommend]
name = "completep"
[target]
width = 64
depth = 8
[[panels]]
axis = "width"
sizes = [8, 16, 32]
seeds = [2, 1, 1]
parametrizations = [{ name = "standard" }, { name = "mup" }, { name = "completep" }]
grid = { center = -4, count = 5 }
[[panels]]
axis = "depth"
sizes = [2, 4]
seeds = [1, 1]
parametrizations = [{ name = "mup" }, { name = "completep" }]
grid = { center = -4, count = 5 }
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder in which the tiny study has been run once, and what was printed."""
    folder = tmp_path_factory.mktemp("transfer")
    (folder / "study.toml").write_text(STUDY)
    with pytest.MonkeyPatch.context() as patch:
        import sys

        from limes.cli.main import run

        arguments = ["limes", "transfer", "--study", str(folder / "study.toml"), "--out", str(folder / "out")]
        patch.setattr(sys, "argv", [*arguments, "--workers", "2"])
        with pytest.raises(SystemExit) as exit_info:
            run()
    assert exit_info.value.code in (0, None)
    return folder


def test_the_verdict_file_holds_what_it_promises(finished) -> None:
    verdict = json.loads((finished / "out" / "verdict.json").read_text())
    assert {"panels", "recommendation", "forecast", "status"} <= verdict.keys()
    assert verdict["status"] == "complete" and "Student-t" in verdict["rule"]
    assert verdict["loss_unit"] == "half squared error"
    names = {
        "axis",
        "parametrization",
        "sizes",
        "log2_optimal_lr",
        "intervals",
        "best_loss",
        "drift_octaves",
        "drift_interval",
        "verdict",
        "transfer_regret",
    }
    assert len(verdict["panels"]) == 5
    for panel in verdict["panels"]:
        assert names <= panel.keys()
        assert len(panel["log2_optimal_lr"]) == len(panel["sizes"]) == len(panel["best_loss"])
    rows = verdict["recommendation"]["tensors"]
    assert {"name", "role", "init_std", "lr", "weight_decay", "eps", "multiplier", "why"} <= rows[0].keys()
    assert sum("branch" in row["name"] or "block" in row["name"] for row in rows) >= 8


def test_panels_share_runs_and_a_second_call_trains_nothing(limes, finished) -> None:
    before = json.loads((finished / "out" / "verdict.json").read_text())
    outcome = limes("transfer", "--study", finished / "study.toml", "--out", finished / "out", "--json")
    assert outcome.code == 0
    after = json.loads(outcome.out)
    assert after["panels"] == before["panels"] and after["counts"] == before["counts"]
    # At the base depth completep is mup, and at the base all are one: fewer runs than points.
    members = sum(len(json.loads(limes_rows)) for limes_rows in [exported(limes, finished)])
    assert sum(after["counts"].values()) < members


def exported(limes, folder) -> str:
    path = folder / "rows.json"
    assert limes("export", folder / "out", path).code == 0
    return path.read_text()


def test_an_edited_study_is_refused_with_the_difference(limes, finished) -> None:
    outcome = limes(
        "transfer", "--study", finished / "study.toml", "--set", "training.steps=31", "--out", finished / "out"
    )
    assert outcome.code == 2
    assert "- training.steps = 30" in outcome.err and "+ training.steps = 31" in outcome.err


def test_report_answers_for_another_target_without_training(limes, finished) -> None:
    outcome = limes("report", finished / "out", "--target", "width=128", "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out)["recommendation"]["target"] == {"width": 128, "depth": 2}
    assert (finished / "out" / "report.html").stat().st_size < 8e6


def test_a_target_that_cannot_be_planned_is_refused_and_forgotten(limes, finished) -> None:
    before = json.loads((finished / "out" / "verdict.json").read_text())
    assert limes("report", finished / "out", "--target", "width=64,depth=20000").code == 2
    assert limes("report", finished / "out").code == 0
    after = json.loads((finished / "out" / "verdict.json").read_text())
    assert after["recommendation"]["target"] == before["recommendation"]["target"]


def test_a_report_needs_no_data(limes, finished, monkeypatch) -> None:
    monkeypatch.setattr("limes.sweep.build.build_data", lambda *_, **__: pytest.fail("the data were read"))
    assert limes("report", finished / "out").code == 0


def test_the_recommendation_can_be_loaded_and_applied(finished) -> None:
    settings = load_recommendation(finished / "out" / "verdict.json")
    tensors = {name: nn.Parameter(torch.zeros(8, 8)) for name in settings}
    holder = nn.Module()
    for name, tensor in tensors.items():
        holder.register_parameter(name.replace(".", "-"), tensor)
    renamed = {name.replace(".", "-"): entry for name, entry in settings.items()}
    init_tensors_(holder, renamed, seed=0)
    groups = group_parameters(holder, renamed, optimizer="adamw")
    assert sum(len(group["params"]) for group in groups) == len(settings) >= 6
    assert all(group["lr"] > 0 for group in groups)
    with pytest.raises(SpecError, match="no recommendation"):
        load_recommendation(finished / "out" / "study.json")


def test_a_rebuild_that_lost_curves_is_not_called_complete(limes, finished, tmp_path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished / "out", copy)
    (copy / "limes.db").unlink()
    for path in (copy / "sidecars").glob("*.json"):
        if '"size": 32' in path.read_text() or '"size":32' in path.read_text():
            path.unlink()
    assert limes("doctor", copy, "--repair").code == 0
    outcome = limes("report", copy, "--json")
    verdict = json.loads(outcome.out)
    assert outcome.code == 1 and verdict["status"] == "incomplete"
    assert any("not in the store" in note for note in verdict["notes"])
    assert all(panel["drift_octaves"] is None for panel in verdict["panels"] if panel["axis"] == "width")


def test_status_doctor_and_dry_run(limes, finished) -> None:
    assert "done" in limes("status", finished / "out").out
    assert limes("doctor", finished / "out").out.strip() == "The store is whole."
    outcome = limes("sweep", finished / "study.toml", "--dry-run")
    assert outcome.code == 0 and "distinct runs" in outcome.out and "FLOPs" in outcome.out


def test_plan_prints_the_table_and_its_json(limes) -> None:
    assert "completep" in limes("show").out
    outcome = limes("plan", "--target", "width=64,depth=4", "--parametrization", "mup", "--json")
    assert outcome.code == 0
    rows = {row["name"]: row for row in json.loads(outcome.out)["tensors"]}
    assert {row["role"] for row in rows.values()} >= {"embedding", "hidden", "readout"}
    assert limes("plan", "--target", "width=64,depth=4").code == 0
