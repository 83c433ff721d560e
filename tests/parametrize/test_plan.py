"""Plans of the built-in models: the worked example, the reference run, groups, forms, keeping, checking."""

import json

import pytest
import torch
from torch import nn

from limes.core.errors import PlanError
from limes.models import build_model, example_input
from limes.optim import build_optimizer
from limes.parametrize import PARAMETRIZATIONS, Plan, attach_multipliers, group_parameters, init_tensors_, plan
from limes.spec.model import MLPSpec, TransformerSpec, ViTSpec
from limes.spec.study import ParametrizationChoice
from limes.spec.training import OptimizerSpec
from support.reference_run import train_reference

BASE = TransformerSpec(head_dim=16, vocab_size=96)


def build(spec, **factors):
    return build_model(spec, generator=torch.Generator().manual_seed(0), **factors)


def wide(base=BASE, **sizes):
    return base.model_copy(update=sizes)


class Worked(nn.Module):
    """A pre-norm block with a biased output map, std 0.02 everywhere: the published worked example."""

    def __init__(self, size):
        super().__init__()
        width, depth = size["width"], size["depth"]
        self.embedding = nn.Embedding(10, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.up = nn.ModuleList(nn.Linear(width, 4 * width, bias=False) for _ in range(depth))
        self.down = nn.ModuleList(nn.Linear(4 * width, width) for _ in range(depth))
        self.readout = nn.Linear(width, 10, bias=False)
        for name, value in self.named_parameters():
            if value.dim() > 1:
                nn.init.normal_(value, std=0.02)
            elif "down" in name:
                nn.init.zeros_(value)

    def forward(self, tokens):
        x = self.embedding(tokens)
        for norm, up, down in zip(self.norms, self.up, self.down):
            x = x + down(up(norm(x)).relu())
        return self.readout(x)


def worked(**options):
    made = plan(Worked, base={"width": 8, "depth": 2}, target={"width": 32, "depth": 4}, **options)
    return made.settings(lr=3e-3, weight_decay=0.1, eps=1e-8), made


def numbers(entry):
    return (entry.init_std, entry.lr, entry.weight_decay, entry.eps, entry.multiplier)


def test_worked_example_with_multipliers():
    settings, _ = worked(form="multiplier")
    assert numbers(settings["up.3.weight"]) == pytest.approx((0.01, 7.5e-4, 0.4, 1.25e-9, 1.0))
    assert numbers(settings["norms.0.weight"])[1:] == pytest.approx((3e-3, 0.1, 1.25e-9, 1.0))
    assert numbers(settings["embedding.weight"]) == pytest.approx((0.02, 3e-3, 0.1, 2.5e-9, 1.0))
    assert numbers(settings["readout.weight"]) == pytest.approx((0.02, 3e-3, 0.1, 2.5e-9, 0.25))
    assert settings["down.3.weight"].multiplier == settings["down.3.bias"].multiplier == 0.5


def test_worked_example_without_multipliers():
    settings, made = worked()
    assert {entry.multiplier for entry in settings.values()} == {1.0}
    assert numbers(settings["readout.weight"])[:4] == pytest.approx((0.005, 7.5e-4, 0.4, 1e-8))
    assert numbers(settings["down.0.weight"])[:4] == pytest.approx((0.005, 3.75e-4, 0.8, 2.5e-9))
    assert (settings["down.0.bias"].lr, settings["down.0.bias"].eps) == pytest.approx((1.5e-3, 2.5e-9))
    assert settings["norms.0.weight"].init == "constant" and settings["norms.0.weight"].init_mean == 1.0
    assert made.depth_ratio == 2.0


def test_exact_std_is_read_from_the_constructor():
    _, made = worked()
    assert made.row("embedding.weight").init_std == 0.02
    built_in = plan(build, base=BASE, target=wide(width=64), parametrization="mup")
    assert built_in.row("readout.weight").init_std == 32**-0.5 / 2
    assert built_in.row("position.weight").init_std == 0.5


@pytest.mark.parametrize("name", PARAMETRIZATIONS)
def test_base_trains_as_plain_torch_bitwise(name):
    base = ViTSpec(width=16, num_heads=2, input_shape=(1, 4, 4), num_outputs=3)
    made = plan(build, base=base, target=base, parametrization=name, example_inputs=example_input, allow_no_growth=True)
    ours, plain = build(base, attention_scale=made.attention_scale), build(base)
    made.apply_multipliers(ours)
    groups = made.param_groups(ours, lr=0.01, weight_decay=0.1, eps=1e-8)
    optimizer = build_optimizer(groups, OptimizerSpec())
    reference = torch.optim.AdamW(plain.parameters(), lr=0.01, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    images = torch.randn(4, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        for model, solver in ((ours, optimizer), (plain, reference)):
            solver.zero_grad()
            model(images).square().sum().backward()
            solver.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), plain.parameters(), strict=True))


@pytest.mark.parametrize("name, expected", [("standard", 2.4027), ("mup", 2.3629)])
def test_reference_run_at_twice_the_width(name, expected):
    """Measured losses at width 64, base 32, learning rate 2^-6 (four digits; rounding carries to about 1e-3)."""
    target = wide(width=64)
    made = plan(build, base=BASE, target=target, parametrization=name, optimizer="adam")
    model = build(target)
    with torch.no_grad():  # keep the reference's own draws, at the std of the plan
        model.readout.weight.mul_(made.row("readout.weight").init_std * 64**0.5)
    assert made.row("blocks.0.up.weight").init_std == pytest.approx(64**-0.5)
    optimizer = build_optimizer(made.param_groups(model, lr=2.0**-6, eps=1e-12), OptimizerSpec(name="adam"))
    assert train_reference(model, optimizer, seed=0) == pytest.approx(expected, abs=1e-3)


def test_fixed_heads_scale_the_attention_and_fixed_head_dim_does_not():
    heads = TransformerSpec(num_heads=2, vocab_size=96)
    for name, factor in (("mup", 0.5), ("completep", 0.5), ("meanfield", 0.5), ("standard", 1.0), ("ntk", 1.0)):
        assert plan(build, base=heads, target=wide(heads, width=128), parametrization=name).attention_scale == factor
        assert plan(build, base=BASE, target=wide(width=128), parametrization=name).attention_scale == 1.0


def test_groups_are_merged_and_stable():
    target = wide(width=128, depth=4)
    made = plan(build, base=BASE, target=target)
    groups = made.param_groups(build(target), lr=0.01, weight_decay=0.1, eps=1e-8)
    assert [len(group["params"]) for group in groups] == [2, 8, 8, 1]
    assert [group["lr_scale"] for group in groups] == [1.0, 0.25, 0.125, 0.25]
    assert all(group["lr"] == pytest.approx(0.01 * group["lr_scale"]) for group in groups)


def test_depth_mup_and_completep_agree_with_mup_at_the_base_depth():
    target = wide(width=64)
    plans = [plan(build, base=BASE, target=target, parametrization=name) for name in ("mup", "depth_mup", "completep")]
    assert plans[0].rows == plans[1].rows == plans[2].rows


def test_meanfield_gamma0():
    spec = MLPSpec(width=8, depth=2, num_inputs=4, num_outputs=1)
    options = {"base": spec, "target": wide(spec, width=32), "parametrization": "meanfield", "gamma0": 0.5}
    adam = plan(build, **options, form="multiplier")
    assert adam.row("readout.weight").multiplier == pytest.approx(1 / (4 * 0.5))
    assert {row["lr_scale"] for row in adam.rows if row["name"] != "hidden.1.weight"} == {0.5}
    sgd = plan(build, **options, optimizer="sgd", form="multiplier")
    # f / (gamma0 m) with learning rate gamma0^2 m, the same for every tensor.
    assert {row["lr_scale"] for row in sgd.rows} == {0.25 * 4}


@pytest.mark.parametrize(
    "options, words",
    [
        ({"target": BASE}, "nothing grows"),
        ({"target": wide(width=64), "parametrization": "mpu"}, "'mpu' is unknown"),
        ({"target": wide(width=64), "optimizer": "lamb"}, "'lamb' has no rule"),
        ({"target": wide(width=64), "weight_decay": "full"}, "'full'"),
        ({"target": wide(width=64), "alpha": 0.5}, "completep takes no alpha"),
        ({"target": wide(width=64), "overrides": {"embeding.*": "hidden"}}, "matches no tensor"),
        ({"target": wide(width=64), "overrides": {"embedding.*": "input"}}, "'input'"),
        ({"target": wide(width=64), "overrides": {"embedding.*": {"lr": 2}}}, "override 'lr'"),
        ({"target": wide(width=64), "overrides": {"embedding.*": {"lr_scale": -1}}}, "must not be negative"),
        ({"target": wide(width=64), "attention": "no"}, "'no'"),
        ({"target": wide(width=64), "horizon": "chinchilla", "token_ratio": 2.0}, "'chinchilla'"),
        ({"target": wide(width=64), "batch_ratio": 0.0}, "must be positive"),
        ({"target": wide(width=64), "form": "none"}, "'none'"),
    ],
)
def test_refusals(options, words):
    with pytest.raises(PlanError, match=words):
        plan(build, base=BASE, **options)


def test_choice_of_a_study_is_accepted():
    choice = ParametrizationChoice(name="depth_mup", alpha=0.25)
    made = plan(build, base=BASE, target=wide(depth=8), parametrization=choice)
    assert made.options == {"alpha": 0.25}
    assert made.row("blocks.0.up.weight").lr_scale == pytest.approx(4**-0.75)


def test_save_load_and_damage(tmp_path):
    made = plan(build, base=BASE, target=wide(width=64))
    made.save(tmp_path / "plan.json")
    loaded = Plan.load(tmp_path / "plan.json")
    assert loaded.hash == made.hash and loaded.rows == made.rows
    data = json.loads((tmp_path / "plan.json").read_text())
    data["rows"][0]["lr_scale"] = 2.0
    (tmp_path / "plan.json").write_text(json.dumps(data))
    with pytest.raises(PlanError, match="does not match its hash"):
        Plan.load(tmp_path / "plan.json")
    for text in ("", "[]", '{"format": 9}'):
        (tmp_path / "plan.json").write_text(text)
        with pytest.raises(PlanError):
            Plan.load(tmp_path / "plan.json")
    with pytest.raises(PlanError, match="cannot be read"):
        Plan.load(tmp_path / "absent.json")


def test_verify_finds_what_differs():
    target = wide(width=64)
    made = plan(build, base=BASE, target=target, form="multiplier")
    model = build(target)
    with pytest.raises(PlanError, match=r"'readout' multiplies by 1, the plan says 0\.5"):
        made.verify(model)
    made.apply_multipliers(model)
    optimizer = torch.optim.AdamW(made.param_groups(model, lr=0.01, weight_decay=0.1), betas=(0.9, 0.95))
    made.verify(model, optimizer, plan_hash=made.hash)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5)
    made.verify(model, optimizer)
    for group in optimizer.param_groups:
        group["lr"] = 0.01
    with pytest.raises(PlanError, match="overwrote"):
        made.verify(model, optimizer)
    with pytest.raises(PlanError, match="has shape"):
        made.verify(build(BASE))
    with pytest.raises(PlanError, match="written under plan"):
        made.verify(model, plan_hash="0")
    with pytest.warns(UserWarning, match="clips the gradient at 1"):
        made.verify(model, max_grad_norm=1.0)
    half = torch.optim.AdamW(made.param_groups(model, lr=0.01)[:1])
    with pytest.raises(PlanError, match="does not train"):
        made.verify(model, half)
    assert schedule is not None


def test_clipping_is_the_same_in_every_form():
    target = wide(width=64, depth=4)
    made = plan(build, base=BASE, target=target)
    tokens = torch.randint(0, 96, (2, 16), generator=torch.Generator().manual_seed(0))
    norms, steps = [], []
    for form in ("no_multiplier", "multiplier"):
        shaped = made.as_form(form)
        model = shaped.apply_multipliers(shaped.init_(build(target).double(), seed=0))
        model(tokens).square().mean().backward()
        norms.append(shaped.clip_grad_norm_(model, 0.1).item())
        steps.append(model.readout.weight.grad.norm().item() * shaped.row("readout.weight").multiplier)
    assert norms[0] == pytest.approx(norms[1], rel=1e-12) and norms[0] > 0.1
    by_hand = torch.stack([value.grad.norm() for value in model.parameters()]).norm().item()
    assert by_hand == pytest.approx(0.1, rel=1e-4)


def test_settings_alone_apply_like_the_plan():
    target = wide(width=64, depth=4)
    made = plan(build, base=BASE, target=target, form="multiplier")
    settings = made.settings(lr=0.01, weight_decay=0.1, eps=1e-8)
    first, second = made.apply_multipliers(made.init_(build(target), seed=5)), build(target)
    init_tensors_(second, settings, seed=5)
    attach_multipliers(second, settings)
    tokens = torch.arange(8)[None]
    assert torch.equal(first(tokens), second(tokens))
    ours, theirs = (
        made.param_groups(first, lr=0.01, weight_decay=0.1),
        group_parameters(second, settings, optimizer="adamw"),
    )
    keys = ("lr", "weight_decay", "eps", "lr_scale")
    assert [[group[key] for key in keys] for group in ours] == [[group[key] for key in keys] for group in theirs]


def test_settings_that_do_not_fit_are_refused():
    made = plan(build, base=BASE, target=wide(width=64))
    with pytest.raises(PlanError, match="do not fit the model"):
        made.init_(nn.Linear(2, 2), seed=0)
    with pytest.raises(PlanError, match="lr -1"):
        made.settings(lr=-1)


def test_explain_and_frames():
    made = plan(build, base=BASE, target=wide(width=64, depth=4))
    text = made.explain()
    assert "blocks.*.up.weight  x4" in text and "times the smallest of the hidden" in text
    assert "blocks.3.up.weight" in made.explain(by="name")
    assert list(made.to_pandas()["name"]) == [row["name"] for row in made.rows]


def test_overrides_win():
    overrides = {r"blocks\.\d+\.up\.weight": {"lr_scale": 3.0, "init_std": 0.5}, r"position\.weight": "vector"}
    made = plan(build, base=BASE, target=wide(width=64), overrides=overrides)
    row = made.row("blocks.1.up.weight")
    assert (row.lr_scale, row.init_std) == (3.0, 0.5)
    assert made.row("position.weight").role == "vector"
