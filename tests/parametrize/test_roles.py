"""Roles, branches and last maps on networks that know nothing of limes, against tables written by hand."""

import re
from itertools import pairwise

import pytest
import torch

from limes.core.errors import PlanError
from limes.parametrize import plan
from support.architectures import PLAIN

E, H, R, V, N, C = "embedding", "hidden", "readout", "vector", "finite", "router"

# By regular expression on the template. "<" marks the last maps of residual branches, "|" other branch tensors.
PLAIN_ROLES = {
    "multihead": {
        "embed.weight": E,
        r"norms.\*.(weight|bias)": V + "|",
        r"mixers.\*.in_proj_weight": H + "|",
        r"mixers.\*.in_proj_bias": V + "|",
        r"mixers.\*.out_proj.weight": H + "<",
        r"mixers.\*.out_proj.bias": V + "<",
        "head.weight": R,
        "head.bias": N,
    },
    "lstm": {"embed.weight": E, r"lstm.weight_.*": H, r"lstm.bias_.*": V, "head.weight": R, "head.bias": N},
    "mixer": {
        "stem.weight": E,
        "stem.bias": V,
        r"blocks.\*.norm[12].(weight|bias)": V + "|",
        r"blocks.\*.tokens.0.(weight|bias)": N + "|",
        r"blocks.\*.tokens.2.(weight|bias)": N + "<",
        r"blocks.\*.channels.0.weight": H + "|",
        r"blocks.\*.channels.0.bias": V + "|",
        r"blocks.\*.channels.2.weight": H + "<",
        r"blocks.\*.channels.2.bias": V + "<",
        r"norm.(weight|bias)": V,
        "head.weight": R,
        "head.bias": N,
    },
    "unet": {
        "stem.weight": E,
        r"(stem|down|up|merge).bias": V,
        r"norm.(weight|bias)": V,
        r"(down|up|merge).weight": H,
        "head.weight": R,
        "head.bias": N,
    },
    "lora": {
        "stem.weight": E,
        "stem.bias": V,
        "hidden.a": H,
        "hidden.b": E,
        "hidden.base.weight": H,
        "head.weight": R,
        "head.bias": N,
    },
    "mamba": {
        "embed.weight": E,
        r"norms.\*.(weight|bias)": V + "|",
        r"layers.\*.(in_proj|x_proj).weight": H + "|",
        r"layers.\*.(A_log|D|conv.weight|conv.bias|dt_proj.bias)": V + "|",
        r"layers.\*.dt_proj.weight": E + "|",
        r"layers.\*.out_proj.weight": H + "<",
        "head.weight": R,
    },
    "experts": {"stem": E, "router": C + "|", "up": H + "|", "down": H + "<", "gain": V, "head": R},
    "positions": {
        "cls|pos|stem.weight": E,
        "stem.bias": V,
        "scale_out": V + "<",
        r"[qkv].weight|out.weight": H + "|",
        r"[qkv].bias|out.bias": V + "|",
        "head.weight": R,
        "head.bias": N,
    },
}


def check(made, expected):
    """Every tensor matches exactly one pattern, and has its role and its place in a branch."""
    for row in made.entries:
        hits = [want for pattern, want in expected.items() if re.fullmatch(pattern, _layers_only(row.name))]
        assert len(hits) == 1, f"{row.name} matches {len(hits)} patterns"
        want = hits[0]
        mark = "<" if "last map" in row.why else "|" if "in a residual branch" in row.why else ""
        assert (row.role + mark, row.name) == (want, row.name), row.why


def _layers_only(name: str) -> str:
    """Replace the first index only: the place inside a Sequential matters here."""
    return re.sub(r"(^|\.)(blocks|layers|norms|mixers|h|layer|stages)\.\d+\.", r"\1\2.*.", name)


@pytest.mark.parametrize("name", PLAIN)
def test_roles_of_plain_networks(name):
    build, base, target, inputs = PLAIN[name]
    made = plan(build, base=base, target=target, example_inputs=inputs)
    check(made, PLAIN_ROLES[name])
    assert made.depth_ratio == (2.0 if isinstance(base, dict) and "depth" in base else 1.0)


def test_scales_that_need_more_than_a_role():
    def row(case, name, **options):
        build, base, target, inputs = PLAIN[case]
        return plan(build, base=base, target=target, example_inputs=inputs, **options).row(name)

    thin = row("lora", "hidden.a")
    assert (thin.lr_scale, thin.eps_scale, thin.own_multiplier) == (0.25, 1.0, 1.0)
    assert "fan-out fixed inside" in thin.why
    # Growing the number of experts scales nothing: eps follows the width alone.
    assert row("experts", "up").eps_scale == 0.25 / 1.0
    assert row("experts", "router").lr_scale == 0.25
    # The state matrix starts from a pattern and keeps it.
    assert row("mamba", "layers.0.A_log").init == "own"
    # head_dim grows by 4: 1/sqrt(d) becomes 1/d, folded into the query map.
    query = row("positions", "q.weight")
    assert (query.lr_scale, query.eps_scale) == (0.125, 0.5)
    assert query.init_std == pytest.approx(row("positions", "k.weight").init_std / 2)
    assert row("positions", "q.weight", attention="keep").lr_scale == 0.25
    assert row("positions", "q.weight", parametrization="standard").lr_scale == 1.0


def test_packed_query_and_key_refuse_a_growing_head_dim():
    build, base, _, inputs = PLAIN["multihead"]
    target = {**base, "width": 32}
    with pytest.raises(PlanError, match=r"packed map.*keep head_dim fixed"):
        plan(build, base=base, target=target, example_inputs=inputs)
    made = plan(build, base=base, target=target, example_inputs=inputs, attention="factor")
    assert made.attention_scale == 0.5


class Odd(torch.nn.Module):
    """A tensor that enters through an op nobody knows, and one that is never used."""

    def __init__(self, width):
        super().__init__()
        self.stem = torch.nn.Linear(3, width)
        self.odd = torch.nn.Parameter(torch.ones(width, width))
        self.spare = torch.nn.Parameter(torch.ones(width))
        self.head = torch.nn.Linear(width, 2)

    def forward(self, x):
        return self.head(torch.cdist(self.stem(x), self.odd))


def test_what_cannot_be_decided_is_refused_with_the_override():
    inputs = torch.zeros(2, 3)
    with pytest.raises(PlanError, match=r"odd .*is used in a way.*overrides=.*'labels'"):
        plan(Odd, base=4, target=8, example_inputs=inputs)
    overrides = {"odd": {"labels": ("out", "in")}}
    with pytest.raises(PlanError, match=r"never uses spare.*overrides"):
        plan(Odd, base=4, target=8, example_inputs=inputs, overrides=overrides)
    made = plan(Odd, base=4, target=8, example_inputs=inputs, overrides={**overrides, "spare": "vector"})
    assert (made.row("odd").role, made.row("spare").role) == (H, V)


def test_different_parts_are_refused():
    def build(size):
        layers = [torch.nn.Linear(3, size["n"]), torch.nn.Linear(size["n"], 2, bias=size["bias"])]
        return torch.nn.Sequential(*layers)

    with pytest.raises(PlanError, match=r"1\.bias that the base has not"):
        plan(build, base={"n": 4, "bias": False}, target={"n": 8, "bias": True}, example_inputs=torch.zeros(1, 3))


def test_one_sequential_of_stem_hidden_layers_and_head():
    """Layer indices shift meaning with depth: index 4 is the head of the base and a hidden layer of the target."""

    def build(size):
        sizes = [3, *[size["n"]] * size["depth"], 2]
        layers = [layer for a, b in pairwise(sizes) for layer in (torch.nn.Linear(a, b), torch.nn.ReLU())]
        return torch.nn.Sequential(*layers[:-1])

    base, target, inputs = {"n": 4, "depth": 2}, {"n": 8, "depth": 4}, torch.zeros(1, 3)
    made = plan(build, base=base, target=target, example_inputs=inputs)
    assert [row["role"] for row in made.rows] == [E, V, H, V, H, V, H, V, R, N]
    with pytest.raises(PlanError, match="at least one layer in between"):
        plan(build, base={"n": 4, "depth": 1}, target=target, example_inputs=inputs)


def test_vocabulary_equal_to_the_width_changes_nothing():
    build, base, target, inputs = PLAIN["multihead"]
    usual = plan(build, base=base, target=target, example_inputs=inputs)
    base, target = {**base, "width": 13, "heads": 1}, {**target, "width": 52, "heads": 4}
    equal = plan(build, base=base, target=target, example_inputs=inputs)
    keys = ("name", "role", "lr_scale", "eps_scale", "weight_decay_scale", "multiplier")
    assert [[row[key] for key in keys] for row in equal.rows] == [[row[key] for key in keys] for row in usual.rows]


class OwnScale(torch.nn.Module):
    """A network in which somebody already scales with the width."""

    def __init__(self, width, *, where):
        super().__init__()
        self.where, self.factor = where, width**-0.5
        self.stem, self.head = torch.nn.Linear(3, width), torch.nn.Linear(width, 2)

    def forward(self, x):
        x = self.stem(x)
        if self.where == "activation":
            x = x * self.factor
        if self.where == "normalized":
            x = torch.nn.functional.normalize(x, dim=-1) / self.factor
        y = self.head(x.relu())
        return y * self.factor if self.where == "output" else y


@pytest.mark.parametrize("where", ["activation", "output"])
def test_factors_that_the_model_applies_by_itself_are_refused(where):
    def build(width):
        return OwnScale(width, where=where)

    options = {"base": 4, "target": 16, "example_inputs": torch.zeros(1, 3), "parametrization": "mup"}
    with pytest.raises(PlanError, match=r"changes with the size.*0\.5 at the base, 0\.25 at the target"):
        plan(build, **options)
    kept = plan(build, **options, own_factors="keep")
    assert kept.rows == plan(lambda width: OwnScale(width, where="normalized"), **options).rows


def test_a_growing_input_takes_inputs_by_size():
    def build(size):
        return torch.nn.Sequential(torch.nn.Linear(size, size), torch.nn.ReLU(), torch.nn.Linear(size, 2))

    made = plan(build, base=4, target=16, example_inputs=lambda size: torch.zeros(1, size))
    assert [row["role"] for row in made.rows] == [H, V, R, N]
    with pytest.warns(UserWarning, match="may be a callable"):
        plan(build, base=4, target=16, example_inputs=torch.zeros(1, 4))


def test_a_readout_of_several_parameters_is_refused():
    def build(width):
        head = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(width, 2))
        return torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.ReLU(), head)

    with pytest.raises(PlanError, match=r"readout 2\..*computed from several parameters"):
        plan(build, base=4, target=16, example_inputs=torch.zeros(1, 3))


class Looped(torch.nn.Module):
    """The same residual layer several times."""

    def __init__(self, size):
        super().__init__()
        self.loops = size["loops"]
        self.stem, self.layer = torch.nn.Linear(3, size["width"]), torch.nn.Linear(size["width"], size["width"])
        self.head = torch.nn.Linear(size["width"], 2)

    def forward(self, x):
        x = self.stem(x)
        for _ in range(self.loops):
            x = x + self.layer(x.relu())
        return self.head(x)


def test_depth_by_shared_layers_is_refused_where_a_rule_of_depth_is_asked_for():
    options = {
        "base": {"width": 4, "loops": 2},
        "target": {"width": 8, "loops": 6},
        "example_inputs": torch.zeros(1, 3),
    }
    with pytest.raises(PlanError, match="loops changes the number of residual branches from 2 to 6"):
        plan(Looped, **options)
    assert plan(Looped, **options, parametrization="mup").depth_ratio == 1.0


def test_a_branch_that_ends_without_parameters_is_refused_with_the_override():
    class Block(torch.nn.Module):
        def __init__(self, width):
            super().__init__()
            self.map = torch.nn.Linear(width, width)

        def forward(self, x):
            return x + torch.nn.functional.layer_norm(self.map(x), x.shape[-1:])

    def build(size):
        blocks = [Block(size["width"]) for _ in range(size["depth"])]
        return torch.nn.Sequential(torch.nn.Linear(3, size["width"]), torch.nn.Sequential(*blocks))

    options = {
        "base": {"width": 4, "depth": 2},
        "target": {"width": 4, "depth": 8},
        "example_inputs": torch.zeros(1, 3),
    }
    with pytest.raises(PlanError, match=r"1\.0\.map\.bias ends in an op without parameters"):
        plan(build, **options)
    made = plan(build, **options, overrides={r"1\.\d\.map\..*": {"branch": True}})
    assert "in a residual branch" in made.row("1.5.map.weight").why
