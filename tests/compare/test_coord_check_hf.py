"""The coordinate check on GPT-2, Llama and ViT: rules pass, standard training fails, each wrong setting is found."""

import pytest
import torch

pytest.importorskip("transformers", reason="transformers is not installed (extra `hf`)")

import transformers as tf

from limes.compare import coord_check
from support import coord_cases as cases
from support.hf import encoder, gpt2, llama

WIDTHS, DEPTHS, SEEDS = (64, 128, 256), (2, 4, 8), 4


def grouped(width: int, depth: int):
    """A Llama whose heads grow instead of their number."""
    config = llama(width, 4, 2, depth, 2 * width)
    config.head_dim = width // 4
    return config


def vit(width: int, depth: int, *, heads: int = 2):
    """4 patches; by default two heads that grow."""
    return encoder(tf.ViTConfig, width, heads, depth, 2 * width, num_labels=10, image_size=8, patch_size=4)


MODELS = {
    "gpt2": (tf.GPT2LMHeadModel, lambda width, depth: gpt2(width, width // 16, depth, tied=False)),
    "gpt2 heads": (tf.GPT2LMHeadModel, lambda width, depth: gpt2(width, 2, depth, tied=False)),
    "llama": (tf.LlamaForCausalLM, lambda width, depth: llama(width, width // 8, width // 16, depth, 2 * width)),
    "llama heads": (tf.LlamaForCausalLM, grouped),
    "vit": (tf.ViTForImageClassification, vit),
    "vit more heads": (tf.ViTForImageClassification, lambda width, depth: vit(width, depth, heads=width // 16)),
}


def sizes(model: str, axis: str) -> list:
    make = MODELS[model][1]
    return [make(width, 2) for width in WIDTHS] if axis == "width" else [make(64, depth) for depth in DEPTHS]


def batch(model: str) -> dict:
    generator = torch.Generator().manual_seed(0)
    if model.startswith("vit"):
        return {"pixel_values": torch.randn(3, 3, 8, 8, generator=generator), "labels": torch.tensor([1, 7, 4])}
    tokens = torch.randint(0, 64, (2, 8), generator=generator)
    return {"input_ids": tokens, "labels": tokens}


def run(model: str, choice, axis: str, **options):
    return coord_check(
        MODELS[model][0], choice, **{f"{axis}s": sizes(model, axis)}, batch=batch(model), seeds=SEEDS, **options
    )


def spoiled(model: str, axis: str, name: str, edit, **options):
    """The check of a plan with every row edited."""
    fixed = sizes(model, axis)
    choose = cases.spoiled(
        MODELS[model][0], fixed, name, edit, **{k: options.pop(k) for k in ("form",) if k in options}
    )
    return coord_check(MODELS[model][0], choose, **{f"{axis}s": fixed}, batch=batch(model), seeds=SEEDS, **options)


HIDDEN = {
    "gpt2": {"attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"},
    "llama": {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj",
              "mlp.up_proj", "mlp.down_proj"},
    "vit": {"attention.q_proj", "attention.k_proj", "attention.v_proj", "attention.o_proj", "mlp.fc1", "mlp.fc2"},
}  # fmt: skip


def maps(names: set[str]) -> set[str]:
    """`transformer.h.*.mlp.c_fc.weight` -> `mlp.c_fc`."""
    return {name.partition("*.")[2].removesuffix(".weight") for name in names}


def test_gpt2_passes_with_mup_and_fails_with_standard_training() -> None:
    assert run("gpt2", "mup", "width").passed
    assert maps(cases.blamed(run("gpt2", "standard", "width"), "hidden learning rate")) == HIDDEN["gpt2"]


@pytest.mark.sim
@pytest.mark.parametrize("model", ["gpt2", "llama", "vit", "llama heads"])
@pytest.mark.parametrize("name", ["mup", "completep"])
def test_rules_of_width_pass(model: str, name: str) -> None:
    check = run(model, name, "width")
    assert check.passed, check.explain()


@pytest.mark.sim
@pytest.mark.parametrize("model", ["gpt2", "llama", "vit"])
def test_completep_passes_in_depth_and_a_wrong_residual_multiplier_does_not(model: str) -> None:
    check = run(model, "completep", "depth")
    assert check.passed, check.explain()
    assert any(row.quantity == "second order" and row.verdict == "passes" for row in check.axes[0].rows)
    wrong = spoiled(model, "depth", "completep", cases.residual_multiplier, form="multiplier")
    assert wrong.verdict == "fails" and cases.settings(wrong) == {"residual multiplier"}, wrong.explain()


@pytest.mark.sim
@pytest.mark.parametrize("model", ["gpt2", "llama", "vit"])
def test_standard_training_fails_and_names_the_tensors(model: str) -> None:
    check = run(model, "standard", "width")
    assert check.verdict == "fails"
    assert maps(cases.blamed(check, "hidden learning rate")) == HIDDEN[model]


@pytest.mark.sim
@pytest.mark.parametrize("model", ["gpt2", "llama", "vit"])
def test_a_wrong_hidden_learning_rate_is_found(model: str) -> None:
    check = spoiled(model, "width", "mup", cases.hidden_lr)
    assert check.verdict == "fails" and cases.settings(check) == {"hidden learning rate"}, check.explain()
    assert maps(cases.blamed(check, "hidden learning rate")) == HIDDEN[model]


@pytest.mark.sim
@pytest.mark.parametrize("model", ["gpt2", "llama", "vit"])
def test_a_wrong_embedding_learning_rate_is_found(model: str) -> None:
    check = spoiled(model, "width", "mup", cases.embedding_lr)
    assert check.verdict == "fails" and cases.settings(check) == {"embedding learning rate"}, check.explain()


@pytest.mark.sim
@pytest.mark.parametrize("model", ["gpt2", "llama", "vit"])
def test_a_wrong_readout_multiplier_is_found(model: str) -> None:
    check = spoiled(model, "width", "mup", cases.readout_multiplier, form="multiplier")
    assert check.verdict == "fails" and cases.settings(check) == {"readout multiplier"}, check.explain()


@pytest.mark.sim
@pytest.mark.parametrize("model", ["gpt2 heads", "llama heads", "vit"])
def test_a_wrong_attention_scale_is_found(model: str) -> None:
    check = run(model, "mup", "width", attention="keep")
    assert check.verdict == "fails" and cases.settings(check) == {"attention scale"}, check.explain()


@pytest.mark.sim
@pytest.mark.parametrize("model", ["gpt2", "llama", "vit more heads"])
def test_a_wrong_epsilon_is_found_where_it_matters(model: str) -> None:
    """Heads of fixed size: where they grow, queries and keys start with gradients smaller still than eps follows."""
    fine = run(model, "mup", "width", eps=1e-3)
    assert fine.passed, fine.explain()
    check = spoiled(model, "width", "mup", cases.eps, eps=1e-3)
    assert check.verdict == "fails" and cases.settings(check) == {"epsilon"}, check.explain()
