"""`limes failures`, in miniature: the answer, the page, and what it refuses."""

import json
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from limes.compare import failure_cases, failures
from limes.compare.failure_cases import FAILURES

TINY = {name: replace(case, broken=replace(case.broken, steps=24), every=4) for name, case in FAILURES.items()}


def test_the_command_and_its_page(limes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for module in (failures, failure_cases):
        monkeypatch.setattr(module, "FAILURES", MappingProxyType(TINY))
    outcome = limes("failures", "--only", "attention_logits,memorized_text", "--seeds", "2", "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)["failures"]
    assert [(one["failure"], one["seed"]) for one in found] == [
        ("attention_logits", 0),
        ("attention_logits", 1),
        ("memorized_text", 0),
        ("memorized_text", 1),
    ]
    assert set(found[0]["cost_with"]) == {"QK-norm"} and found[0]["cost"] > 0
    page = (tmp_path / "failures.html").read_text()
    assert "Attention logits grow" in page and "QK-norm" in page and "The sign" in page
    told = limes("failures", "--only", "attention_logits")
    assert told.code == 0 and "Attention logits grow: " in told.out and "failures.html" in told.out
    for arguments, words in (
        (("--only", "bad_luck"), "expected some of"),
        (("--only", ""), "expected some of"),
        (("--seeds", "0"), "seeds"),
        (("--out", "nowhere/a.html"), "no folder"),
    ):
        refused = limes("failures", *arguments)
        assert refused.code == 2 and words in refused.err, refused.err
