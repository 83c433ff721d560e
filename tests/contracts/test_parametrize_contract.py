"""Every parametrization of the table: neutral at the base, one role per tensor, invariant under the abc-symmetry."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from limes.models import build_model, example_input
from limes.optim import OPTIMIZERS, build_optimizer
from limes.parametrize import PARAMETRIZATIONS, Plan, plan
from limes.parametrize.row import PlanRow
from limes.parametrize.scaling import ROLES
from limes.spec.model import CNNSpec, MLPSpec, ResMLPSpec, TransformerSpec, ViTSpec
from limes.spec.training import OptimizerSpec

BASES = {
    "heads grow": TransformerSpec(width=32, head_dim=16, vocab_size=11, context=6),
    "head_dim grows": TransformerSpec(width=32, num_heads=2, vocab_size=11, context=6),
    "tied": TransformerSpec(width=32, num_heads=2, vocab_size=11, context=6, tied=True),
    "vit": ViTSpec(width=16, num_heads=2, input_shape=(1, 4, 4), num_outputs=3),
    "mlp": MLPSpec(width=8, depth=2, num_inputs=5, num_outputs=3, bias=True),
    "resmlp": ResMLPSpec(width=8, depth=2, num_inputs=5, num_outputs=3),
    "resmlp one matrix": ResMLPSpec(width=8, depth=2, matrices_per_branch=1, num_inputs=5, num_outputs=3),
    "cnn": CNNSpec(width=8, depth=2, input_shape=(1, 6, 6), num_outputs=3),
}


def build(spec, **factors):
    return build_model(spec, generator=torch.Generator().manual_seed(0), **factors)


def grown(base, *, width=4, depth=2):
    factor = 1 if base.family == "mlp" else depth
    return base.model_copy(update={"width": base.width * width, "depth": base.depth * factor})


def planned(base, target, name, **options):
    return plan(build, base=base, target=target, parametrization=name, example_inputs=example_input, **options)


AT_BASE = [(case, "adamw") for case in BASES] + [("tied", name) for name in OPTIMIZERS if name != "adamw"]


@pytest.mark.parametrize("case, optimizer", AT_BASE)
def test_settings_at_the_base_are_those_of_standard_training_bitwise(case, optimizer):
    settings = set()
    for name in PARAMETRIZATIONS:
        made = planned(BASES[case], BASES[case], name, optimizer=optimizer, allow_no_growth=True)
        assert made.attention_scale == 1.0
        assert {row["multiplier"] for row in made.as_form("multiplier").rows} == {1.0}
        values = made.settings(lr=0.3, weight_decay=0.07, eps=1e-7)
        settings.add(tuple((key, value.model_dump_json()) for key, value in values.items()))
    assert len(settings) == 1
    for _, value in next(iter(settings)):
        assert '"lr":0.3,"weight_decay":0.07' in value


@pytest.mark.parametrize("case", BASES)
@pytest.mark.parametrize("name", PARAMETRIZATIONS)
def test_each_parameter_has_one_row_and_plans_are_pure(case, name):
    base = BASES[case]
    target = grown(base)
    state = torch.get_rng_state()
    made, again = planned(base, target, name), planned(base, target, name)
    assert torch.equal(state, torch.get_rng_state())
    assert made.hash == again.hash and made.rows == again.rows
    names = [key for key, _ in build(target).named_parameters(remove_duplicate=False)]
    assert [row["name"] for row in made.rows] == names
    assert {row["role"] for row in made.rows} <= set(ROLES)
    assert Plan.from_dict(made.to_dict()).hash == made.hash


@pytest.mark.parametrize("case", ["heads grow", "tied"])
@pytest.mark.parametrize("name", PARAMETRIZATIONS)
def test_init_sets_the_target_std_and_is_idempotent(case, name):
    base = BASES[case]
    made = planned(base, grown(base), name)
    model = made.init_(build(grown(base)), seed=3)
    before = {key: value.clone() for key, value in model.named_parameters()}
    for key, value in made.init_(model, seed=3).named_parameters():
        assert torch.equal(value, before[key])
        row = made.row(key)
        # Six standard errors of a sample standard deviation.
        assert abs(value.std().item() / row.init_std - 1) < 6 * (2 * value.numel()) ** -0.5, key


def train(made, target, *, optimizer, steps=4, lr=0.01, weight_decay=0.3, eps=1e-3):
    """Parameters in the form without multipliers, and outputs, after a few float64 steps."""
    model = build(target, attention_scale=made.attention_scale).double()
    made.init_(model, seed=0)
    made.apply_multipliers(made.apply_multipliers(model))
    options = {"momentum": 0.9} if optimizer == "sgd" else {}
    groups = made.param_groups(model, lr=lr, weight_decay=weight_decay, eps=eps)
    solver = build_optimizer(groups, OptimizerSpec(name=optimizer, **options))
    inputs = example_input(target, num_samples=4)
    generator = torch.Generator().manual_seed(1)
    if inputs.is_floating_point():
        inputs = torch.randn(inputs.shape, generator=generator, dtype=torch.float64)
    else:
        inputs = torch.randint(0, 11, inputs.shape, generator=generator)
    outputs = model(inputs)
    labels = torch.randint(0, outputs.shape[-1], outputs.shape[:-1], generator=generator)
    for _ in range(steps):
        outputs = model(inputs)
        solver.zero_grad()
        F.cross_entropy(outputs.flatten(0, -2), labels.flatten()).backward()
        solver.step()
    return model(inputs).detach(), model


FORM_CASES = [(case, "adamw") for case in BASES] + [
    (case, optimizer) for case in ("tied", "mlp", "resmlp") for optimizer in ("sgd", "adam")
]


@pytest.mark.parametrize("case, optimizer", FORM_CASES)
@pytest.mark.parametrize("name", PARAMETRIZATIONS)
def test_forms_train_alike(case, name, optimizer):
    """eps 1e-3 and decay 0.3 are large on purpose: a form that forgot to move one shows at order one."""
    base = BASES[case]
    made = planned(base, grown(base), name, optimizer=optimizer)
    plain, _ = train(made, grown(base), optimizer=optimizer)
    other, _ = train(made.as_form("multiplier"), grown(base), optimizer=optimizer)
    assert (plain - other).abs().max() <= 1e-10 * plain.abs().max()
    back = made.as_form("multiplier").as_form("no_multiplier")
    for row, original in zip(back.rows, made.rows, strict=True):
        assert row["lr_scale"] == pytest.approx(original["lr_scale"], rel=1e-14)
        assert row["multiplier"] == pytest.approx(original["multiplier"], rel=1e-14)


@pytest.mark.parametrize("theta", [4.0, 0.3])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_symmetry_gives_the_same_trajectory(optimizer, theta):
    base = BASES["mlp"]
    target = grown(base)
    made = planned(base, target, "mup", optimizer=optimizer)
    plain, _ = train(made, target, optimizer=optimizer)
    for name in ("hidden.0.weight", "hidden.1.bias", "readout.weight"):
        made = made.symmetry(name, theta)
    moved, _ = train(made, target, optimizer=optimizer)
    assert {row["multiplier"] for row in made.rows} == {theta}
    assert (plain - moved).abs().max() <= 1e-10 * plain.abs().max()


MUTANTS = [
    (optimizer, setting)
    for optimizer in ("sgd", "adam", "adamw")
    for setting in ("lr_scale", "weight_decay_scale", "eps_scale", "init_std")
    if (optimizer, setting) != ("sgd", "eps_scale")  # SGD has no eps
]


@pytest.mark.parametrize("optimizer, setting", MUTANTS)
def test_a_symmetry_that_forgets_one_setting_is_noticed(optimizer, setting):
    """The mutant of the test above."""
    base, theta = BASES["mlp"], 4.0
    target = grown(base)
    made = planned(base, target, "mup", optimizer=optimizer)
    plain, _ = train(made, target, optimizer=optimizer)
    for name in ("hidden.1.weight", "readout.weight"):
        forgotten = {setting: getattr(made.row(name), setting)}
        moved = made.symmetry(name, theta)
        entries = tuple(replace(row, **forgotten) if row.name == name else row for row in moved.entries)
        other, _ = train(replace(moved, entries=entries), target, optimizer=optimizer)
        assert (plain - other).abs().max() > 1e-4 * plain.abs().max()


@pytest.mark.parametrize("power", [-1.0, 1.0])
@pytest.mark.parametrize("optimizer, setting", MUTANTS)
def test_a_form_with_one_wrong_exponent_is_noticed(optimizer, setting, power, monkeypatch):
    """The mutant of the forms: readout and branches move with one exponent off by one, in either direction."""
    base = BASES["resmlp"]
    made = planned(base, grown(base), "completep", optimizer=optimizer)
    plain, _ = train(made, grown(base), optimizer=optimizer)
    moved = PlanRow.moved

    def wrong(row, theta):
        new = moved(row, theta)
        return replace(new, **{setting: getattr(new, setting) * theta**power})

    monkeypatch.setattr(PlanRow, "moved", wrong)
    other, _ = train(made.as_form("multiplier"), grown(base), optimizer=optimizer)
    assert (plain - other).abs().max() > 1e-4 * plain.abs().max()


@pytest.mark.parametrize("name", PARAMETRIZATIONS)
def test_multipliers_survive_deepcopy_and_attach_once(name):
    base = BASES["heads grow"]
    made = planned(base, grown(base), name, form="multiplier")
    model = made.init_(build(grown(base)), seed=0)
    inputs = example_input(grown(base))
    plain = model(inputs)
    made.apply_multipliers(model)
    once = model(inputs)
    copied = copy.deepcopy(model)
    made.apply_multipliers(copied)
    assert torch.equal(once, copied(inputs))
    if any(row["multiplier"] != 1.0 for row in made.rows):
        assert not torch.equal(plain, once)
    else:
        assert torch.equal(plain, once)
        assert all(type(module) is type(other) for module, other in zip(model.modules(), build(grown(base)).modules()))
