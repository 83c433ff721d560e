"""Roles on Hugging Face models, built offline from configurations, against tables written by hand."""

import re

import pytest

pytest.importorskip("transformers", reason="transformers is not installed (extra `hf`)")

from limes.core.errors import PlanError
from limes.parametrize import plan
from support.hf import HF, llama

E, H, R, V, N, C = "embedding", "hidden", "readout", "vector", "finite", "router"
GPT2 = {
    r"transformer.w[tp]e.weight": E,
    r"transformer.h.\d.ln_[12].(weight|bias)": V + "|",
    r"transformer.h.\d.(attn.c_attn|mlp.c_fc).weight": H + "|",
    r"transformer.h.\d.(attn.c_attn|mlp.c_fc).bias": V + "|",
    r"transformer.h.\d.(attn|mlp).c_proj.weight": H + "<",
    r"transformer.h.\d.(attn|mlp).c_proj.bias": V + "<",
    r"transformer.ln_f.(weight|bias)": V,
    "lm_head.weight": R,
}
LLAMA = {
    "model.embed_tokens.weight": E,
    r"model.layers.\d.self_attn.[qkv]_proj.weight": H + "|",
    r"model.layers.\d.self_attn.o_proj.weight": H + "<",
    r"model.layers.\d.mlp.(gate|up)_proj.weight": H + "|",
    r"model.layers.\d.mlp.down_proj.weight": H + "<",
    r"model.layers.\d.\w+_layernorm.weight": V + "|",
    "model.norm.weight": V,
    "lm_head.weight": R,
}
ROLES = {
    "gpt2": GPT2,
    "gpt2 tied": GPT2,
    "llama": LLAMA,
    "llama fixed kv": LLAMA,
    "mixtral": {
        **{key: value for key, value in LLAMA.items() if "mlp" not in key},
        r"model.layers.\d.mlp.gate.weight": C + "|",
        r"model.layers.\d.mlp.experts.gate_up_proj": H + "|",
        r"model.layers.\d.mlp.experts.down_proj": H + "<",
    },
    "bert": {
        r"bert.embeddings.\w+_embeddings.weight": E,
        r"bert.embeddings.LayerNorm.(weight|bias)": V,
        r"bert.encoder.layer.\d.(attention.self.(query|key|value)|intermediate.dense).weight": H + "|",
        r"bert.encoder.layer.\d.(attention.self.(query|key|value)|intermediate.dense).bias": V + "|",
        r"bert.encoder.layer.\d.(attention.)?output.dense.weight": H + "<",
        r"bert.encoder.layer.\d.(attention.)?output.dense.bias": V + "<",
        r"bert.encoder.layer.\d.(attention.)?output.LayerNorm.(weight|bias)": V,
        r"cls.predictions.transform.dense.weight": H,
        r"cls.predictions.transform.(dense.bias|LayerNorm.weight|LayerNorm.bias)": V,
        r"cls.predictions.decoder.weight": R,
        r"cls.predictions.(decoder.)?bias": N,
    },
    "vit": {
        r"vit.embeddings.(cls_token|position_embeddings|patch_embeddings.projection.weight)": E,
        r"vit.embeddings.patch_embeddings.projection.bias": V,
        r"vit.layers.\d.(attention.[qkv]_proj|mlp.fc1).weight": H + "|",
        r"vit.layers.\d.(attention.[qkv]_proj|mlp.fc1).bias": V + "|",
        r"vit.layers.\d.(attention.o_proj|mlp.fc2).weight": H + "<",
        r"vit.layers.\d.(attention.o_proj|mlp.fc2).bias": V + "<",
        r"vit.layers.\d.layernorm_\w+.(weight|bias)": V + "|",
        r"vit.layernorm.(weight|bias)": V,
        "classifier.weight": R,
        "classifier.bias": N,
    },
    "resnet": {
        r"resnet.embedder.embedder.convolution.weight": E,
        r"resnet.embedder.embedder.normalization.(weight|bias)": V,
        r"resnet.encoder.stages.\d.layers.\d.shortcut.convolution.weight": H,
        r"resnet.encoder.stages.\d.layers.\d.shortcut.normalization.(weight|bias)": V,
        r"resnet.encoder.stages.\d.layers.\d.layer.\d.convolution.weight": H + "|",
        r"resnet.encoder.stages.\d.layers.\d.layer.0.normalization.(weight|bias)": V + "|",
        r"resnet.encoder.stages.\d.layers.\d.layer.1.normalization.(weight|bias)": V + "<",
        r"classifier.1.weight": R,
        r"classifier.1.bias": N,
    },
}


@pytest.mark.parametrize("name", HF)
def test_roles(name):
    build, base, target = HF[name]
    made = plan(build, base=base, target=target)
    for row in made.entries:
        hits = [want for pattern, want in ROLES[name].items() if re.fullmatch(pattern, row.name)]
        mark = "<" if "last map" in row.why else "|" if "in a residual branch" in row.why else ""
        assert hits == [row.role + mark], f"{row.name}: {row.why}"
    assert made.depth_ratio == (7 / 4 if name == "resnet" else 2.0)


def test_tied_readout_keeps_its_multiplier_and_shares_the_rest():
    build, base, target = HF["gpt2 tied"]
    made = plan(build, base=base, target=target)
    first, head = made.row("transformer.wte.weight"), made.row("lm_head.weight")
    assert (first.multiplier, head.multiplier) == (1.0, 0.25)
    assert (first.init_std, first.lr_scale, first.eps_scale) == (head.init_std, head.lr_scale, head.eps_scale)
    assert made.as_form("multiplier").row("lm_head.weight").multiplier == 0.25
    model = made.apply_multipliers(made.init_(build(target), seed=0))
    made.verify(model)
    assert sum(len(group["params"]) for group in made.param_groups(model, lr=1.0)) == len(list(model.parameters()))


def test_bias_beside_a_tied_readout_moves_with_its_multiplier():
    build, base, target = HF["bert"]
    made = plan(build, base=base, target=target)
    own, alias = made.row("cls.predictions.bias"), made.row("cls.predictions.decoder.bias")
    assert (own.multiplier, alias.multiplier) == (1.0, 0.25)
    assert own.lr_scale == alias.lr_scale == 4.0
    made.apply_multipliers(build(target))


def test_fixed_key_value_heads_follow_their_own_fan_out():
    build, base, target = HF["llama fixed kv"]
    made = plan(build, base=base, target=target, optimizer="sgd", parametrization="mup")
    assert made.row("model.layers.0.self_attn.q_proj.weight").lr_scale == 1.0
    assert made.row("model.layers.0.self_attn.k_proj.weight").lr_scale == 0.25


def test_a_vocabulary_and_a_context_that_grow_scale_nothing():
    build, base, _ = HF["llama"]
    target = llama(128, 16, 8, 4, 256)
    target.vocab_size, target.max_position_embeddings = 256, 128
    made = plan(build, base=base, target=target)
    usual = plan(build, base=base, target=HF["llama"][2])
    keys = ("name", "role", "lr_scale", "eps_scale", "init_std")
    assert [[row[key] for key in keys] for row in made.rows] == [[row[key] for key in keys] for row in usual.rows]


def test_head_dim_of_packed_gpt2_is_refused_and_of_llama_folds():
    build, base, target = HF["gpt2"]
    target = type(target).from_dict({**target.to_dict(), "n_head": base.n_head})
    with pytest.raises(PlanError, match="packed map"):
        plan(build, base=base, target=target)
    build, base, target = HF["llama"]
    target = llama(128, 4, 2, 4, 256)
    target.head_dim = 32
    made = plan(build, base=base, target=target)
    query, key = (made.row(f"model.layers.0.self_attn.{kind}_proj.weight") for kind in "qk")
    assert query.init_std == pytest.approx(key.init_std / 2) and query.lr_scale == key.lr_scale / 2


def test_planning_leaves_the_users_configuration_as_it_was() -> None:
    """The recording switches the cache off, and a model holds the very object that its user passed."""
    kind, base, target = HF["gpt2"]
    assert base.use_cache and target.use_cache
    plan(kind, base=base, target=target, parametrization="mup", optimizer="adamw")
    assert base.use_cache and target.use_cache
