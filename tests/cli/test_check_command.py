"""`limes check` on a user's own file, and `limes abc`."""

import json

import pytest

MODEL = '''
"""A model of somebody else."""
import torch
from torch import nn


def build(width, depth=2):
    layers = [layer for _ in range(depth) for layer in (nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(nn.Linear(8, width), nn.ReLU(), *layers, nn.Linear(width, 5))


def batch():
    return torch.eye(8), torch.arange(8) % 5


def loss(output, targets):
    return nn.functional.cross_entropy(output, targets, label_smoothing=0.1)


small = {"width": 64}
broken = None
'''


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A folder with the model, which is also the current one."""
    (tmp_path / "my_model.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_check_that_passes_writes_its_page_and_exits_with_zero(limes, model) -> None:
    outcome = limes(
        "check", "my_model.py:build", "--base", "my_model.py:small", "--target", "width=256",
        "--parametrization", "mup", "--batch", "my_model.py:batch", "--loss", "my_model.py:loss",
        "--report", "check.html",
    )  # fmt: skip
    assert outcome.code == 0, outcome
    assert "passes" in outcome.out
    page = (model / "check.html").read_text()
    assert "Yes, mup along the width from 64 to 256" in page and "https://" not in page.partition("<script")[0]


def test_a_check_that_fails_exits_with_one_and_says_why(limes, model) -> None:
    outcome = limes(
        "check",
        "my_model.py:build",
        "--widths",
        "64,128,256",
        "--parametrization",
        "standard",
        "--seeds",
        "3",
        "--json",
    )
    assert outcome.code == 1
    content = json.loads(outcome.out)
    assert content["verdict"] == "fails"
    assert "hidden learning rate" in {cause["setting"] for cause in content["axes"][0]["causes"]}
    assert content["axes"][0]["sizes"] == ["64", "128", "256"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["my_model.py", "--widths", "8,16,32"], "my_model.py:name"),
        (["other.py:build", "--widths", "8,16,32"], "other.py"),
        (["my_model.py:nothing", "--widths", "8,16,32"], "nothing"),
        (["my_model.py:broken", "--widths", "8,16,32"], "NoneType"),
        (["no.such.module:build", "--widths", "8,16,32"], "no.such.module"),
        (["my_model.py:build"], "--base"),
        (["my_model.py:build", "--base", "8"], "--target"),
        (["my_model.py:build", "--target", "8"], "--base"),
        (["my_model.py:build", "--base", "eight", "--target", "16"], "eight"),
        (["my_model.py:build", "--base", "width=x", "--target", "width=16"], "width=x"),
        (["my_model.py:build", "--base", "height=8", "--target", "height=64"], "height"),
        (["my_model.py:build", "--widths", "8"], "8"),
        (["my_model.py:build", "--widths", "16,8,4"], "growing"),
        (["my_model.py:build", "--widths", "8,16"], "three"),
        (["my_model.py:build", "--widths", "8,16,32", "--depths", "1,2,3"], "--base"),
        (["my_model.py:build", "--widths", "8,16,32", "--parametrization", "nup"], "nup"),
        (["my_model.py:build", "--widths", "8,16,32", "--optimizer", "adamx"], "adamx"),
        (["my_model.py:build", "--widths", "8,16,32", "--lr", "nan"], "lr"),
        (["my_model.py:build", "--widths", "8,16,32", "--batch", "my_model.py:nothing"], "nothing"),
        (["my_model.py:build", "--widths", "8,16,32", "--report", "no/folder/check.html"], "folder"),
    ],
    ids=lambda item: " ".join(item) if isinstance(item, list) else "",
)
def test_a_bad_check_is_answered_by_one_sentence(limes, model, arguments, word: str) -> None:
    outcome = limes("check", *arguments)
    assert outcome.code == 2, outcome
    assert word in outcome.err and "Traceback" not in outcome.err
    lines = outcome.err.strip().splitlines()
    assert len(lines) == 1 or lines[0].startswith("Usage:"), outcome


def test_abc_names_the_limits(limes) -> None:
    outcome = limes("abc")
    assert outcome.code == 0
    assert all(word in outcome.out for word in ("mup", "ntk", "meanfield", "standard", "learns features", "lazy"))


def test_abc_solves(limes) -> None:
    outcome = limes("abc", "--optimizer", "sgd", "--feature-change", "1/2", "--output-init", "0", "--json")
    content = json.loads(outcome.out)["solved"]
    assert content["lazy"] and content["c"] == {"input": "0", "hidden": "1", "output": "1"}


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--optimizer", "lion"], "lion"),
        (["--feature-change", "half"], "half"),
        (["--feature-change", "-1"], "negative"),
        (["--multipliers", "output"], "output"),
        (["--multipliers", "last=1"], "last"),
    ],
)
def test_a_bad_abc_is_answered_by_one_sentence(limes, arguments, word: str) -> None:
    outcome = limes("abc", *arguments)
    assert outcome.code == 2 and word in outcome.err and len(outcome.err.strip().splitlines()) == 1, outcome
