"""`limes fit`: budgets, the page, the JSON file, and the store of a sweep as a table."""

import json
from pathlib import Path

import numpy as np
import pytest

from limes.laws import CHINCHILLA
from limes.store import Member, NewRun, Store
from support.store_worker import result

TRUE = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}


def write_runs(path: Path, *, noise: float = 0.002) -> Path:
    """IsoFLOP lines around the optimum, as CSV with names of its own."""
    rng = np.random.default_rng(0)
    compute = np.repeat(np.geomspace(1e18, 1e21, 5), 7)
    best = (0.35 * 480 / (0.37 * 2100)) ** (1 / 0.72) * (compute / 6) ** (0.37 / 0.72)
    size = best * np.tile(np.geomspace(0.25, 4, 7), 5)
    tokens = compute / 6 / size
    loss = CHINCHILLA.value(TRUE, {"num_params": size, "num_tokens": tokens})
    loss = loss * np.exp(noise * rng.standard_normal(len(size)))
    rows = [f"{n:.9g},{d:.9g},{c:.9g},{y:.9g}" for n, d, c, y in zip(size, tokens, compute, loss)]
    path.write_text("N,D,C,L\n" + "\n".join(rows) + "\n")
    return path


COLUMNS = "num_params=N,num_tokens=D,loss=L"


def test_budgets_page_and_file_in_one_go(limes, tmp_path: Path) -> None:
    table = write_runs(tmp_path / "runs.csv")
    page, file = tmp_path / "fit.html", tmp_path / "fit.json"
    outcome = limes(
        "fit", table, "--columns", COLUMNS, "--predict", "num_params=70e9,num_tokens=1.4e12",
        "--frontier", "1e21..1e23", "--compute", "C", "--report", page, "--out", file,
    )  # fmt: skip
    assert outcome.code == 0 and "isoflop: exponent" in outcome.out and "Approach 1" in outcome.out
    content = json.loads(file.read_text())
    rows = content["frontier"]["budgets"]
    assert [row["compute"] for row in rows] == [1e21, 1e22, 1e23]
    for row in rows:
        best = (0.35 * 480 / (0.37 * 2100)) ** (1 / 0.72) * (row["compute"] / 6) ** (0.37 / 0.72)
        assert row["num_params_low"] < best < row["num_params_high"]
        assert row["tokens_per_param"] == pytest.approx(row["num_tokens"] / row["num_params"])
        wrong = row["wrong_shape"]
        assert wrong["4"]["extra_compute"] > wrong["2"]["extra_compute"] > 1
    for approach in ("isoflop", "parametric"):
        found = content["frontier"]["approaches"][approach]
        assert found["low"] < 0.37 / 0.72 < found["high"] and len(found["num_params"]) == 3
    forecast = content["forecast"]
    truth = float(CHINCHILLA.value(TRUE, {"num_params": 70e9, "num_tokens": 1.4e12}))
    assert forecast["low"] < forecast["value"] < forecast["high"] and forecast["low"] < truth < forecast["high"]
    text = page.read_text()
    for anchor in ("fit", "residuals", "extrapolation", "backtest", "frontier", "parameters", "checklist"):
        assert f'id="{anchor}"' in text
    assert "http" not in text.split("<script", 1)[0].replace("http-equiv", "")


def test_json_is_all_that_is_printed_and_equals_the_file(limes, tmp_path: Path) -> None:
    table, file = write_runs(tmp_path / "runs.csv"), tmp_path / "fit.json"
    outcome = limes("fit", table, "--columns", COLUMNS, "--law", "over_training", "--json", "--out", file)
    assert outcome.code == 0 and json.loads(outcome.out) == json.loads(file.read_text()) and outcome.err == ""
    assert set(json.loads(outcome.out)["intervals"]) == {"E", "A", "B", "alpha"}


def test_rows_without_a_number_are_counted(limes, tmp_path: Path) -> None:
    lines = ["size,loss", "1,8", "4,4", "16,2", "64,", "256,nan"]
    (tmp_path / "runs.csv").write_text("\n".join(lines) + "\n")
    outcome = limes("fit", tmp_path / "runs.csv", "--law", "power_law")
    assert outcome.code == 0 and "3 of 5 rows; the others miss a number" in outcome.out


def test_the_store_of_a_sweep_is_a_table_of_the_best_loss_of_each_network(limes, tmp_path: Path) -> None:
    with Store.create(tmp_path) as store:
        for width in (1, 2, 4, 8, 16, 32):
            for log2_lr in (-5.0, -4.0):
                key = f"w{width}lr{log2_lr}"
                store.add_runs(
                    [NewRun(key=key, spec={}, cost=1.0, steps=10, num_params=100 * width, num_tokens=1000, flops=6e5)]
                )
                member = Member(
                    axis="width", parametrization="mup", size=width, seed=0, log2_lr=log2_lr, key=key
                )  # fmt: skip
                store.add_members([member])
        while claim := store.claim("worker"):
            width, log2_lr = (float(part) for part in claim.key[1:].split("lr"))
            assert store.record(claim, result(1.0 + width**-0.5 + (0.5 if log2_lr > -5 else 0.0)))
    outcome = limes("fit", tmp_path, "--law", "power_law_floor", "--where", "parametrization=mup", "--json")
    assert outcome.code == 0, outcome.err
    params = json.loads(outcome.out)["params"]
    assert params["E"] == pytest.approx(1.0, abs=1e-4) and params["alpha"] == pytest.approx(0.5, abs=1e-3)
    assert json.loads(outcome.out)["rows"] == 6
    with Store.open(tmp_path) as store:
        member = Member(axis="width", parametrization="ntk", size=1, seed=0, log2_lr=-5.0, key="w1lr-5.0")
        store.add_members([member])
    mixed = limes("fit", tmp_path, "--law", "power_law_floor")
    assert mixed.code == 2 and "holds runs of mup, ntk" in mixed.err and "--where" in mixed.err
    wrong = limes("fit", tmp_path, "--where", "parametrization=sp")
    assert wrong.code == 2 and "no row is left" in wrong.err and "mup" in wrong.err


def test_two_families_of_one_table_are_compared(limes, tmp_path: Path) -> None:
    compute = np.geomspace(1e15, 1e19, 12)
    rows = [
        f"{c:.9g},{2 + (scale * c / 1e15) ** -0.2:.9g},{name}"
        for name, scale in (("new", 4), ("old", 1))
        for c in compute
    ]
    (tmp_path / "runs.csv").write_text("C,L,kind\n" + "\n".join(rows) + "\n")
    shared = ["fit", tmp_path / "runs.csv", "--law", "power_law_floor", "--columns", "size=C,loss=L"]
    outcome = limes(*shared, "--where", "kind=old", "--against", "kind=new", "--loss", "2.1,1.9", "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert [row["loss"] for row in found["losses"]] == [2.1, 1.9]
    assert found["losses"][0]["saved"]["value"] == pytest.approx(0.75, rel=1e-3)  # the new one is four times cheaper
    assert found["losses"][1]["first_budget"]["value"] is None  # below the floor
    assert abs(found["differences"]["alpha"]["value"]) < 1e-3
    told = limes(*shared, "--where", "kind=old", "--against", "kind=new")
    assert told.code == 0 and "less compute" in told.out
    for flags, word in ((("--loss", "low"), "--loss"), (("--law", "kaplan_floor"), "reads")):
        wrong = limes(*shared, "--against", "kind=new", *flags)
        assert wrong.code == 2 and word in wrong.err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--frontier", "1e25..1e21"], "--frontier"),
        (["--frontier", "0..1e21"], "--frontier"),
        (["--frontier", "much"], "--frontier"),
        (["--frontier", "1..1e90"], "--frontier"),
        (["--frontier", "1e21", "--law", "width_depth", "--columns", "width=N,depth=D,loss=L"], "num_params"),
        (["--report", "nowhere/fit.html"], "nowhere"),
        (["--out", "nowhere/fit.json"], "nowhere"),
        (["--level", "90"], "--level"),
        (["--where", "corpus=c4"], "corpus"),
        (["--compute", "flops", "--frontier", "1e21"], "flops"),
        (["--runs", "job"], "job"),
        (["--loss", "2.4"], "--against"),
        (["--against", "kind=new", "--out", "x.json"], "--out"),
        (["--objective", "l2"], "l2"),
        (["--predict", "num_params=big,num_tokens=1"], "big"),
    ],
    ids=lambda item: " ".join(item) if isinstance(item, list) else "",
)
def test_bad_input_is_answered_by_one_sentence(limes, tmp_path: Path, monkeypatch, arguments, word: str) -> None:
    monkeypatch.chdir(tmp_path)
    write_runs(tmp_path / "runs.csv")
    columns = [] if "--columns" in arguments else ["--columns", COLUMNS]
    outcome = limes("fit", "runs.csv", *columns, *arguments)
    assert outcome.code == 2 and word in outcome.err and len(outcome.err.strip().splitlines()) == 1, outcome.err
