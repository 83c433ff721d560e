"""Weight decay modes, batch and horizon, Muon and other optimizers, several outputs, plans of odd sizes."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from limes.core.errors import PlanError
from limes.parametrize import HORIZONS, plan
from limes.parametrize.initial import measure_init
from limes.spec.model import MLPSpec


def network(width):
    """Embedding, one hidden layer, biased readout."""
    return nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2))


def grown(**options):
    return plan(network, base=8, target=32, **{"parametrization": "mup", **options})


def decay_of(made, name="2.weight", *, lr=0.01, weight_decay=0.1):
    return made.settings(lr=lr, weight_decay=weight_decay)[name].weight_decay


def test_effective_shrinkage_per_step_is_what_the_mode_promises():
    """No coordinate check reveals decay; with zero gradients, AdamW shows it alone."""
    expected = {"coupled": 0.01 / 4 * 0.1, "independent": 0.01 * 0.1, "timescale": 0.01 * 0.1, "lr_free": 0.1}
    for mode, shrink in expected.items():
        made = grown(weight_decay=mode)
        model = made.init_(network(32), seed=0).double()
        before = model[2].weight.detach().clone()
        optimizer = torch.optim.AdamW(made.param_groups(model, lr=0.01, weight_decay=0.1))
        for value in model.parameters():
            value.grad = torch.zeros_like(value)
        optimizer.step()
        assert torch.allclose(model[2].weight, before * (1 - shrink), rtol=1e-12, atol=0), mode


@pytest.mark.parametrize(
    "optimizer, scale", [("sgd", 1.0), ("adam", 1.0), ("adamw", 4.0), ("lion", 4.0), ("muon", 1.0)]
)
def test_independent_decay_by_optimizer(optimizer, scale):
    """Hidden matrix at m = 4: SGD keeps its rate, L2 inside Adam follows G/lr, decoupled decay follows 1/lr."""
    assert grown(optimizer=optimizer).row("2.weight").weight_decay_scale == pytest.approx(scale)


def test_lr_free_does_not_move_with_the_learning_rate():
    made = grown(weight_decay="lr_free")
    for lr in (0.01, 0.04):
        entry = made.settings(lr=lr, weight_decay=0.1)["2.weight"]
        assert entry.lr * entry.weight_decay == pytest.approx(0.1)
    with pytest.raises(PlanError, match="lr_free divides by lr"):
        made.settings(lr=0.0, weight_decay=0.1)


def test_vectors_can_be_left_out_of_the_decay():
    made = grown(decay_vectors=False)
    assert [row["name"] for row in made.rows if row["weight_decay_scale"] == 0.0] == ["0.bias", "2.bias", "4.bias"]
    assert decay_of(grown(), "2.bias") == 0.1


@pytest.mark.parametrize("horizon", HORIZONS)
def test_horizon_scales_all_tensors_alike_and_keeps_what_it_says(horizon):
    usual, longer = grown(), grown(token_ratio=4.0, batch_ratio=2.0, horizon=horizon)
    ratios = {
        tuple(longer.row(row.name).__getattribute__(key) / getattr(row, key) for key in ("lr_scale", "eps_scale"))
        for row in usual.entries
    }
    assert len(ratios) == 1
    shrink = [longer.row(row.name).lr_scale * longer.row(row.name).weight_decay_scale for row in usual.entries]
    steps = 4.0 / 2.0
    expected = 1.0 if horizon == "none" else 1.0 / steps
    if horizon in ("marin", "archscale"):
        expected = 2.0 / 4.0
    assert shrink == pytest.approx([expected] * len(shrink))


def test_published_square_roots():
    longer = grown(token_ratio=4.0)
    assert longer.row("0.weight").lr_scale == pytest.approx(0.5)
    assert longer.row("0.weight").eps_scale == pytest.approx(2.0 / 4)
    assert longer.betas((0.9, 0.96)) == pytest.approx((0.975, 0.99))
    assert grown().betas((0.9, 0.95)) == (0.9, 0.95)
    with pytest.raises(PlanError, match="outside"):
        grown(batch_ratio=32.0).betas((0.9, 0.95))


def test_timescale_keeps_the_memory_as_a_fraction_of_the_training():
    for tokens, batch in ((4.0, 1.0), (1.0, 4.0), (8.0, 2.0)):
        made = grown(weight_decay="timescale", token_ratio=tokens, batch_ratio=batch)
        row = made.row("2.weight")
        assert row.lr_scale * row.weight_decay_scale * tokens / batch == pytest.approx(1.0)


def test_batch_or_horizon_alone_is_a_plan():
    made = plan(network, base=8, target=8, parametrization="mup", token_ratio=4.0)
    assert {row["lr_scale"] for row in made.rows} == {0.5}


def test_muon_takes_hidden_matrices_and_leaves_the_rest_to_adamw():
    def tall(size):
        width, inner = size["width"], size["inner"]
        return nn.Sequential(nn.Linear(3, width), nn.Linear(width, inner), nn.Linear(inner, width), nn.Linear(width, 2))

    base, target = {"width": 8, "inner": 8}, {"width": 16, "inner": 64}
    made = plan(tall, base=base, target=target, parametrization="mup", optimizer="muon", variant="plain")
    assert [row["optimizer"] for row in made.rows if row["optimizer"] == "muon"] == ["muon", "muon"]
    up, down = made.row("1.weight"), made.row("2.weight")
    assert (up.lr_scale, down.lr_scale) == pytest.approx(((8 / 2) ** 0.5, (2 / 8) ** 0.5))
    torchs = plan(tall, base=base, target=target, parametrization="mup", optimizer="muon")
    # torch multiplies by max(1, rows/columns)^(1/2): 2 for the first one, 1 for the second.
    assert torchs.row("1.weight").lr_scale == pytest.approx(up.lr_scale / 2)
    assert torchs.row("2.weight").lr_scale == pytest.approx(down.lr_scale)
    model = made.init_(tall(target), seed=0)
    groups = made.param_groups(model, lr=0.02, weight_decay=0.1)
    muon = torch.optim.Muon([g for g in groups if g["optimizer"] == "muon"])
    adamw = torch.optim.AdamW([g for g in groups if g["optimizer"] == "adamw"])
    made.verify(model, [muon, adamw])
    model(torch.ones(2, 3)).square().sum().backward()
    muon.step()
    adamw.step()


class TwoHeads(nn.Module):
    """A readout and an auxiliary head that stops halfway."""

    def __init__(self, width):
        super().__init__()
        self.stem, self.hidden = nn.Linear(3, width), nn.Linear(width, width)
        self.head, self.auxiliary = nn.Linear(width, 2), nn.Linear(width, 5)

    def forward(self, x):
        x = self.stem(x).relu()
        return {"main": self.head(self.hidden(x).relu()), "extra": self.auxiliary(x)}


def test_several_outputs_are_all_readouts():
    made = plan(TwoHeads, base=8, target=32, parametrization="mup", example_inputs=torch.zeros(1, 3))
    roles = {row["name"]: row["role"] for row in made.rows}
    assert roles["head.weight"] == roles["auxiliary.weight"] == "readout"
    assert roles["hidden.weight"] == "hidden"


@dataclass
class Size:
    """A size as a dataclass."""

    width: int
    unused: str = "x"


def test_sizes_of_every_kind_give_the_same_plan():
    def build(size):
        return network(size["width"] if isinstance(size, dict) else getattr(size, "width", size))

    kinds = [
        (8, 32),
        ({"width": 8}, {"width": 32}),
        (Size(8), Size(32)),
        (SimpleNamespace(width=8), SimpleNamespace(width=32)),
    ]
    plans = [plan(build, base=base, target=target, parametrization="mup") for base, target in kinds]
    keys = ("name", "role", "init_std", "lr_scale", "eps_scale")
    tables = [[[row[key] for key in keys] for row in made.rows] for made in plans]
    assert all(table == tables[0] for table in tables)
    assert [made.width_axes for made in plans] == [("size",), ("width",), ("width",), ("width",)]


def test_errors_of_the_users_code_are_passed_on_in_a_sentence():
    def broken(width):
        raise RuntimeError("no such layer")

    with pytest.raises(PlanError, match=r"build\(8\) failed on the meta device: RuntimeError: no such layer"):
        plan(broken, base=8, target=32)
    with pytest.raises(
        PlanError, match=r"^build\(2000000\) failed: width: expected less than or equal to 1000000 \(got"
    ):
        plan(lambda width: nn.Linear(MLPSpec(width=width).width, 1), base=8, target=2_000_000)
    with pytest.raises(PlanError, match="returned int"):
        plan(lambda width: 3, base=8, target=32)
    with pytest.raises(PlanError, match="could not be recorded"):
        plan(network, base=8, target=32, example_inputs=torch.zeros(1, 4))


def test_large_base_needs_its_init_given():
    with pytest.raises(PlanError, match="more than the 2 GB"):
        measure_init(network, 8, num_bytes=3 * 1024**3)
    made = grown(init={r".*weight": ("normal", 0.0, 0.02), r".*bias": ("constant", 0.0, 0.0)})
    assert (made.row("2.weight").init, made.row("2.weight").init_std) == ("normal", 0.01)
    with pytest.raises(PlanError, match="give"):
        grown(init={r".*": ("gaussian", 0.0, 0.02)})


@pytest.mark.parametrize(
    "fill, kind, mean, std",
    [
        (lambda t, g: t.normal_(0.5, 0.2, generator=g), "normal", 0.5, 0.2),
        (lambda t, g: nn.init.uniform_(t, -0.3, 0.3, generator=g), "uniform", 0.0, 0.3 / 3**0.5),
        (lambda t, g: nn.init.kaiming_normal_(t, nonlinearity="relu", generator=g), "normal", 0.0, (2 / 64) ** 0.5),
        (lambda t, g: nn.init.ones_(t), "constant", 1.0, 0.0),
        (lambda t, g: t.normal_(generator=g).mul_(0.1), "normal", 0.0, 0.1),
        (lambda t, g: t.copy_(torch.randn(t.shape, generator=g) * 0.3), "normal", 0.0, 0.3),
    ],
)
def test_laws_are_read_exactly_from_the_calls(fill, kind, mean, std):
    def build(width):
        layer = nn.Linear(64, 8, bias=False)
        with torch.no_grad():
            fill(layer.weight, None if layer.weight.is_meta else torch.Generator().manual_seed(3))
        return layer

    law = measure_init(build, 1, num_bytes=0)[1]["weight"]
    assert (law.kind, law.mean, law.std) == (kind, pytest.approx(mean), pytest.approx(std))


@pytest.mark.parametrize(
    "fill, kind",
    [
        (lambda t, g: nn.init.trunc_normal_(t, std=0.02, generator=g), "normal"),
        (lambda t, g: nn.init.orthogonal_(t, generator=g), "normal"),
        (lambda t, g: t.copy_(torch.linspace(0, 1, t.numel()).view_as(t)), "own"),
        (lambda t, g: nn.init.eye_(t), "own"),
    ],
)
def test_laws_that_no_call_states_are_measured(fill, kind):
    def build(width):
        layer = nn.Linear(32, 32, bias=False)
        with torch.no_grad():
            fill(layer.weight, None)
        return layer

    law = measure_init(build, 1, num_bytes=0)[1]["weight"]
    assert law.kind == kind
    if kind == "normal":
        direct = build(1).weight
        # Both are sample deviations of 1024 (2048) entries: six standard errors each.
        assert abs(law.std / direct.std().item() - 1) < 6 * (2 * 1024) ** -0.5 * 2


def test_a_pattern_that_would_have_to_be_scaled_is_refused():
    def build(width):
        model = network(width)
        nn.init.eye_(model[2].weight)
        return model

    with pytest.raises(PlanError, match=r"2\.weight starts from a fixed pattern.*init_std"):
        plan(build, base=8, target=32, parametrization="mup")
    made = plan(build, base=8, target=32, parametrization="mup", overrides={r"2\.weight": {"init_std": 0.1}})
    assert (made.row("2.weight").init, made.row("2.weight").init_std) == ("normal", 0.1)
