"""The commands of solved theories: numbers, folder, resumption after a kill, one sentence for every mistake."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from limes.theory.solvable import LinearAttentionProblem, solve_linear_attention

QUICK = {
    "linear-attention": ("--sizes", "4", "--draws", 2),
    "gaussian-mixture": ("--sizes", "40", "--draws", 2),
    "quadratic-network": ("--sizes", "10", "--draws", 2, "--longest", 3),
    "balanced-linear": ("--sizes", "4", "--draws", 2, "--depth", 2, "--longest", 3),
    "ridge": ("--modes", 20, "--samples", 8, "--widths", 4, "--draws", 2),
    "feature-learning": ("--sizes", "10", "--draws", 2, "--modes", 5, "--gamma", 1, "--longest", 2),
}


@pytest.mark.parametrize("name", sorted(QUICK))
def test_simulated_beside_the_theory_with_table_json_and_page(limes, tmp_path, name: str) -> None:
    outcome = limes("theory", name, "--simulate", *QUICK[name], "--out", tmp_path, "--json")
    assert outcome.code == 0 and outcome.err == ""
    content = json.loads(outcome.out)
    assert content["theory"] == name and content == json.loads((tmp_path / f"{name}.json").read_text())
    rows = list(csv.DictReader((tmp_path / f"{name}.csv").read_text().splitlines()))
    simulated = [row for row in rows if row["simulated"]]
    assert simulated and all(float(row["standard_error"]) > 0 for row in simulated)
    page = (tmp_path / f"{name}.html").read_text()
    assert "95% intervals" in page and "https://" not in page.split('id="payload"')[0]
    # Again in the same folder: nothing is drawn, everything is the same.
    lines = (tmp_path / "draws.jsonl").read_text()
    again = limes("theory", name, "--simulate", *QUICK[name], "--out", tmp_path, "--json")
    assert again.out == outcome.out and (tmp_path / "draws.jsonl").read_text() == lines


def test_the_numbers_are_those_of_the_solver(limes) -> None:
    outcome = limes("theory", "linear-attention", "--tasks", 0.5, "--ridge", 0.3, "--json")
    content = json.loads(outcome.out)
    curve = content["panels"][0]["curves"][0]
    problem = LinearAttentionProblem(
        context_ratio=2.0, task_ratio=0.5, sequence_ratio=curve["x"][7], noise_var=0.1, ridge=0.3
    )
    assert curve["theory"][7] == pytest.approx(solve_linear_attention(problem).icl_error, rel=1e-12)
    assert content["settings"]["ridge"] == 0.3 and "points" not in curve


def test_a_killed_simulation_goes_on_where_it_was(tmp_path) -> None:
    arguments = ("theory", "ridge", "--simulate", "--modes", "150", "--draws", "30", "--out", str(tmp_path), "--json")
    command = [sys.executable, "-m", "limes", *arguments]
    ledger = tmp_path / "draws.jsonl"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (ledger.exists() and ledger.read_bytes().count(b"\n") >= 3):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = ledger.read_text().splitlines()
    assert len(before) >= 3 and not (tmp_path / "ridge.html").exists()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    after = ledger.read_text().splitlines()
    assert after[: len(before) - 1] == before[:-1] and len(set(after)) == len(after) > len(before)
    assert (tmp_path / "ridge.html").exists()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["linear-attention", "--ridge", "-1"], "ridge is -1"),
        (["linear-attention", "--context", "0"], "context_ratio is 0"),
        (["linear-attention", "--noise", "nan"], "noise_var is nan"),
        (["linear-attention", "--sequences", "1", "--ridge", "0"], "infinite"),
        (["linear-attention", "--sizes", "8"], "add --simulate"),
        (["linear-attention", "--simulate", "--sizes", "8,12"], "at least 3 of them"),
        (["linear-attention", "--simulate", "--sizes", "5", "--draws", "2"], "choose a dim"),
        (["linear-attention", "--simulate", "--draws", "1"], "draws"),
        (["gaussian-mixture", "--weights", "1,1"], "sum 1"),
        (["gaussian-mixture", "--weights", "half"], "half"),
        (["gaussian-mixture", "--weights", "0.2,0.2,0.2,0.2,0.2"], "5 classes"),
        (["gaussian-mixture", "--separation", "-1"], "separation is -1"),
        (["gaussian-mixture", "--ridge", "0"], "ridge is 0"),
        (["quadratic-network", "--units", "0"], "units"),
        (["quadratic-network", "--lr", "0"], "lr is 0"),
        (["quadratic-network", "--start", "0.9"], "make cross_overlap smaller"),
        (["quadratic-network", "--longest", "inf"], "longest is inf"),
        (["quadratic-network", "--longest", "1e9"], "longest is 1000000000.0"),
        (["balanced-linear", "--strengths", "0"], "above 0"),
        (["balanced-linear", "--start", "1"], "half the smallest strength"),
        (["balanced-linear", "--start", "-1"], "start is -1"),
        (["balanced-linear", "--longest", "-3"], "at least 0"),
        (["linear-attention", "--simulate", "--sizes", "400"], "at most 4"),
        (["gaussian-mixture", "--simulate", "--sizes", "100000"], "at most 4"),
        (["quadratic-network", "--simulate", "--sizes", "100000000"], "at most 4"),
        (["balanced-linear", "--simulate", "--sizes", "400"], "at most 4"),
        (["feature-learning", "--simulate", "--sizes", "10000000"], "at most 4"),
        (["ridge", "--simulate", "--samples", "10000000"], "at most 4"),
        (["ridge", "--a", "1"], "a is 1"),
        (["ridge", "--widths", "0"], "above 0"),
        (["ridge", "--modes", "100000", "--simulate"], "at most 5000"),
        (["ridge", "--ridge", "-0.1"], "ridge is -0.1"),
        (["feature-learning", "--gamma", "-1"], "of at least 0"),
        (["feature-learning", "--gamma", "x"], "numbers separated by commas"),
        (["feature-learning", "--longest", "0.1"], "longest is 0.1"),
        (["feature-learning", "--modes", "500", "--simulate"], "at most 200"),
        (["feature-learning", "--b", "0.5"], "b is 0.5"),
    ],
    ids=lambda item: " ".join(item) if isinstance(item, list) else "",
)
def test_a_mistake_is_answered_by_one_sentence(limes, arguments: list[str], word: str) -> None:
    outcome = limes("theory", *arguments)
    assert outcome.code == 2 and word in outcome.err and "Traceback" not in outcome.err and outcome.out == ""


def test_divergence_ends_with_one_and_a_file_is_no_folder(limes, tmp_path) -> None:
    outcome = limes("theory", "quadratic-network", "--lr", 9)
    assert outcome.code == 1 and "lower lr" in outcome.err and "Traceback" not in outcome.err
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "deeper"):
        outcome = limes("theory", "ridge", "--out", place)
        assert outcome.code == 2 and "is a file; give a folder" in outcome.err
