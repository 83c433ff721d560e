"""Forecasts: intervals from few and from many rows, backtests, comparison of laws."""

from itertools import pairwise

import numpy as np
import pytest

from limes.core.errors import DataError, SpecError
from limes.laws import (
    CHINCHILLA,
    KAPLAN_FLOOR,
    OVER_TRAINING,
    POWER_LAW,
    POWER_LAW_FLOOR,
    compare_laws,
    fit_law,
)
from limes.laws.backtest import robust_noise
from limes.laws.calibrate import target_base
from limes.laws.compare import stacking_weights
from limes.laws.posterior import posterior_draws

TRUE = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}


def make_runs(num: int = 60, *, noise: float = 0.005, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    table = {"num_params": 10 ** rng.uniform(7.5, 9.5, num), "num_tokens": 10 ** rng.uniform(9, 11, num)}
    return {**table, "loss": CHINCHILLA.value(TRUE, table) * np.exp(noise * rng.standard_normal(num))}


def few_row_coverage(num_rows: int, num_tables: int, *, shrink: float = 1.0) -> float:
    """Share of held-out sizes inside the 90 % interval; floor and exponent drawn afresh for each table."""
    rng = np.random.default_rng(num_rows)
    inside = []
    for _ in range(num_tables):
        floor, alpha, amplitude = rng.uniform(0.5, 2.2), rng.uniform(0.2, 1.3), rng.uniform(0.3, 1.5)
        size = 64 * 2.0 ** np.arange(num_rows + 3)
        loss = floor + amplitude * (size / 64) ** -alpha + 0.01 * rng.standard_normal(len(size))
        fit = fit_law(POWER_LAW_FLOOR, {"size": size[:num_rows], "loss": loss[:num_rows]}, num_starts=36)
        p = fit.predict({"size": size[num_rows:]}, noise_std=0.01)
        low, high = p.value - shrink * (p.value - p.low), p.value + shrink * (p.high - p.value)
        inside.append(((low <= loss[num_rows:]) & (loss[num_rows:] <= high)).mean())
    return float(np.mean(inside))


@pytest.mark.sim
@pytest.mark.parametrize("num_rows", [4, 6])
def test_few_rows_get_an_interval_that_covers(num_rows: int) -> None:
    # 80 tables: the mean share has a standard error of 0.03 at most; 0.78 is nominal less four of them
    assert few_row_coverage(num_rows, 80) > 0.78
    assert few_row_coverage(num_rows, 80, shrink=0.4) < 0.78


def test_prediction_of_four_widths_reflects_that_floor_and_exponent_are_not_identified() -> None:
    fit = fit_law(POWER_LAW_FLOOR, {"size": [64, 128, 256, 512], "loss": [2.5, 2.3, 2.18, 2.12]})
    near, far = (fit.predict({"size": [size]}, noise_std=0.01) for size in (1024, 65536))
    assert near.method == "posterior" and near.decades[0] == pytest.approx(np.log10(2))
    assert far.high[0] - far.low[0] > 1.5 * (near.high[0] - near.low[0])
    quiet = fit.predict({"size": [65536]}, noise_std=0.001)
    assert quiet.high[0] - quiet.low[0] < far.high[0] - far.low[0]
    again = fit.predict({"size": [65536]}, noise_std=0.01)
    assert again.low[0] == far.low[0] and again.level == 0.9


def test_many_rows_are_calibrated_by_their_own_backtest() -> None:
    table = make_runs()
    fit = fit_law(CHINCHILLA, table)
    test = fit.backtest()
    assert test.num_splits >= 2 and (test.num_train + test.num_test == 60).all() and np.isfinite(test.error).all()
    assert len(test.to_rows()) == len(test.error)
    point = {"num_params": [1e10, 1e9], "num_tokens": [1e12, 1e10]}
    ninety, half = fit.predict(point, backtest=test), fit.predict(point, level=0.5, backtest=test)
    assert ninety.method == "calibrated" and (ninety.low < ninety.value).all() and (ninety.value < ninety.high).all()
    assert (half.high - half.low < ninety.high - ninety.low).all()
    most = (table["num_params"] * table["num_tokens"]).max()
    assert ninety.decades[0] == pytest.approx(np.log10(1e22 / most))
    assert ninety.decades[1] == 0
    truth = CHINCHILLA.value(TRUE, {name: np.array(column) for name, column in point.items()})
    assert (ninety.low < truth).all() and (truth < ninety.high).all()


def test_every_method_on_request_and_refusals() -> None:
    fit = fit_law(CHINCHILLA, make_runs(40))
    point = {"num_params": 1e10, "num_tokens": 1e12}
    for method in ("calibrated", "posterior", "bootstrap"):
        assert fit.predict(point, method=method).method == method
    with pytest.raises(SpecError, match="level"):
        fit.predict(point, level=1.5)
    with pytest.raises(SpecError, match="method"):
        fit.predict(point, method="oracle")
    with pytest.raises(SpecError, match="not a sum of power laws"):
        fit_law(KAPLAN_FLOOR, make_runs(40)).predict(point, method="posterior")
    with pytest.raises(DataError, match="points miss"):
        fit.predict({"num_params": 1e10})
    with pytest.raises(DataError, match="finite positive"):
        fit.predict({"num_params": -1e10, "num_tokens": 1e12})
    alone = fit_law(POWER_LAW, {"size": [1.0, 2, 3], "loss": [3.0, 2, 1.5]}).predict({"size": 5}, method="calibrated")
    assert "No rows could be held out" in alone.evidence and alone.low[0] < alone.value[0] < alone.high[0]


@pytest.mark.parametrize("method", ["calibrated", "posterior", "bootstrap"])
def test_value_and_interval_are_quantiles_of_one_distribution(method: str) -> None:
    # four sizes whose best fit has no floor: it lies at the edge of what the table leaves possible
    fit = fit_law(POWER_LAW_FLOOR, {"size": [64, 128, 256, 512], "loss": [2.5, 2.3, 2.12, 1.95]})
    point = {"size": [4096, 65536]}
    ends = [fit.predict(point, level, noise_std=0.01, method=method) for level in (0.9, 0.5, 1e-3)]
    for wide, narrow in pairwise(ends):
        assert (wide.value == narrow.value).all()
        assert (wide.low < narrow.low).all() and (narrow.high < wide.high).all()
    # as the level falls both ends close in on the value, wherever the best fit lies
    assert (ends[2].low <= ends[2].value).all() and (ends[2].value <= ends[2].high).all()
    assert (ends[2].high - ends[2].low < 0.02 * (ends[0].high - ends[0].low)).all()
    if method == "posterior":
        draws = posterior_draws(fit.problem, fit.points(point), noise_std=0.01, theta=fit.theta)
        assert (ends[0].value == draws.quantile(0.5)).all()
        assert fit.value(point)[1] < ends[1].low[1]  # stretched to the best fit, this interval would not be one half
    if method == "calibrated":
        assert ends[0].value == pytest.approx(fit.value(point))


def test_checkpoints_of_a_run_stay_together_in_the_interval() -> None:
    runs = make_runs(60)
    table = {name: np.repeat(column, 3) for name, column in runs.items()} | {"run": np.repeat(np.arange(60), 3)}
    point = {"num_params": [1e9], "num_tokens": [1e10]}
    rows, together = fit_law(CHINCHILLA, table), fit_law(CHINCHILLA, table, runs="run")
    bases = [target_base(fit.problem, fit.solution, fit.points(point), runs=fit.runs)[0] for fit in (rows, together)]
    noise = robust_noise(rows.problem, rows.theta)
    # what is not noise is the spread: three rows of one run are one observation, so its square triples
    assert bases[1] ** 2 - noise**2 > 2 * (bases[0] ** 2 - noise**2)
    assert together.predict(point).high[0] > together.predict(point).value[0]


def test_the_law_that_extrapolates_wins_and_the_stack_is_close() -> None:
    comparison = compare_laws([OVER_TRAINING, KAPLAN_FLOOR, CHINCHILLA], make_runs(80, noise=0.002, seed=3))
    rows = comparison.to_rows()
    assert rows[0]["law"] == comparison.best.law.name
    assert (np.diff(comparison.held_out) >= 0).all() and comparison.weights.sum() == pytest.approx(1)
    assert comparison.stacked_error <= 1.5 * comparison.held_out[0]
    prediction = comparison.predict({"num_params": 1e10, "num_tokens": 1e12})
    truth = CHINCHILLA.value(TRUE, {"num_params": 1e10, "num_tokens": 1e12})
    assert prediction.low[0] < truth < prediction.high[0]


def test_in_sample_error_does_not_choose() -> None:
    # a floor that only the large sizes show: in sample the two laws tie, held out they do not
    size = np.geomspace(1, 1e5, 40)
    loss = (1 + 2 * size**-0.5) * np.exp(0.003 * np.random.default_rng(0).standard_normal(40))
    comparison = compare_laws([POWER_LAW, POWER_LAW_FLOOR], {"size": size, "loss": loss})
    assert comparison.best.law is POWER_LAW_FLOOR
    assert comparison.weights[0] > 0.9


def test_comparison_refuses_what_cannot_be_compared() -> None:
    with pytest.raises(SpecError, match="at least two"):
        compare_laws([POWER_LAW], {"size": [1.0], "loss": [1.0]})
    with pytest.raises(SpecError, match="reads"):
        compare_laws([POWER_LAW, CHINCHILLA], {"size": [1.0], "loss": [1.0]})
    with pytest.raises(SpecError, match="no held-out split"):
        compare_laws([POWER_LAW, POWER_LAW_FLOOR], {"size": np.arange(1.0, 6), "loss": 1 / np.arange(1.0, 6)})


def test_stacking_weights_are_a_simplex_and_follow_the_errors() -> None:
    rng = np.random.default_rng(0)
    errors = rng.standard_normal((3, 30)) * np.array([0.01, 0.05, 0.05])[:, None]
    weights = stacking_weights(errors, np.repeat(np.arange(3), 10))
    assert weights.min() >= 0 and weights.sum() == pytest.approx(1) and np.argmax(weights) == 0
    assert stacking_weights(errors * 7, np.repeat(np.arange(3), 10)) == pytest.approx(weights, rel=1e-6)
