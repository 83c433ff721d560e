"""Fitting: what a table may look like, what the fit says about itself, and how it fails."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from limes.core.errors import DataError, SpecError
from limes.core.source import Source
from limes.laws import CHINCHILLA, POWER_LAW, POWER_LAW_FLOOR, Input, Law, fit_law, read_table
from limes.laws.form import coefficient, exponent
from support.refusals import one_sentence

TRUE = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}


def make_table(num: int = 80, *, noise: float = 0.0, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    table = {"num_params": 10 ** rng.uniform(7.5, 10, num), "num_tokens": 10 ** rng.uniform(9, 11.5, num)}
    return {**table, "loss": CHINCHILLA.value(TRUE, table) * np.exp(noise * rng.standard_normal(num))}


def test_importing_laws_loads_neither_torch_nor_pandas() -> None:
    code = "import sys, limes.laws; print(sorted({'torch', 'pandas', 'plotly'} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_objective_is_the_sum_over_rows_of_the_stated_loss() -> None:
    fit = fit_law(CHINCHILLA, make_table(noise=0.01), delta=2e-3)
    size = np.abs(fit.residuals)
    expected = np.where(size <= 2e-3, size**2 / 2, 2e-3 * (size - 1e-3)).sum()
    assert fit.objective == pytest.approx(expected, rel=1e-10)


def test_a_data_frame_other_names_and_other_units_of_the_objective() -> None:
    table = make_table(noise=0.01)
    frame = pd.DataFrame({"N": table["num_params"], "D": table["num_tokens"], "val": table["loss"]})
    names = {"num_params": "N", "num_tokens": "D", "loss": "val"}
    plain, framed = fit_law(CHINCHILLA, table), fit_law(CHINCHILLA, frame, columns=names)
    assert framed.params == plain.params
    assert framed.value({"N": [1e9], "D": [1e11]}) == plain.value({"num_params": 1e9, "num_tokens": 1e11})
    squares = fit_law(CHINCHILLA, table, objective="squares")
    total = (squares.residuals**2).sum() / 2 * squares.problem.value_factor
    assert squares.objective == pytest.approx(total, rel=1e-10)


def test_integer_weights_are_repeated_rows() -> None:
    table = make_table(20, noise=0.01)
    counts = np.arange(20) % 3 + 1
    repeated = {name: np.repeat(column, counts) for name, column in table.items()}
    weighted, long = fit_law(CHINCHILLA, table, weights=counts), fit_law(CHINCHILLA, repeated)
    assert weighted.objective == pytest.approx(long.objective, rel=1e-9)
    assert weighted.params == pytest.approx(long.params, rel=1e-4)


def test_rows_with_missing_values_are_left_out() -> None:
    table = make_table(noise=0.01)
    holed = {name: column.copy() for name, column in table.items()}
    holed["loss"][3] = np.nan
    holed["num_params"][7] = np.inf
    kept = np.setdiff1d(np.arange(80), [3, 7])
    fit = fit_law(CHINCHILLA, holed)
    assert fit.rows.tolist() == kept.tolist()
    without = fit_law(CHINCHILLA, {name: column[kept] for name, column in table.items()})
    assert fit.objective == pytest.approx(without.objective, rel=1e-9)


def test_one_outlier_moves_the_robust_fit_less_than_noise_does() -> None:
    table = make_table(noise=0.003)
    spoiled = {**table, "loss": table["loss"].copy()}
    spoiled["loss"][11] *= 3
    clean, robust = fit_law(CHINCHILLA, table), fit_law(CHINCHILLA, spoiled)
    least = fit_law(CHINCHILLA, spoiled, objective="squares_log")
    spread = clean.bootstrap(100, generator=np.random.default_rng(0))["alpha"].std()
    assert (
        abs(robust.params["alpha"] - clean.params["alpha"])
        < spread
        < abs(least.params["alpha"] - clean.params["alpha"])
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"loss": None}, "no column 'loss'"),
        ({"loss": np.full(80, -1.0)}, "needs it positive"),
        ({"loss": np.full(80, np.nan)}, "nothing is left"),
        ({"loss": np.array(["high"] * 80)}, "not numeric"),
        ({"num_params": np.ones(3)}, "different lengths"),
        ({"num_params": np.ones((80, 2))}, "shape"),
    ],
)
def test_malformed_tables_are_refused_in_one_sentence(change: dict[str, np.ndarray | None], words: str) -> None:
    table = {name: column for name, column in {**make_table(), **change}.items() if column is not None}
    with one_sentence(DataError, words):
        fit_law(CHINCHILLA, table)


def test_fewer_rows_than_parameters_is_an_error_with_both_numbers() -> None:
    with pytest.raises(DataError, match="4 complete rows cannot determine the 5 parameters"):
        fit_law(CHINCHILLA, make_table(4))


@pytest.mark.parametrize(
    "wrong",
    [
        {"objective": "l3"},
        {"delta": 0.0},
        {"weights": [-1.0] * 80},
        {"weights": [1.0]},
        {"columns": {"lr": "x"}},
        {"runs": "run"},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises((SpecError, DataError)):
        fit_law(CHINCHILLA, make_table(), **wrong)


def test_flags_say_what_the_table_does_not_determine() -> None:
    size = np.geomspace(1, 1e4, 12)
    falling = fit_law(POWER_LAW_FLOOR, {"size": size, "loss": 3 * size**-0.4})
    assert "floor_not_identified" in {flag.code for flag in falling.flags}
    table = make_table(noise=0.003)
    table["num_tokens"] = 20 * table["num_params"]
    table["loss"] = CHINCHILLA.value(TRUE, table)
    assert "collinear_design" in {flag.code for flag in fit_law(CHINCHILLA, table).flags}
    few = fit_law(POWER_LAW_FLOOR, {"size": size[:4], "loss": 1 + 3 * size[:4] ** -0.4})
    assert "few_rows" in {flag.code for flag in few.flags}
    constant = fit_law(CHINCHILLA, {**make_table(), "num_params": np.full(80, 1e9)})
    assert "constant_column" in {flag.code for flag in constant.flags}


def test_certificate_of_a_good_fit() -> None:
    fit = fit_law(CHINCHILLA, make_table(noise=0.005))
    assert fit.status == "converged" and fit.certificate.second_order and fit.certificate.at_bound == ()
    assert fit.certificate.gradient_norm < 1e-4 and fit.certificate.agreement > 0.5


@settings(max_examples=8)
@given(st.integers(0, 10**6))
def test_no_start_of_a_random_table_ends_below_the_fit(seed: int) -> None:
    from limes.laws.solve import resolve

    fit = fit_law(CHINCHILLA, make_table(30, noise=0.02, seed=seed), num_starts=64)
    others = fit.theta + np.random.default_rng(seed).normal(0, 0.5, (8, 5))
    ends = [resolve(fit.problem, other[None], weights=fit.problem.weights[None])[1][0] for other in others]
    assert min(ends) >= fit.solution.value * (1 - 1e-6)


def test_bootstraps_agree_on_independent_rows_and_differ_on_checkpoints() -> None:
    table = make_table(150, noise=0.01)
    fit = fit_law(CHINCHILLA, table, objective="squares_log")
    rng = np.random.default_rng(0)
    spreads = {k: fit.bootstrap(400, generator=rng, kind=k)["alpha"].std() for k in ("rows", "residual", "parametric")}
    # 400 resamples know a deviation to 3.5 %; the three methods agree to O(1 / sqrt(150)) = 8 %
    assert max(spreads.values()) / min(spreads.values()) < 1.35
    doubled = {name: np.repeat(column, 4) for name, column in table.items()} | {"run": np.repeat(np.arange(150), 4)}
    clustered = fit_law(CHINCHILLA, doubled, objective="squares_log", runs="run")
    by_run = clustered.bootstrap(400, generator=rng, kind="runs")["alpha"].std()
    by_row = clustered.bootstrap(400, generator=rng, kind="rows")["alpha"].std()
    assert by_run / by_row == pytest.approx(2.0, rel=0.25)


def test_bootstrap_generators_and_kinds() -> None:
    fit = fit_law(POWER_LAW, make_sizes())
    one = fit.bootstrap(5, generator=torch.Generator().manual_seed(1))
    two = fit.bootstrap(5, generator=torch.Generator().manual_seed(1))
    assert set(one) == {"A", "alpha"} and one["A"].shape == (5,)
    assert (one["A"] == two["A"]).all()
    assert fit.bootstrap(5, generator=np.random.default_rng(0), kind="noise", noise_std=0.01)["A"].shape == (5,)
    for wrong in ({"kind": "jackknife"}, {"kind": "runs"}, {"kind": "noise"}, {"generator": 3}):
        with pytest.raises(SpecError):
            fit.bootstrap(5, **{"generator": np.random.default_rng(0), **wrong})
    with pytest.raises(SpecError):
        fit.bootstrap(0, generator=np.random.default_rng(0))


def make_sizes() -> dict[str, np.ndarray]:
    size = np.geomspace(10, 1e4, 15)
    return {"size": size, "loss": 3 * size**-0.3 * np.exp(0.01 * np.random.default_rng(0).standard_normal(15))}


def test_profile_interval_holds_the_optimum_and_opens_where_the_floor_is_absent() -> None:
    fit = fit_law(CHINCHILLA, make_table(noise=0.005), objective="squares_log")
    alpha = fit.profile("alpha")
    assert alpha.low < fit.params["alpha"] < alpha.high and not alpha.open_below
    spread = fit.bootstrap(300, generator=np.random.default_rng(0), kind="parametric")["alpha"].std()
    assert (alpha.high - alpha.low) / (2 * 1.645 * spread) == pytest.approx(1.0, rel=0.2)
    floorless = fit_law(POWER_LAW_FLOOR, make_sizes(), objective="squares_log")
    assert floorless.profile("E").open_below
    with pytest.raises(SpecError, match="no parameter"):
        fit.profile("gamma")


def test_a_law_of_ones_own_needs_one_object() -> None:
    def curve(params: dict[str, np.ndarray], columns: dict[str, np.ndarray]) -> np.ndarray:
        return params["E"] + params["A"] * np.exp(-params["alpha"] * np.log(1 + columns["heads"]))

    law = Law(
        name="heads", formula="loss = E + A / (1 + heads)^alpha", source=Source(title="own"),
        inputs=(Input(name="heads", meaning="attention heads", domain=(1.0, 64.0), kind="plain"),),
        parameters=(
            coefficient("E", "floor", example=2.0, unit="loss"),
            coefficient("A", "amplitude", example=1.0, unit="loss"),
            exponent("alpha", "exponent", example=0.7),
        ),
        curve=curve,
    )  # fmt: skip
    heads = 2.0 ** np.arange(7)
    fit = fit_law(law, {"heads": heads, "loss": 2 + (1 + heads) ** -0.7})
    assert fit.params == pytest.approx({"E": 2.0, "A": 1.0, "alpha": 0.7}, rel=1e-6)


def test_tables_from_files_of_every_kind(tmp_path: Path) -> None:
    frame = pd.DataFrame({"N": [1, 2, 3], "loss": [3.0, 2.5, None], "name": ["a", "b", "c"]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    for name in ("t.csv", "t.parquet", "t.jsonl"):
        table = read_table(tmp_path / name)
        assert table["N"].dtype == float and table["loss"][:2].tolist() == [3.0, 2.5] and np.isnan(table["loss"][2])
        assert table["name"].tolist() == ["a", "b", "c"]


def test_files_that_are_no_tables_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("N,loss\n")
    (tmp_path / "t.xlsx").write_text("x")
    (tmp_path / "broken.jsonl").write_text("{")
    for name in ("none.csv", "t.xlsx", "empty.csv", "broken.jsonl"):
        with pytest.raises(DataError):
            read_table(tmp_path / name)
