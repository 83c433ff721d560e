"""What a design leaves open is refused, or shown by the width of an interval; never forecast with confidence."""

from collections.abc import Callable

import numpy as np
import pytest

from limes.core.errors import DataError, SpecError
from limes.laws import CHINCHILLA, POWER_LAW_FLOOR, LawFit, compare_families, fit_law
from limes.laws.summary import summarize

TRUE = {"E": 1.7, "A": 400.0, "B": 1500.0, "alpha": 0.34, "beta": 0.36}
Design = Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]


def fitted(design: Design, seed: int) -> LawFit:
    rng = np.random.default_rng(seed)
    size, tokens = design(rng)
    columns = {"num_params": size, "num_tokens": tokens}
    loss = CHINCHILLA.value(TRUE, columns) * np.exp(0.004 * rng.standard_normal(len(size)))
    return fit_law(CHINCHILLA, {**columns, "loss": loss})


def ladder(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    size = 10 ** rng.uniform(7, 9, 20)
    return size, 20 * size


def one_size(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return np.full(20, 1e8), 10 ** rng.uniform(8.5, 10.5, 20)


@pytest.mark.parametrize("point", [(1e10, 2e11), (1e9, 1e12)], ids=["on the line", "off the line"])
def test_a_ladder_is_forecast_with_what_it_leaves_open(point: tuple[float, float]) -> None:
    """20 tokens per parameter throughout: calibrated intervals covered 2 of 6 off the line."""
    place = {"num_params": point[0], "num_tokens": point[1]}
    truth = float(CHINCHILLA.value(TRUE, {name: np.array([value]) for name, value in place.items()})[0])
    hits = 0
    for seed in range(6):
        found = fitted(ladder, seed).predict(place)
        assert found.method == "posterior" and found.low[0] <= found.value[0] <= found.high[0]
        hits += found.low[0] <= truth <= found.high[0]
    assert hits >= 4


def test_what_no_row_varies_is_refused() -> None:
    fit = fitted(one_size, 0)
    assert np.isfinite(fit.predict({"num_params": 1e8, "num_tokens": 1e11}).value).all()
    with pytest.raises(DataError, match="every row has num_params = 1e\\+08"):
        fit.predict({"num_params": 1e10, "num_tokens": 1e11})


@pytest.mark.parametrize("designs", [1, 2, 4])
def test_copies_of_a_few_settings_determine_no_law(designs: int) -> None:
    size, tokens = np.array([1e7, 1e8, 1e7, 1e8])[:designs], np.array([1e9, 1e9, 1e10, 1e10])[:designs]
    with pytest.raises(DataError, match=f"only {designs} different settings"):
        fitted(lambda rng: (np.repeat(size, 40 // designs), np.repeat(tokens, 40 // designs)), 0)


def test_numbers_beyond_double_precision_are_refused() -> None:
    fit = fitted(lambda rng: (10 ** rng.uniform(7, 9, 30), 10 ** rng.uniform(9, 11, 30)), 0)
    with pytest.raises(DataError, match="between 1e-30 and 1e30"):
        fit.predict({"num_params": 1e300, "num_tokens": 1e12})


def test_a_ladder_has_no_frontier() -> None:
    with pytest.raises(SpecError, match="do not determine a compute-optimal shape"):
        summarize(fitted(ladder, 0), budgets=[1e20, 1e21])


def test_the_loss_of_a_frontier_is_a_forecast_and_its_reach_is_checked() -> None:
    fit = fitted(lambda rng: (10 ** rng.uniform(7, 9, 60), 10 ** rng.uniform(9, 11, 60)), 0)
    summary = summarize(fit, budgets=[1e23], num_resamples=40)
    row = summary.shapes.frontier.to_rows()[0]
    run = fit.predict({"num_params": row["first"], "num_tokens": row["second"]})
    assert (row["loss_low"], row["loss_high"]) == pytest.approx((run.low[0], run.high[0]))
    (check,) = [check for check in summary.checks if check.code == "extrapolation"]
    assert "decades beyond" in check.sentence and not check.sentence.startswith("The farthest point lies 0.0")


def test_a_loss_that_neither_family_reaches_is_said_to_be_so() -> None:
    size = np.geomspace(1e6, 1e9, 20)
    families = [fit_law(POWER_LAW_FLOOR, {"size": size, "loss": floor + 30 * size**-0.3}) for floor in (1.8, 1.9)]
    found = compare_families(families[0], families[1], [1.0], cost=None, num_resamples=20)
    assert "reached by both" in found.verdict
    found = compare_families(families[0], families[1], [2.2, 1.0], cost=None, num_resamples=20)
    assert "loss 2.2" in found.verdict and "inf" not in found.verdict
