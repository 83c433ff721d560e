"""The coordinate check on small networks: what passes, what fails, what is blamed, and what is refused."""

import json
import math

import pytest
import torch
from torch import nn

import limes
from limes.compare import coord_check, sizes_between
from limes.compare.coord_batch import random_batch
from limes.compare.coord_plans import sizes_along
from limes.core.errors import PlanError, SpecError
from limes.models import build_model
from limes.parametrize.declared import declare
from limes.spec.model import TransformerSpec
from support import coord_cases as cases

WIDTHS = [64, 128, 256]
RES_WIDTHS = [{"width": width, "depth": 2} for width in WIDTHS]
RES_DEPTHS = [{"width": 64, "depth": depth} for depth in (2, 4, 8)]


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "lion", "muon"])
@pytest.mark.parametrize("name", ["mup", "meanfield", "ntk"])
def test_parametrizations_pass_with_every_optimizer(name: str, optimizer: str) -> None:
    check = coord_check(cases.mlp, name, widths=WIDTHS, batch=cases.vectors(), optimizer=optimizer)
    assert check.passed, check.explain()
    # The lazy limit is held to its own exponents: features that move as width^(-1/2).
    assert check.row("width", "effective", "2.weight").declared == (-0.5 if name == "ntk" else 0.0)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lion"])
def test_standard_training_fails_and_its_tensors_are_named(optimizer: str) -> None:
    check = coord_check(cases.mlp, "standard", widths=WIDTHS, batch=cases.vectors(), optimizer=optimizer)
    assert check.verdict == "fails"
    assert cases.blamed(check, "hidden learning rate") == {"2.weight"}
    assert cases.blamed(check, "readout learning rate") == {"4.weight"}
    expected = 0.5 if optimizer == "sgd" else 1.0
    slope = check.row("width", "map change", "2.weight").slope
    assert slope is not None and abs(slope - expected) < check.tolerance


def test_a_plan_or_a_callable_can_be_checked() -> None:
    plan = limes.plan(cases.mlp, base=64, target=256, parametrization="mup")
    assert coord_check(cases.mlp, plan, widths=WIDTHS, batch=cases.vectors()).passed
    wrong = cases.spoiled(cases.mlp, WIDTHS, "mup", cases.hidden_lr)
    by_callable = coord_check(cases.mlp, wrong, widths=WIDTHS, batch=cases.vectors())
    # One plan, made for the last size: its deviation is taken as a power of the width.
    by_plan = coord_check(cases.mlp, wrong(256), widths=WIDTHS, batch=cases.vectors())
    for check in (by_callable, by_plan):
        assert check.verdict == "fails" and cases.blamed(check, "hidden learning rate") == {"2.weight"}
    slopes = [check.row("width", "effective", "2.weight").slope for check in (by_callable, by_plan)]
    assert abs(slopes[0] - slopes[1]) < 0.1


@pytest.mark.parametrize(
    ("edit", "setting", "names", "options", "form"),
    [
        (cases.hidden_lr, "hidden learning rate", {"blocks.*.up.weight", "blocks.*.down.weight"}, {}, "no_multiplier"),
        (cases.embedding_lr, "embedding learning rate", {"stem.weight"}, {}, "no_multiplier"),
        (cases.readout_multiplier, "readout multiplier", {"head.weight"}, {}, "multiplier"),
        (
            cases.decay,
            "weight decay",
            {"blocks.*.up.weight", "blocks.*.down.weight", "head.weight"},
            {},
            "no_multiplier",
        ),
        (cases.eps, "epsilon", None, {"eps": 1e-2}, "no_multiplier"),
    ],
)
def test_one_wrong_setting_is_found_along_the_width(edit, setting, names, options, form) -> None:
    batch = cases.vectors()
    fine = cases.spoiled(cases.ResNet, RES_WIDTHS, "mup", lambda row, growth: row, form=form)
    assert coord_check(cases.ResNet, fine, widths=RES_WIDTHS, batch=batch, **options).passed
    wrong = cases.spoiled(cases.ResNet, RES_WIDTHS, "mup", edit, form=form)
    check = coord_check(cases.ResNet, wrong, widths=RES_WIDTHS, batch=batch, **options)
    assert check.verdict == "fails" and cases.settings(check) == {setting}, check.explain()
    if names is not None:
        assert cases.blamed(check, setting) == names


def test_depth_with_its_blocks_second_order_and_a_wrong_multiplier() -> None:
    batch = cases.vectors()
    check = coord_check(cases.ResNet, "completep", depths=RES_DEPTHS, batch=batch)
    assert check.passed, check.explain()
    assert check.row("depth", "second order", "blocks.*: all").declared == 0.0
    lazy = coord_check(cases.ResNet, "depth_mup", depths=RES_DEPTHS, batch=batch)
    row = lazy.row("depth", "second order", "blocks.*: all")
    assert lazy.passed and row.declared == -0.5 and row.verdict == "passes"
    wrong = cases.spoiled(cases.ResNet, RES_DEPTHS, "completep", cases.residual_multiplier, form="multiplier")
    spoiled = coord_check(cases.ResNet, wrong, depths=RES_DEPTHS, batch=batch)
    assert spoiled.verdict == "fails"
    assert cases.blamed(spoiled, "residual multiplier") == {"blocks.*.down.weight"}


def test_without_a_rule_of_depth_the_residual_stream_grows() -> None:
    check = coord_check(cases.ResNet, "mup", depths=RES_DEPTHS, batch=cases.vectors())
    assert check.verdict == "fails" and "residual multiplier" in cases.settings(check)
    assert "no rule of depth" in check.causes[0].sentence


def test_a_growing_head_dimension_needs_its_scale() -> None:
    def build(spec, attention_scale=1.0):
        return build_model(spec, generator=torch.Generator().manual_seed(0), attention_scale=attention_scale)

    widths = [TransformerSpec(width=width, depth=1, num_heads=2, vocab_size=16, context=8) for width in WIDTHS]
    tokens = torch.randint(0, 16, (2, 8), generator=torch.Generator().manual_seed(1))
    batch = (tokens, tokens.roll(1, dims=1))
    assert coord_check(build, "mup", widths=widths, batch=batch).passed
    wrong = coord_check(build, "mup", widths=widths, batch=batch, attention="keep")
    assert wrong.verdict == "fails" and cases.settings(wrong) == {"attention scale"}


def test_the_result_is_plain_data() -> None:
    seen = []
    check = coord_check(
        cases.mlp,
        "standard",
        widths=WIDTHS,
        batch=cases.vectors(),
        seeds=2,
        progress=lambda done, all_: seen.append(done),
    )
    assert seen == list(range(1, 7))
    content = json.loads(check.to_json())
    assert content["verdict"] == "fails" and content["axes"][0]["causes"]
    assert {"quantity", "name", "slope", "low", "high", "declared", "verdict"} <= content["axes"][0]["rows"][0].keys()
    assert len(check.to_rows()) == len(content["axes"][0]["rows"])
    text = check.explain()
    assert "hidden learning rate of 2.weight" in text and "fails" in text


def test_the_global_random_state_is_not_touched() -> None:
    state = torch.get_rng_state()
    coord_check(cases.mlp, "mup", widths=WIDTHS, batch=cases.vectors(), seeds=2)
    assert torch.equal(state, torch.get_rng_state())


def test_a_diverged_network_fails() -> None:
    check = coord_check(cases.mlp, "standard", widths=WIDTHS, batch=cases.vectors(), seeds=2, optimizer="sgd", lr=1e30)
    assert check.verdict == "fails" and json.loads(check.to_json())


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"widths": None}, SpecError, "neither widths nor depths"),
        ({"widths": [64, 128]}, SpecError, "three"),
        ({"widths": [64, 256, 128]}, SpecError, "increasing"),
        ({"seeds": 1}, SpecError, "two seeds"),
        ({"level": 1.0}, SpecError, "level"),
        ({"optimizer": "adamx"}, SpecError, "adamx"),
        ({"batch": 3}, SpecError, "int"),
        ({"batch": {"input": torch.ones(2, 8)}}, SpecError, "targets"),
        ({"parametrization": "nup"}, PlanError, "nup"),
    ],
)
def test_bad_requests_are_refused_in_a_sentence(changes, error, words: str) -> None:
    given = {"widths": WIDTHS, "batch": cases.vectors(), "seeds": 2, **changes}
    with pytest.raises(error, match=words):
        coord_check(cases.mlp, "mup", **given)


def test_width_and_depth_together_and_nothing_at_all_are_refused() -> None:
    both = [{"width": 64 * factor, "depth": 2 * factor} for factor in (1, 2, 4)]
    with pytest.raises(PlanError, match="one axis at a time"):
        coord_check(cases.ResNet, "mup", widths=both, batch=cases.vectors())
    with pytest.raises(PlanError, match="neither width nor"):
        declare(cases.mlp, base=64, target=64, parametrization="mup")


def test_a_plan_for_another_network_is_refused() -> None:
    plan = limes.plan(cases.mlp, base=64, target=512, parametrization="mup")
    with pytest.raises(PlanError, match="another network"):
        coord_check(cases.mlp, plan, widths=WIDTHS, batch=cases.vectors())


def test_like_layers_are_pooled_and_unlike_ones_are_not() -> None:
    def build(size):
        block = lambda: nn.Sequential(nn.Linear(size, 2 * size), nn.GELU(), nn.Linear(2 * size, size))  # noqa: E731
        return nn.Sequential(nn.Linear(8, size), block(), block(), nn.Linear(size, 3))

    found = declare(build, base=16, target=64, parametrization="mup")
    labels = [found.label(name) for name in ("0.weight", "1.0.weight", "2.0.weight", "1.1", "3.bias")]
    assert labels == ["0.weight", "1.0.weight", "2.0.weight", "1.1", "3.bias"]
    stacked = declare(cases.ResNet, base=RES_WIDTHS[0], target=RES_WIDTHS[2], parametrization="mup")
    assert stacked.label("blocks.1.up.weight") == "blocks.*.up.weight"
    assert {"blocks.*.up", "blocks.*.norm"} <= stacked.inner and "blocks.*" in stacked.blocks


@pytest.mark.parametrize("name", ["mup", "ntk", "meanfield", "standard"])
def test_declared_exponents_follow_from_the_widths(name: str) -> None:
    found = declare(cases.mlp, base=64, target=256, parametrization=name)
    lazy = name == "ntk"
    assert found.features == (-0.5 if lazy else 0.0)
    assert found.tensors["4.weight"].effective == 0.0
    assert found.tensors["4.weight"].init == (0.0 if name in ("ntk", "standard") else -0.5)
    assert found.logits_init is None, "the head starts with a random bias"


def test_sizes_between_and_along() -> None:
    wide, deep = sizes_between(cases.ResNet, {"width": 16, "depth": 2}, {"width": 128, "depth": 16})
    assert [size["width"] for size in wide] == [16, 32, 64, 128] and {size["depth"] for size in wide} == {2}
    assert [size["depth"] for size in deep] == [2, 4, 8, 16] and {size["width"] for size in deep} == {16}
    base, target = {"width": 16, "depth": 2}, {"width": 64, "depth": 2}
    assert [size["width"] for size in sizes_along(cases.ResNet, base, target, [16, 24, 48], axis="width")] == [
        16,
        24,
        48,
    ]
    with pytest.raises(SpecError, match="first width"):
        sizes_along(cases.ResNet, base, target, [32, 64, 128], axis="width")
    with pytest.raises(PlanError, match="three"):
        sizes_between(cases.mlp, 2, 3)


def test_a_random_batch_fits_vectors_tokens_and_images() -> None:
    inputs, targets = random_batch(cases.mlp, 64)
    assert inputs[0].shape == (4, 8) and targets.shape == (4,)
    language = lambda width: nn.Sequential(nn.Embedding(7, width), nn.Linear(width, 7))  # noqa: E731
    inputs, targets = random_batch(language, 16)
    assert inputs[0].max() < 7 and targets.shape == inputs[0].shape
    images = lambda width: nn.Sequential(nn.Conv2d(3, width, 3), nn.Conv2d(width, 1, 3))  # noqa: E731
    inputs, targets = random_batch(images, 8)
    assert targets.is_floating_point() and math.prod(targets.shape) > 0
    with pytest.raises(SpecError, match="pass one"):
        random_batch(lambda width: nn.Bilinear(width, width, 1), 8)
