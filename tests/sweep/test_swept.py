"""Studies that sweep something else than the learning rate: weight decay, momentum, parts of the schedule."""

import json

import pytest

from limes.compare import analyse_panels
from limes.compare.recommend import tuned_value
from limes.compare.result import rule_sentence
from limes.core.errors import SpecError
from limes.report.words import panel_sentence
from limes.spec import SweptSpec, parse_study, resolve_point
from limes.spec.training import OptimizerSpec, TrainingSpec
from limes.sweep import expand
from support.sweep_rows import make_rows

CONTENT = {
    "name": "x",
    "data": {"source": "gaussian", "num_inputs": 4},
    "model": {"family": "resmlp", "width": 8, "depth": 2},
    "training": {"steps": 64, "warmup_steps": 2, "batch_size": 4, "schedule": "wsd"},
    "recommend": {"name": "mup"},
    "panels": [{"axis": "width", "sizes": [8, 32], "seeds": [1, 1], "parametrizations": [{"name": "mup"}]}],
}


def study(field=None, *, optimizer="adamw", **grid):
    content = json.loads(json.dumps(CONTENT))
    content["training"]["optimizer"] = {"name": optimizer}
    content["panels"][0]["grid"] = {"center": -5.0, "count": 5, "low": -9.0, "high": 0.0} | grid
    if field:
        content["swept"] = {"field": field, "log2_lr": -7.0}
    return parse_study(content, name="x")


def test_each_field_changes_its_own_setting_and_the_learning_rate_stays():
    training = TrainingSpec(steps=64, warmup_steps=2, schedule="wsd")
    cases = {
        "weight_decay": (-3.0, lambda t: t.optimizer.weight_decay, 0.125),
        "momentum": (-3.0, lambda t: t.optimizer.betas, (0.875, 0.95)),
        "warmup": (4.0, lambda t: t.warmup_steps, 16),
        "decay": (-2.0, lambda t: t.decay_fraction, 0.25),
        "steps": (7.0, lambda t: t.steps, 128),
    }
    for field, (point, read, value) in cases.items():
        changed, log2_lr = resolve_point(training, SweptSpec(field=field, log2_lr=-7.0), point)
        assert (read(changed), log2_lr) == (value, -7.0)
        others = [other for other in cases if other != field]
        assert all(cases[other][1](changed) == cases[other][1](training) for other in others)
        assert TrainingSpec.model_validate(changed.to_dict()) == changed
    sgd = training.model_copy(update={"optimizer": OptimizerSpec(name="sgd")})
    assert resolve_point(sgd, SweptSpec(field="momentum", log2_lr=0.0), -2.0)[0].optimizer.momentum == 0.75
    assert resolve_point(training, None, -3.0) == (training, -3.0)


def test_runs_scale_weight_decay_as_the_plan_says():
    for item in expand(study("weight_decay")):
        entry, growth = item.spec.tensors["blocks.0.first.weight"], item.member.size / 8
        assert entry.lr == pytest.approx(2.0**-7 / growth)
        assert entry.weight_decay == pytest.approx(2.0**item.member.log2_lr * growth)  # independent: lr x decay stays
        assert item.spec.training.optimizer.weight_decay == 2.0**item.member.log2_lr
    momenta = {item.spec.training.optimizer.momentum for item in expand(study("momentum", optimizer="sgd"))}
    assert momenta == {1 - 2.0**point for point in (-7, -6, -5, -4, -3)}
    lengths = {item.spec.training.steps for item in expand(study("steps", center=6, low=2, high=10))}
    assert lengths == {16, 32, 64, 128, 256}


@pytest.mark.parametrize(
    "field, grid, words",
    [
        ("momentum", {"high": 1.0}, r"2\^1 is above 1"),
        ("decay", {"high": 2.0}, r"2\^2 is above 1"),
        ("warmup", {}, "is whole"),
        ("warmup", {"center": 3, "low": 0, "high": 6}, "64 warm-up steps|2\\^6 warm-up steps do not fit in 64"),
        ("warmup", {"center": 2.5, "low": 0, "high": 5}, "is whole"),
        ("steps", {"center": 4, "low": 1, "high": 8}, r"2\^1 steps are not more than 2 warm-up"),
    ],
)
def test_grids_that_cannot_be_trained_are_refused(field, grid, words):
    with pytest.raises(SpecError, match=words):
        study(field, **grid)
    content = {**CONTENT, "training": {}, "swept": {"field": "decay", "log2_lr": -7}}
    content["panels"] = [{**CONTENT["panels"][0], "grid": {"center": -2, "low": -5, "high": 0}}]
    with pytest.raises(SpecError, match="'linear' has no final decay"):
        parse_study(content, name="x")


def test_a_study_of_the_learning_rate_reads_as_before():
    plain, swept = study(), study("weight_decay")
    assert "swept" not in plain.to_dict() and swept.to_dict()["swept"] == {"field": "weight_decay", "log2_lr": -7.0}
    assert parse_study(swept.to_dict(), name="x") == swept and parse_study(plain.to_dict(), name="x") == plain
    rows = make_rows(lambda size, seed: -5.0 + 0.1 * seed, sizes=(8, 32), seeds=2, grid=range(-8, -1))
    first, second = (analyse_panels(each, rows)[0] for each in (plain, swept))
    assert "log2_optimal_lr" in first.to_dict() and "log2_optimum" not in first.to_dict()
    assert second.to_dict()["log2_optimum"] == first.to_dict()["log2_optimal_lr"]
    assert first.drift_interval == second.drift_interval and first.verdict == second.verdict == "transfers"
    assert "The best learning rate" in panel_sentence(first, level=0.9, tolerance=1.0)
    assert "The best weight decay" in panel_sentence(second, level=0.9, tolerance=1.0)
    assert "log2 of the learning rate" in rule_sentence(0.9, 1.0, 0.35)
    point, note = tuned_value([second], "mup")
    assert point == pytest.approx(-4.95) and "mean optimum over 2 seed(s)" in note
