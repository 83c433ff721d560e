"""Fits of published run tables against their reference numbers; skipped where the tables are absent."""

import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from limes.laws import CHINCHILLA, DATA_CONSTRAINED, OVER_TRAINING, LawFit, fit_law, frontier, isoflop_optima
from limes.laws.objective import objective_value
from limes.laws.optimal import TRAINING_FLOPS
from limes.laws.solve import resolve
from support.stats import assert_golden

GOLDEN = tomllib.loads((Path(__file__).parent.parent / "golden" / "laws.toml").read_text())


@pytest.fixture(scope="module")
def figure(tables: Path) -> LawFit:
    """The 240-row table, its five highest losses dropped, in file order."""
    table = pd.read_csv(tables / "epoch_chinchilla_svg.csv")
    table = table.drop(table["loss"].nlargest(5).index)
    table["num_params"] = table["Model Size"]
    table["num_tokens"] = table["Training FLOP"] / (6 * table["num_params"])
    return fit_law(CHINCHILLA, table)


def test_optimum_of_the_240_row_table(figure: LawFit) -> None:
    golden = GOLDEN["chinchilla_240"]
    for name in CHINCHILLA.names:
        assert_golden(figure.params[name], golden[name])
    assert_golden(figure.objective, golden["objective"])
    assert figure.status == "converged" and figure.certificate.second_order and not figure.flags


def test_published_parameters_are_not_the_optimum(figure: LawFit) -> None:
    published = {"A": 482.01, "B": 2085.43, "E": 1.8169, "alpha": 0.34781, "beta": 0.36585}
    value = objective_value(figure.problem, figure.problem.theta(published)[None])[0]
    assert value > figure.objective * (1 + 1e-4)
    assert value == pytest.approx(GOLDEN["chinchilla_240"]["published_objective"]["value"], rel=2e-3)


def test_standard_errors_of_4000_refits(figure: LawFit) -> None:
    rng = np.random.RandomState(42)  # the published resamples
    counts = np.stack([np.bincount(rng.choice(240, 240), minlength=240) for _ in range(4000)]).astype(float)
    thetas, values = resolve(figure.problem, figure.solution.minima[:1], weights=counts)
    params = figure.problem.params(thetas)
    params["a"] = params["beta"] / (params["alpha"] + params["beta"])
    for name, golden in GOLDEN["chinchilla_240_errors"].items():
        assert_golden(params[name].std(ddof=1), golden)
    # from other starts none ends lower by more than 1e-6, but for a second minimum in at most one resample of 200
    some = slice(0, 200)
    others = figure.theta + np.random.default_rng(0).normal(0, 0.3, size=(4, 5))
    lower = resolve(figure.problem, others, weights=counts[some])[1]
    assert (values[some] > lower * (1 + 1e-6)).sum() <= 1


def test_the_other_extraction(tables: Path) -> None:
    fit = fit_law(
        CHINCHILLA, pd.read_csv(tables / "kyo_chinchilla_df.csv"), columns={"num_params": "N", "num_tokens": "D"}
    )
    for name, golden in GOLDEN["chinchilla_234"].items():
        assert_golden(fit.objective if name == "objective" else fit.params[name], golden)


def test_five_isoflop_exponents(tables: Path) -> None:
    table = pd.read_csv(tables / "porian_isoflop.csv")
    settings = [
        ("base", "long", "kaplan", "kaplan", "train"),
        ("base", "long", "kaplan", "standard", "val"),
        ("base", "short", "kaplan", "standard", "val"),
        ("base", "short", "chinchilla", "standard", "val"),
        ("tuned", "short", "const", "standard", "val"),
    ]
    names = ["hparams", "warmup", "decay", "param_count", "val"]
    exponents = []
    for setting in settings:
        rows = (table["dataset"] == "rw") & (table[names] == list(setting)).all(axis=1)
        columns = {"num_params": "n", "compute": "flops"}
        exponents.append(isoflop_optima(table[rows], columns=columns, method="akima", num_resamples=2).exponent)
    assert_golden(exponents, GOLDEN["isoflop_exponents"]["settings"])


@pytest.mark.parametrize(
    ("dataset", "key", "targets"),
    [
        ("rpj", "rpj_percent", [("open_lm_1b", 32), ("open_lm_7b", 1)]),
        ("c4_original", "c4_percent", [("open_lm_1b", 4), ("open_lm_7b", 1)]),
    ],
)
def test_over_training_extrapolation(tables: Path, dataset: str, key: str, targets: list[tuple[str, int]]) -> None:
    table = pd.read_csv(tables / "gadre_104.csv")
    table = table[table["dataset"] == dataset]
    small = ["d=96_l=8_h=4", "d=512_l=8_h=4", "d=576_l=24_h=8", "d=1024_l=24_h=8"]
    rows = (table["model"].isin(small) & (table["cc_mult"] == 1)) | (
        (table["model"] == small[0]) & (table["cc_mult"] == 16)
    )
    columns = {"num_params": "N", "num_tokens": "D", "loss": "loss_c4_val"}
    fit = fit_law(OVER_TRAINING, table[rows], columns=columns, objective="squares")
    errors = []
    for model, multiple in targets:
        run = table[(table["model"] == model) & (table["cc_mult"] == multiple)]
        errors.append(100 * abs(fit.value(run)[0] / run["loss_c4_val"].iloc[0] - 1))
    assert_golden(errors, GOLDEN["over_training"][key])


def test_ladder_prediction_and_its_interval(tables: Path) -> None:
    table = pd.read_csv(tables / "olmo_ladder_final_rows.csv")
    loss = "eval/c4_en-validation/CrossEntropyLoss"
    columns = {"num_params": "N", "num_tokens": "throughput/total_tokens", "loss": loss}
    fit = fit_law(CHINCHILLA, table[table["mode"] == "train"], columns=columns)
    large = table[table["run"].str.startswith("peteish13")].iloc[0]
    point = {"num_params": large["N"], "num_tokens": large["_step"] * 8388608}
    assert_golden(fit.value(point)[0] / large[loss] - 1, GOLDEN["ladder"]["relative_error"])
    prediction = fit.predict(point)
    assert prediction.low[0] < large[loss] < prediction.high[0]


def test_farseer_extrapolation(tables: Path) -> None:
    columns = {"num_params": "N", "num_tokens": "D"}
    fit = fit_law(CHINCHILLA, pd.read_csv(tables / "scalebench" / "farseer_scaling_law.train.csv"), columns=columns)
    large = pd.read_csv(tables / "scalebench" / "farseer_scaling_law.test.csv")
    error = np.abs(fit.value(large) / large["loss"] - 1).mean()
    assert_golden(error, GOLDEN["farseer"]["mean_relative_error"])


def test_published_data_constrained_constants() -> None:
    constants = {"A": np.exp(6.255414), "B": np.exp(7.3049974), "E": np.exp(0.6254804), "alpha": 0.3526596}
    constants |= {"beta": 0.3526596, "R_D": 15.387756, "R_N": 5.309743}
    point = {"num_params": 6.34e9, "num_tokens": 242e9, "unique_tokens": 25e9}
    assert_golden(DATA_CONSTRAINED.value(constants, point), GOLDEN["data_constrained"]["loss"])


def _exact_table(params: dict[str, float]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    table = {"num_params": 10 ** rng.uniform(7.5, 10, 60), "num_tokens": 10 ** rng.uniform(9, 11.5, 60)}
    return {**table, "loss": CHINCHILLA.value(params, table)}


def test_frontier_equals_the_closed_form() -> None:
    params = {"A": 482.01, "B": 2085.43, "E": 1.8172, "alpha": 0.3478, "beta": 0.3658}
    best = frontier(fit_law(CHINCHILLA, _exact_table(params)), [1e21, 5.76e23], num_resamples=2)
    assert best.exponent == pytest.approx(0.3658 / (0.3478 + 0.3658), rel=1e-6)
    scale = (0.3478 * 482.01 / (0.3658 * 2085.43)) ** (1 / (0.3478 + 0.3658))
    assert best.first == pytest.approx(scale * (np.array([1e21, 5.76e23]) / 6) ** best.exponent, rel=1e-5)
    golden = GOLDEN["frontier_closed_form"]
    assert best.first[1] == pytest.approx(golden["num_params"]["value"], rel=2e-3)  # published digits are rounded
    assert TRAINING_FLOPS.of(best.first, best.second) == pytest.approx(best.budget)


@pytest.mark.parametrize(("shift", "key"), [(1.0, "centred"), (1.5, "shifted")])
def test_bias_of_the_parabola_without_noise(shift: float, key: str) -> None:
    params = {"A": 406.4, "B": 410.7, "E": 1.69, "alpha": 0.34, "beta": 0.28}
    a = 0.28 / 0.62
    scale = (0.34 * 406.4 / (0.28 * 410.7)) ** (1 / 0.62)
    ratios = []
    for reach in (4.0, 16.0):
        budgets = np.repeat(np.geomspace(1e18, 1e22, 5), 15)
        size = scale * (budgets / 6) ** a * shift * np.tile(np.geomspace(1 / reach, reach, 15), 5)
        loss = CHINCHILLA.value(params, {"num_params": size, "num_tokens": budgets / 6 / size})
        optima = isoflop_optima({"num_params": size, "compute": budgets, "loss": loss}, num_resamples=2)
        ratios.append(optima.num_params_at(5.76e23) / (scale * (5.76e23 / 6) ** a))
    assert_golden(ratios, GOLDEN["parabola_bias"][key])
