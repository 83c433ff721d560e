"""`limes theory statics`: numbers, files, page, and one sentence for every mistake."""

import csv
import json

import numpy as np
import pytest

from limes.cli.inputs import load_samples
from limes.theory.statics import AdaptiveProblem, solve_adaptive

SMALL = ("theory", "statics", "--samples", 4, "--test", 2)


@pytest.fixture
def line(tmp_path):
    """Data on a line, where the averages are on a small grid."""
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((300, 1)).astype(np.float32)
    np.savez(tmp_path / "line.npz", inputs=inputs, targets=np.tanh(inputs[:, 0]).astype(np.float32))
    return tmp_path / "line.npz"


def test_the_numbers_are_those_of_the_solver_and_the_folder_is_written(limes, tmp_path, line):
    out = tmp_path / "out"
    arguments = (*SMALL, "--data", line, "--simulate", "--widths", "8,16", "--chains", 4, "--draws", 30, "--evidence")
    outcome = limes(*arguments, "--curve", "2,4", "--curve-draws", 2, "--json", "--out", out)
    assert outcome.code == 0 and outcome.err == ""
    content = json.loads(outcome.out)
    assert content == json.loads((out / "statics.json").read_text())
    assert [(one["name"], one["width"]) for one in content["predictions"]] == [
        ("nngp", None),
        ("adaptive", None),
        ("networks", 8),
        ("networks", 16),
    ]
    assert [one["width"] for one in content["chains"]] == [8, 16] and len(content["choices"]) == 2
    assert np.shape(content["learning_curve"]["adaptive"]) == (2, 2)
    rows = list(csv.DictReader((out / "statics.csv").read_text().splitlines()))
    assert len(rows) == 4 * 6
    found = {row["set"]: [] for row in rows}
    for row in rows:
        if row["what"] == "adaptive":
            found[row["set"]].append(float(row["mean"]))
    fit = solve_adaptive(AdaptiveProblem(*load_samples(str(line), num_samples=4, num_test=2), inverse_temperature=5.0))
    np.testing.assert_allclose(found["train"] + found["test"], [*fit.train_mean, *fit.test_mean], rtol=1e-12)
    assert content["adaptive"]["method"] == "quadrature"
    page = (out / "statics.html").read_text()
    assert "Learning curve" in page and "Evidence" in page and "https://" not in page.split('id="payload"')[0]


def test_digits_on_a_terminal(limes):
    outcome = limes(*SMALL)
    assert outcome.code == 0 and "alignment" in outcome.out and "ln p(y)" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--gamma0", "0"], "gamma0"),
        (["--inverse-temperature", "-1"], "inverse_temperature"),
        (["--widths", "0"], "--widths"),
        (["--widths", "wide"], "--widths"),
        (["--data", "nothing"], "nothing"),
        (["--data", "missing.npz"], "missing.npz"),
        (["--samples", "2000"], "1438"),
        (["--test", "500"], "500"),
        (["--activation", "swish"], "swish"),
        (["--curve", "2,x"], "--curve"),
        (["--curve", "2000"], "--curve"),
        (["--simulate", "--chains", "1"], "chains"),
        (["--simulate", "--draws", "2"], "draws"),
        (["--simulate", "--widths", "100000000"], "lower the width"),
        (["--seed", "-1"], "seed"),
    ],
)
def test_a_mistake_is_answered_by_one_sentence(limes, arguments, word):
    outcome = limes("theory", "statics", *arguments)
    assert outcome.code == 2 and word in outcome.err and "Traceback" not in outcome.err and outcome.out == ""
