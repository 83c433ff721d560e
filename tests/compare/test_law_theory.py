"""Runs beside the theory's exponents: tables of known laws, with noise, and losses of the solvable model itself."""

import json

import numpy as np
import pytest

from limes.compare.law_theory import Measured, compare_regimes
from limes.core.errors import DataError, SpecError
from limes.report.law_theory import regime_page
from limes.report.page import render_page
from limes.theory.scaling import power_law_problem, scaling_exponents, solve_random_features
from support.refusals import one_sentence

A, B = Measured(value=1.75, low=1.7, high=1.8), Measured(value=1.5, low=1.45, high=1.55)
EXACT = Measured(value=1.75, low=1.75, high=1.75), Measured(value=1.5, low=1.5, high=1.5)
COLUMNS = {"time": "steps", "width": "n"}


def runs(
    seed: int, *, noise: float = 0.01, floor: float = 0.0, time: float = 0.5, width: float = 0.75
) -> dict[str, np.ndarray]:
    """36 runs of a task with a = 1.75, b = 1.5 unless another exponent is asked for; both terms matter."""
    steps, n = (grid.ravel() for grid in np.meshgrid(np.geomspace(10, 1e4, 6), np.geomspace(8, 512, 6)))
    loss = floor + 3.0 * steps**-time + 2.0 * n**-width
    draws = np.random.default_rng(seed).standard_normal(len(loss))
    return {"steps": steps, "n": n, "loss": loss * np.exp(noise * draws)}


def test_agreement_is_found_and_a_wrong_exponent_is_rejected() -> None:
    verdicts = [
        [one.verdict for one in compare_regimes(runs(seed), COLUMNS, a=A, b=B, floor="none").directions]
        for seed in range(16)
    ]
    agree = np.array(verdicts) == "agree"
    # Intervals of level 0.9, with the widths of a and b on top: fewer than 11 of 16 happens once in 300 tries.
    assert (agree.sum(0) >= 11).all()
    for seed in range(4):
        table = runs(seed, time=0.6)
        wrong = compare_regimes(table, COLUMNS, a=A, b=B, floor="none").directions
        assert wrong[0].verdict == "disagree", "time^-0.6 is not that of this task"
        assert "do not agree" in compare_regimes(table, COLUMNS, a=A, b=B, floor="none").sentences[2]


@pytest.mark.sim
@pytest.mark.parametrize("floor", ["none", "fit"])
def test_intervals_cover_as_often_as_they_say(floor) -> None:
    found = [
        compare_regimes(
            runs(seed, noise=0.02, floor=0.5 * (floor == "fit")), COLUMNS, a=EXACT[0], b=EXACT[1], floor=floor
        )
        for seed in range(100)
    ]
    for index, truth in enumerate((0.5, 0.75)):
        intervals = [one.directions[index].fitted for one in found]
        covered = sum(one.low <= truth <= one.high for one in intervals)
        # Binomial(100, 0.9): outside 80 to 98 once in 500 tries.
        assert 80 <= covered <= 98, f"{covered} of 100 intervals of level 0.9"
        same = sum(one.directions[index].verdict == "agree" for one in found)
        assert abs(same - covered) <= 2, "with a and b known exactly, the verdict is the interval"


def test_losses_of_the_solvable_model_agree_with_its_exponents() -> None:
    rows = []
    for width in (16, 32, 64, 128, 256, 512):
        times = np.geomspace(10, 1e5, 7)
        result = solve_random_features(power_law_problem(1.75, 1.5, 1e9, num_features=width), times)
        rows += [(time, width, loss) for time, loss in zip(times, result.test_loss, strict=True)]
    time, width, loss = np.array(rows).T
    table = {"steps": time, "n": width, "loss": loss}
    found = compare_regimes(table, COLUMNS, a=A, b=B, floor="none")
    assert found.task == "hard" and [one.verdict for one in found.directions] == ["agree", "agree"]
    assert 0 < found.directions[0].leads < 1, "both limit some runs"
    assert found.fit.params["m"] > 1.5, "limits meet more sharply than in a sum"
    # The mutants: the theory of another task, and that of moving features.
    other = compare_regimes(table, COLUMNS, a=Measured(value=2.2, low=2.15, high=2.25), b=B, floor="none")
    moving = compare_regimes(table, COLUMNS, a=A, b=B, rich=True, floor="none")
    assert {one.verdict for one in other.directions} == {"disagree"}
    assert moving.directions[0].verdict == "disagree" and moving.directions[1].verdict == "agree"


def test_predicted_exponents_are_those_of_the_theory() -> None:
    for rich in (False, True):
        found = compare_regimes(runs(0), COLUMNS, a=EXACT[0], b=EXACT[1], rich=rich, floor="none")
        exact = scaling_exponents(1.75, 1.5, rich=rich)
        for one in found.directions:
            assert one.predicted.value == pytest.approx(getattr(exact, one.resource))
            assert one.predicted.high == pytest.approx(one.predicted.low)


def test_what_does_not_limit_and_what_has_no_power_law() -> None:
    table = runs(1)
    table["loss"] = 3.0 * table["steps"] ** -0.5 * np.exp(0.01 * np.random.default_rng(0).standard_normal(36))
    found = compare_regimes(table, COLUMNS, a=A, b=B, floor="none")
    assert [one.verdict for one in found.directions] == ["agree", "not limited"]
    assert "limits none of these runs" in found.sentences[-1]
    weak = compare_regimes(runs(1), COLUMNS, a=Measured(value=1.25, low=0.79, high=1.71), b=B, floor="none")
    assert all(one.predicted is None and one.verdict == "undecided" for one in weak.directions)
    assert "no power law" in weak.sentences[2]


@pytest.mark.parametrize("floor", ["none", "fit"])
def test_rounding_is_no_disagreement(floor) -> None:
    """Losses without noise: what the fit misses in the last digits is no evidence against the law."""
    n = np.geomspace(10, 1000, 12)
    exact = {"n": n, "loss": 3.0 * n**-0.75}
    asked = {"columns": {"width": "n"}, "a": EXACT[0], "b": EXACT[1], "floor": floor}
    assert [one.verdict for one in compare_regimes(exact, **asked).directions] == ["agree"]
    other = exact | {"loss": 3.0 * n**-0.76}
    assert [one.verdict for one in compare_regimes(other, **asked).directions] == ["disagree"]


@pytest.mark.parametrize("power", [0.0, 0.3])
def test_losses_that_do_not_fall_have_no_exponent(power: float) -> None:
    n = np.geomspace(10, 1000, 12)
    found = compare_regimes({"n": n, "loss": 3.0 * n**power}, {"width": "n"}, a=A, b=B)
    assert found.directions[0].verdict == "undecided" and "no fall along n" in found.sentences[-1]


def test_rows_that_miss_a_number_are_counted() -> None:
    table = runs(0)
    table["loss"][[3, 7]] = np.nan
    found = compare_regimes(table, COLUMNS, a=A, b=B, floor="none")
    assert "of 34 of 36 runs (the others miss a number)" in found.sentences[1]
    assert (found.to_dict()["num_runs"], found.to_dict()["num_given"]) == (34, 36)
    assert "34 of 36 runs (the" in render_page(regime_page(found, source="runs.csv"))
    assert "of 36 runs:" in compare_regimes(runs(0), COLUMNS, a=A, b=B, floor="none").sentences[1]


def test_page_and_json() -> None:
    found = compare_regimes(runs(2, floor=0.4), COLUMNS, a=A, b=B)
    page = regime_page(found, source="runs.csv")
    assert [section.anchor for section in page.sections] == ["directions", "numbers"]
    assert "runs.csv" in render_page(page)
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"columns": {}}, "columns"),
        ({"columns": {"heads": "n"}}, "time, width, samples"),
        ({"columns": {"width": "loss"}}, "width 'loss': the loss is what is explained"),
        ({"level": 1.5}, "level"),
        ({"floor": "maybe"}, "floor"),
        ({"columns": {"time": "epochs"}}, "epochs"),
        ({"table": {"steps": [1.0, 2.0], "n": [1.0, 2.0], "loss": [1.0, 0.5]}}, "rows"),
        ({"table": runs(0) | {"n": np.full(36, 8.0)}}, "settings|one value"),
        ({"table": runs(0) | {"n": np.full(36, -8.0)}}, "positive"),
        ({"table": runs(0) | {"n": 4.0 * runs(0)["steps"]}}, "move together"),
        ({"table": runs(0) | {"loss": np.zeros(36)}}, "positive"),
    ],
)
def test_bad_input_is_one_sentence(change, words: str) -> None:
    settings = {"table": runs(0), "columns": COLUMNS, "a": A, "b": B} | change
    with one_sentence((SpecError, DataError), words):
        compare_regimes(settings.pop("table"), settings.pop("columns"), **settings)
    with pytest.raises(SpecError, match="low <= value"):
        Measured(value=1.0, low=2.0, high=3.0)
