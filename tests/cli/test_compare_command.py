"""`limes compare` on a tiny comparison, as a user runs it, and one sentence for every mistake."""

import json

import pytest

TINY = ("--data", "teacher", "--samples", 3, "--widths", "8,16,32", "--seeds", 4, "--gamma0", 1, "--steps", 4)


def test_training_theory_page_and_a_second_call_that_trains_nothing(limes, tmp_path) -> None:
    arguments = ("compare", *TINY, "--particles", 256, "--workers", 1, "--out", tmp_path, "--json")
    first = limes(*arguments)
    assert first.code == 0 and first.err == ""
    content = json.loads(first.out)
    assert content["counts"]["done"] == 12
    (gamma,) = content["gammas"]
    assert gamma["gamma0"] == pytest.approx(1.0) and len(gamma["limit_loss"]) == 5
    assert gamma["mean_loss"].keys() == {"8", "16", "32"}
    # Before the first update every network, and the limit, has the output 0.
    assert gamma["mean_loss"]["8"][0] == pytest.approx(gamma["limit_loss"][0], rel=1e-12)
    assert len(gamma["convergence"]) == 5 and gamma["spread"]["predicted"]
    assert json.loads((tmp_path / "comparison.json").read_text()) == content
    assert "Do trained networks" in (tmp_path / "comparison.html").read_text()

    again = limes(*arguments)
    assert json.loads(again.out) == content
    changed = limes("compare", *TINY, "--particles", 256, "--lr", 0.1, "--out", tmp_path)
    assert changed.code == 2 and "- lr = 0.3" in changed.err and "+ lr = 0.1" in changed.err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--widths", "8,16"], "widths"),
        (["--widths", "8,sixteen,32"], "sixteen"),
        (["--widths", "8,16.5,32"], "whole numbers"),
        (["--widths", "1,8,16"], "widths"),
        (["--gamma0", "0"], "lazy limit"),
        (["--gamma0", "nan"], "finite"),
        (["--seeds", "2"], "seeds"),
        (["--steps", "1"], "steps"),
        (["--lr", "0"], "lr"),
        (["--momentum", "1"], "momentum"),
        (["--activation", "swish"], "activation"),
        (["--data", "web"], "web"),
        (["--data", "missing.npz"], "missing.npz"),
        (["--data", "data.npz", "--samples", "3"], "leave --samples out"),
        (["--samples", "2000"], "1438"),
        (["--particles", "1"], "particles"),
    ],
    ids=lambda item: " ".join(item) if isinstance(item, list) else "",
)
def test_a_mistake_is_answered_by_one_sentence(limes, tmp_path, arguments: list[str], word: str) -> None:
    outcome = limes("compare", *arguments, "--out", tmp_path / "out")
    assert outcome.code == 2 and word in outcome.err and "Traceback" not in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists(), "nothing may be started"
