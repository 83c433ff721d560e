"""`limes theory laws` and `limes theory circle`: answers, pages, and one sentence for every mistake."""

import json

import numpy as np
import pytest


@pytest.fixture
def table(tmp_path):
    """24 runs of t^-0.5 and n^-0.75 with 1 % noise."""
    steps, n = (grid.ravel() for grid in np.meshgrid(np.geomspace(10, 1e4, 6), [8, 32, 128, 512]))
    loss = (3 * steps**-0.5 + 2 * n**-0.75) * np.exp(0.01 * np.random.default_rng(0).standard_normal(24))
    path = tmp_path / "runs.csv"
    rows = [f"{t},{size},{value}" for t, size, value in zip(steps, n, loss, strict=True)]
    path.write_text("\n".join(["steps,n,loss", *rows]) + "\n")
    return path


def test_answer_and_page(limes, table, tmp_path) -> None:
    flags = ["--time", "steps", "--width", "n", "--no-floor", "--out", tmp_path / "laws.html"]
    done = limes("theory", "laws", table, "--a", "1.75,1.65,1.85", "--b", "1.5,1.4,1.6", *flags)
    assert done.code == 0 and done.out.count("agree within") == 2 and (tmp_path / "laws.html").is_file()
    spectrum = {"curves": [{"width": 8, "a": 1.75, "a_interval": [1.6, 1.9], "b": 1.5, "b_interval": [1.4, 1.6]}]}
    (tmp_path / "s.json").write_text(json.dumps(spectrum))
    done = limes("theory", "laws", table, "--spectrum", tmp_path / "s.json", "--json", *flags[:-2])
    assert json.loads(done.out)["a"] == {"value": 1.75, "low": 1.6, "high": 1.9}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--a", "2", "--b", "2"], "name at least one column"),
        (["--a", "2", "--time", "steps"], "give both"),
        (["--a", "2,1", "--b", "2", "--time", "steps"], "value,low,high"),
        (["--a", "2,3,4", "--b", "2", "--time", "steps"], "low <= value"),
        (["--a", "2", "--b", "2", "--time", "epochs"], "epochs"),
        (["--a", "2", "--b", "2", "--time", "steps", "--level", "2"], "level"),
        (["--a", "2", "--spectrum", "s.json", "--time", "steps"], "leave out"),
        (["--spectrum", "nowhere.json", "--time", "steps"], "expected what"),
        (["--a", "2", "--b", "2", "--time", "steps", "--where", "n=7"], "no row"),
    ],
)
def test_bad_flags(limes, table, flags, words) -> None:
    done = limes("theory", "laws", table, *flags)
    assert done.code == 2 and words in done.err and "Traceback" not in done.err


@pytest.mark.parametrize(
    ("flags", "words"),
    [(["--window", "10"], "two different"), (["--hard", "2"], "hard task"), (["--lazy", "1"], "lazy < rich")],
)
def test_bad_flags_of_the_circle(limes, flags, words) -> None:
    done = limes("theory", "circle", *flags)
    assert done.code == 2 and words in done.err and "Traceback" not in done.err
