"""Solved theories as curves: theory and simulation agree, mutants do not, draws are recorded, bad settings refused."""

import json
from dataclasses import replace

import numpy as np
import pytest

from limes.compare.curves import (
    DrawPlan,
    FeatureLearningSetting,
    Points,
    QuadraticSetting,
    RidgeSetting,
    Work,
    balanced_linear_study,
    feature_learning,
    feature_learning_study,
    gaussian_mixture,
    gaussian_mixture_study,
    linear_attention,
    linear_attention_study,
    quadratic_network_study,
    ridge,
    ridge_study,
)
from limes.compare.curves.quadratic_network import _count
from limes.core.errors import LimesError, SpecError
from limes.report.theory import theory_page, write_theory_report
from limes.theory.scaling import FeatureLearningProblem, power_law_problem, solve_feature_learning
from limes.theory.solvable import GaussianMixtureProblem, LinearAttentionProblem, hessian_levels, solve_linear_attention
from support.refusals import one_sentence

ATTENTION = LinearAttentionProblem(context_ratio=2.0, task_ratio=1.0, sequence_ratio=0.5, noise_var=0.1, ridge=0.2)
MIXTURE = GaussianMixtureProblem(
    class_weights=[0.6, 0.4], means_gram=np.eye(2), sample_ratio=2.0, within_var=0.5, ridge=0.3
)
QUADRATIC = QuadraticSetting(num_units=2, num_teacher=2, lr=0.3, start=0.2, longest=6.0)
RIDGE = RidgeSetting(a=1.75, b=1.5, num_modes=60, noise_var=0.1, ridge=0.02, num_samples=20, widths=(10,))
FEATURES = FeatureLearningSetting(a=1.5, b=2.0, gammas=(0.0, 1.0), num_modes=10, longest=4.0)
STUDIES = {
    "linear-attention": (lambda work: linear_attention_study(ATTENTION, work), (4, 8)),
    "gaussian-mixture": (lambda work: gaussian_mixture_study(MIXTURE, work), (10, 20)),
    "quadratic-network": (lambda work: quadratic_network_study(QUADRATIC, work), (20, 40)),
    "balanced-linear": (
        lambda work: balanced_linear_study((2.0, 1.0), start=0.1, depth=3, longest=2.0, work=work),
        (4, 8),
    ),
    "ridge": (lambda work: ridge_study(RIDGE, work), ()),
    "feature-learning": (lambda work: feature_learning_study(FEATURES, work), (20, 40)),
}


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    """Fewer points than on a page."""
    ends = np.array([0.25, 2.0])
    monkeypatch.setattr(linear_attention, "SIMULATED", (0.25, 1.0))
    monkeypatch.setattr(linear_attention, "SHOWN", ends)
    monkeypatch.setattr(ridge, "NUM_SHOWN", 5)
    monkeypatch.setattr(ridge, "SHARES", (0.5, 2.0))
    monkeypatch.setattr(gaussian_mixture, "SHOWN", {"ridge": ends, "sample_ratio": ends})
    monkeypatch.setattr(gaussian_mixture, "SIMULATED", {"ridge": ends, "sample_ratio": ends})
    monkeypatch.setattr(feature_learning, "NUM_TIMES", 11)


def plan(name, num_draws=3, **fields):
    return DrawPlan(num_draws=num_draws, sizes=STUDIES[name][1], **fields)


@pytest.mark.parametrize("name", sorted(STUDIES))
def test_theory_alone_has_curves_and_a_page(name, tmp_path):
    study = STUDIES[name][0](Work())
    assert study.name == name and study.agreement == "" and len(study.panels) >= 2
    for panel in study.panels:
        assert all(len(curve.x) == len(curve.y) and curve.points is None for curve in panel.curves)
        assert all(np.isfinite(curve.y).any() for curve in panel.curves)
    page = write_theory_report(study, tmp_path / "new")
    assert page.read_text().startswith("<!")
    rows = (tmp_path / "new" / f"{name}.csv").read_text().splitlines()
    assert rows[0] == "panel,curve,x,theory,simulated,standard_error" and len(rows) == 1 + len(study.to_rows())
    assert json.loads((tmp_path / "new" / f"{name}.json").read_text())["theory"] == name


@pytest.mark.parametrize("name", sorted(STUDIES))
def test_draws_are_recorded_reproducible_and_not_repeated(name):
    build, recorded, told = STUDIES[name][0], {}, []
    first = build(Work(plan=plan(name), recorded=recorded, progress=lambda phase, share: told.append((phase, share))))
    assert "95% intervals hold the theory" in first.lines[-1] and "3 draws" in first.lines[-1]
    shares = [share for phase, share in told if phase == "simulation"]
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1.0)
    keys, total = list(recorded), len(recorded)
    # Half of the record is lost: the rest is drawn again, the same.
    kept = {key: recorded[key] for key in keys[: total // 2]}
    again = build(Work(plan=plan(name), recorded=kept))
    assert kept == recorded and again.to_rows() == first.to_rows()
    other = build(Work(plan=plan(name, seed=1)))
    assert other.to_rows() != first.to_rows()
    assert len(theory_page(first).sections) == 2
    simulated = [row for row in first.to_rows() if row["simulated"] is not None]
    assert simulated and all(row["standard_error"] > 0 for row in simulated)


def test_simulated_networks_lie_on_the_theory_and_not_on_another():
    work = Work(plan=DrawPlan(num_draws=24, sizes=(40, 80, 120)))
    points = feature_learning_study(FEATURES, work).panels[0].curves[1].points
    assert (np.abs(points.mean - points.predicted) <= points.half_width).mean() > 0.6
    law = power_law_problem(FEATURES.a, FEATURES.b, FEATURES.num_modes)
    mutant = FeatureLearningProblem(law.spectrum, law.target_power, gamma=2.0)
    wrong = solve_feature_learning(mutant, points.x).test_loss
    assert (np.abs(points.mean - wrong)[2:] > points.half_width[2:]).all()


def test_the_transition_is_where_the_gap_has_fallen_to_a_tenth():
    line = linear_attention_study(ATTENTION, Work()).answer[1]
    place = float(line.split(" at ")[1].split(" tasks")[0])
    gap = solve_linear_attention(replace(ATTENTION, task_ratio=place)).generalization_gap
    first = solve_linear_attention(replace(ATTENTION, task_ratio=0.02)).generalization_gap
    assert gap / first == pytest.approx(0.1, rel=0.02)


def test_the_quadratic_page_has_the_hessian_with_its_multiplicities():
    study = quadratic_network_study(replace(QUADRATIC, num_units=3), Work())
    rows = study.tables[0].rows
    levels = [level for level in hessian_levels(3, 2, 50) if level.multiplicity]
    plateau = [row for row in rows if row[0] == "plateau"]
    assert [row[1] for row in plateau] == [level.value for level in levels]
    assert [row[2] for row in plateau] == ["1", "5", "3", "3 N - 15", "6"]
    assert [level.multiplicity for level in levels] == [1, 5, 3, 3 * 50 - 15, 6]
    assert _count(0, 3) == "3" and _count(1, -2) == "N - 2"
    drift = study.panels[3].curves
    assert drift[1].y.max() < 1e-6 < drift[0].y.max(), "flow conserves, SGD does not"
    few = quadratic_network_study(replace(QUADRATIC, num_units=1, lr=0.05), Work())
    assert "cannot represent" in few.answer[-1] and few.panels[0].curves[-1].label == "least loss"


def test_points_in_standard_errors():
    points = Points(
        x=np.arange(3.0),
        predicted=np.array([1.0, 2.0, 3.0]),
        mean=np.array([1.0, 2.2, 2.0]),
        error=np.array([0.0, 0.1, 0.5]),
        degrees_of_freedom=10,
    )
    np.testing.assert_allclose(points.deviations, [0.0, 2.0, -2.0])
    np.testing.assert_allclose(points.half_width[1:] / points.error[1:], 2.228, atol=1e-3)


BAD = {
    "one draw": (lambda: DrawPlan(num_draws=1), "num_draws is 1"),
    "sizes in disorder": (lambda: DrawPlan(num_draws=2, sizes=(20, 10)), "increasing"),
    "too few sizes": (lambda: DrawPlan(num_draws=2, sizes=(10, 20), terms=2), "at least 3 of them"),
    "many modes": (
        lambda: ridge_study(replace(RIDGE, num_modes=6000), Work(plan=plan("ridge"))),
        "num_modes is 6000",
    ),
    "many trained modes": (
        lambda: feature_learning_study(replace(FEATURES, num_modes=300), Work(plan=plan("feature-learning"))),
        "at most 200",
    ),
    "no ridge below zero": (lambda: ridge_study(replace(RIDGE, ridge=-1.0), Work()), "ridge is -1"),
    "a": (lambda: ridge_study(replace(RIDGE, a=0.9), Work()), "a is 0.9"),
    "endless wait": (
        lambda: balanced_linear_study((1.0,), start=1e-200, depth=50, longest=None, work=Work()),
        "give a larger start",
    ),
    "endless": (lambda: feature_learning_study(replace(FEATURES, longest=1e300), Work()), "below 1e"),
    "short": (lambda: feature_learning_study(replace(FEATURES, longest=0.1), Work()), "longest is 0.1"),
    "start": (lambda: quadratic_network_study(replace(QUADRATIC, start=1.5), Work()), "start is 1.5"),
    "overlaps of no weights": (
        lambda: quadratic_network_study(replace(QUADRATIC, start=0.9), Work()),
        "make cross_overlap smaller",
    ),
    "near": (
        lambda: balanced_linear_study((1.0,), start=0.6, depth=2, longest=None, work=Work()),
        "start is 0.6; expected less than 0.5",
    ),
    "divergence": (lambda: quadratic_network_study(replace(QUADRATIC, lr=5.0), Work()), "lower lr"),
    "fraction of a task": (
        lambda: linear_attention_study(ATTENTION, Work(plan=DrawPlan(num_draws=2, sizes=(6, 7)))),
        "choose a dim",
    ),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_bad_settings_are_one_sentence(case):
    call, words = BAD[case]
    with one_sentence(LimesError, words):
        call()
    assert issubclass(SpecError, LimesError)
