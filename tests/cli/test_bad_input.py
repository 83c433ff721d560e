"""Malformed studies and flags: one sentence that names file and field, exit code 2, never a traceback."""

import copy
import json
import os
import subprocess
import sys

import pytest

TINY = {
    "name": "tiny",
    "data": {"source": "gaussian"},
    "model": {"family": "mlp", "width": 8},
    "training": {"steps": 4, "warmup_steps": 1, "batch_size": 4},
    "panels": [
        {
            "axis": "width",
            "sizes": [8, 16],
            "seeds": [1, 1],
            "parametrizations": [{"name": "standard"}, {"name": "mup"}],
        }
    ],
    "recommend": {"name": "mup"},
}


def toml(value: object, prefix: str = "") -> str:
    """Inline TOML of plain data; enough for studies."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    return json.dumps(value)


def write(path, study: dict) -> None:
    path.write_text("\n".join(f"{key} = {toml(value)}" for key, value in study.items()))


def edited(place: str, value: object) -> dict:
    """TINY with one setting changed; `panels.0.sizes` and the like; None removes it."""
    study = copy.deepcopy(TINY)
    *parents, last = place.split(".")
    inner = study
    for part in parents:
        inner = inner[int(part)] if isinstance(inner, list) else inner.setdefault(part, {})
    if value is None:
        del inner[last]
    else:
        inner[int(last) if isinstance(inner, list) else last] = value
    return study


BAD_STUDIES = [
    ("name", None, "name"),
    ("name", "", "name"),
    ("name", 3, "name"),
    ("name", "../escape", "name"),
    ("panels", None, "panels"),
    ("panels", [], "panels"),
    ("panels", 7, "panels"),
    ("panels.0.axis", "heads", "axis"),
    ("panels.0.sizes", [8], "sizes"),
    ("panels.0.sizes", [16, 8], "sizes"),
    ("panels.0.sizes", [8, 8], "sizes"),
    ("panels.0.sizes", [0, 8], "sizes"),
    ("panels.0.sizes", ["a", 8], "sizes"),
    ("panels.0.sizes", [8.5, 9], "sizes"),
    ("panels.0.seeds", [1], "seeds"),
    ("panels.0.seeds", [0, 1], "seeds"),
    ("panels.0.seeds", [1, -1], "seeds"),
    ("panels.0.parametrizations", [], "parametrizations"),
    ("panels.0.parametrizations", ["mup"], "parametrizations"),
    ("panels.0.parametrizations", [{"name": "mup"}, {"name": "mup"}], "repeat"),
    ("panels.0.parametrizations", [{"name": "nup"}], "nup"),
    ("panels.0.parametrizations", [{"name": "depth_mup", "alpha": -1}], "alpha"),
    ("panels.0.parametrizations", [{"name": "meanfield", "gamma0": 0}], "gamma0"),
    ("panels.0.grid", {"count": 3}, "count"),
    ("panels.0.grid", {"step": 0}, "step"),
    ("panels.0.grid", {"step": 1e-12}, "step"),
    ("panels.0.grid", {"center": -2000, "low": -3000}, "center"),
    ("panels.0.grid", {"low": -6, "high": -6}, "fewer than 5 points"),
    ("panels.0.grid", {"center_slope": {"standrad": -1.0}}, "standrad"),
    ("panels.0.grid", {"center_slope": {"standard": 1e308}}, "center_slope"),
    ("panels.0.sizes", [True, 16], "sizes"),
    ("panels.0.grid", {"center": 9, "high": 4}, "center"),
    ("panels.0.color", "red", "color"),
    ("model.family", "rnn", "family"),
    ("model.width", 0, "width"),
    ("model.width", -4, "width"),
    ("model.width", "wide", "width"),
    ("model.activation", "swish", "activation"),
    ("model.head_dim", 16, "head_dim"),
    ("model", {"family": "transformer", "width": 32}, "head_dim"),
    ("model", {"family": "transformer", "width": 30, "head_dim": 16}, "30"),
    ("model", {"family": "transformer", "width": 32, "head_dim": 16}, "context"),
    ("model.num_inputs", 99, "num_inputs"),
    ("training.steps", 0, "steps"),
    ("training.steps", 1.5, "steps"),
    ("training.warmup_steps", 4, "warmup_steps"),
    ("training.batch_size", -1, "batch_size"),
    ("training.batch_size", 100_000_000_000, "batch_size"),
    ("training.steps", 10_000_000_000_000, "steps"),
    ("data", {"source": "teacher", "num_inputs": 1_000_000_000}, "num_inputs"),
    ("model.depth", 1_000_000, "depth"),
    ("training.schedule", "zigzag", "schedule"),
    ("training.clip_norm", 0, "clip_norm"),
    ("training.dtype", "float8", "dtype"),
    ("training.divergence_factor", 0.5, "divergence_factor"),
    ("training.optimizer", {"name": "adamx"}, "name"),
    ("training.optimizer", {"name": "adamw", "momentum": 0.9}, "momentum"),
    ("training.optimizer", {"name": "sgd", "eps": 1e-8}, "eps"),
    ("training.optimizer", {"betas": [0.9, 1.0]}, "betas"),
    ("training.optimizer", {"eps": 0}, "eps"),
    ("training.optimizer", {"weight_decay": -0.1}, "weight_decay"),
    ("data.source", "web", "source"),
    ("data", {"source": "text", "paths": ["missing.txt"]}, "missing.txt"),
    ("data", {"source": "text", "paths": []}, "paths"),
    ("data", {"source": "arrays", "path": "missing.npz"}, "missing.npz"),
    ("data", {"source": "gaussian", "noise_std": -1}, "noise_std"),
    ("data", {"source": "gaussian", "num_samples": 2}, "batch"),
    ("target", {"width": 0}, "target"),
    ("level", 1.0, "level"),
    ("time_budget_s", -5, "time_budget_s"),
    ("recommend", {"name": "best"}, "best"),
    ("first_seed", -1, "first_seed"),
    ("optimiser", {}, "optimiser"),
]


def complained(outcome, *words: str) -> None:
    """One line on stderr that names the words, exit code 2."""
    assert outcome.code == 2, outcome
    lines = outcome.err.strip().splitlines()
    assert "Traceback" not in outcome.err
    for word in words:
        assert word in outcome.err, outcome.err
    assert len(lines) == 1 or lines[0].startswith("Usage:"), outcome.err


@pytest.mark.parametrize(("place", "value", "word"), BAD_STUDIES, ids=lambda item: str(item)[:40])
def test_a_malformed_study_is_answered_by_one_sentence(limes, tmp_path, place: str, value: object, word: str) -> None:
    path = tmp_path / "study.toml"
    write(path, edited(place, value))
    complained(limes("transfer", "--study", path, "--out", tmp_path / "out"), word)
    assert not (tmp_path / "out").exists(), "nothing may be started"


def test_two_wrong_fields_are_both_named_as_the_file_spells_them(limes, tmp_path) -> None:
    study = edited("model.width", 0) | {"level": 2}
    write(tmp_path / "study.toml", study)
    complained(limes("sweep", tmp_path / "study.toml", "--dry-run"), " model.width:", "; level:")


def test_a_wrong_entry_of_a_list_is_not_also_called_missing(limes, tmp_path) -> None:
    write(tmp_path / "study.toml", edited("panels.0.grid", {"low": 0, "high": -5}))
    outcome = limes("sweep", tmp_path / "study.toml", "--dry-run")
    complained(outcome, "center")
    assert "or more entries" not in outcome.err


def test_a_pipe_is_no_study(limes, tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    complained(limes("sweep", tmp_path / "pipe", "--dry-run"), "regular file")


def test_a_dry_run_refuses_what_the_sweep_would(limes, tmp_path) -> None:
    write(tmp_path / "study.toml", edited("recommend", {"name": "best"}))
    complained(limes("sweep", tmp_path / "study.toml", "--dry-run"), "best", "completep")


@pytest.mark.parametrize("content", [b"name = ", b"\xff\xfe\x00", b"[" * 4000, b"", b"a = 1\na = 2"])
def test_a_file_that_is_no_study(limes, tmp_path, content: bytes) -> None:
    path = tmp_path / "study.toml"
    path.write_bytes(content)
    complained(limes("sweep", path, "--dry-run"), "study.toml")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["transfer", "--budget", "huge"], "huge"),
        (["transfer", "--target", "width"], "width"),
        (["transfer", "--target", "width=0"], "width=0"),
        (["transfer", "--target", "heads=8"], "heads"),
        (["transfer", "--target", "width=8,width=9"], "width"),
        (["transfer", "--target", "width=1000"], "1000"),
        (["transfer", "--target", "width=123456789"], "1000000"),
        (["transfer", "--seeds", "0"], "seeds"),
        (["transfer", "--workers", "0"], "workers"),
        (["transfer", "--workers", "two"], "workers"),
        (["transfer", "--set", "training.steps"], "training.steps"),
        (["transfer", "--set", "training.stepz=3"], "stepz"),
        (["transfer", "--set", "training.steps=ten"], "steps"),
        (["transfer", "--set", "panels.9.axis=depth"], "panels"),
        (["transfer", "--set", "name.x=1"], "name"),
        (["transfer", "--study", "nowhere.toml"], "nowhere.toml"),
        (["transfer", "--study", "."], "."),
        (["transfer", "--study", "x.toml", "--budget", "quick"], "exclude"),
        (["transfer", "--bugdet", "quick"], "bugdet"),
        (["sweep"], "STUDY"),
        (["sweep", "nowhere.toml"], "nowhere.toml"),
        (["transfer", "--set", "training.steps=30\nname='x'"], "one --set for each"),
        (["transfer", "--set", "panels.².axis=depth"], "index"),
        (["transfer", "--target", "width=64,depth=1000000"], "10000"),
        (["plan"], "target"),
        (["plan", "--target", "width=64", "--base", "width=33"], "33"),
        (["plan", "--target", "width=64", "--parametrization", "nup"], "nup"),
        (["plan", "--target", "width=64", "--lr", "-1"], "lr"),
        (["plan", "--target", "width=64", "--lr", "nan"], "lr"),
        (["show", "wonders"], "wonders"),
        (["fit", "nowhere.csv"], "nowhere.csv"),
        (["fit", "nowhere.csv", "--law", "murphy"], "murphy"),
        (["fit", "nowhere.csv", "--columns", "a"], "columns"),
        (["sweep", "study.toml", "--out", ""], "names no folder"),
        (["edge", "--out", "."], "is a folder"),
        (["spectrum", "--out", "no/such/x.html"], "there is no folder"),
        (["theory", "features", "--out", "."], "is a folder"),
        (["theory", "phases", "--out", "no/such/x.html"], "there is no folder"),
        (["frobnicate"], "frobnicate"),
    ],
    ids=lambda item: " ".join(item) if isinstance(item, list) else "",
)
def test_a_bad_flag_is_answered_by_one_sentence(limes, tmp_path, monkeypatch, arguments, word: str) -> None:
    monkeypatch.chdir(tmp_path)
    complained(limes(*arguments), word)
    assert list(tmp_path.iterdir()) == [], "nothing may be started"


@pytest.mark.parametrize("command", ["status", "report", "doctor"])
def test_a_folder_without_a_store_is_a_store_error(limes, tmp_path, command: str) -> None:
    outcome = limes(command, tmp_path / "nothing")
    assert outcome.code == 3 and "nothing" in outcome.err and "Traceback" not in outcome.err


def test_a_file_that_is_no_database_is_a_store_error(limes, tmp_path) -> None:
    (tmp_path / "limes.db").write_text("not a database at all, but long enough to be read as one" * 20)
    outcome = limes("status", tmp_path)
    assert outcome.code == 3 and len(outcome.err.strip().splitlines()) == 1


def test_a_file_where_a_folder_is_expected(limes, tmp_path) -> None:
    write(tmp_path / "study.toml", TINY)
    (tmp_path / "out").write_text("")
    outcome = limes("sweep", tmp_path / "study.toml", "--out", tmp_path / "out")
    assert outcome.code == 3 and "a folder was expected" in outcome.err


def test_help_and_version_work_in_a_process_of_their_own() -> None:
    for flag in ("--help", "--version"):
        done = subprocess.run([sys.executable, "-m", "limes", flag], capture_output=True, text=True)
        assert done.returncode == 0 and "limes" in done.stdout, done.stderr
