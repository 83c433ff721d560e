"""The reference networks: shapes, scales at initialization, meta build, cost, and the measured reference
losses.
"""

import pytest
import torch

from limes.core.errors import SpecError
from limes.models import MODELS, build_model, example_input, num_flops, num_params
from limes.spec.model import CNNSpec, MLPSpec, ResMLPSpec, TransformerSpec, ViTSpec
from support.reference_run import train_reference

SPECS = {
    "transformer": TransformerSpec(head_dim=16, vocab_size=96),
    "vit": ViTSpec(num_heads=2, input_shape=(1, 8, 8), num_outputs=10),
    "mlp": MLPSpec(num_inputs=12, num_outputs=3, bias=True),
    "resmlp": ResMLPSpec(num_inputs=12, num_outputs=3),
    "cnn": CNNSpec(input_shape=(3, 8, 8), num_outputs=10),
}


def make(spec, *, seed: int = 0, **factors):
    return build_model(spec, generator=torch.Generator().manual_seed(seed), **factors)


def test_table_covers_every_spec():
    assert set(MODELS) == set(SPECS)


@pytest.mark.parametrize("name", SPECS)
def test_forward_is_finite_and_reproducible(name):
    spec = SPECS[name]
    before = torch.get_rng_state()
    first, second = make(spec), make(spec)
    assert torch.equal(before, torch.get_rng_state()), "the global generator was used"
    inputs = example_input(spec, num_samples=2)
    if inputs.is_floating_point():
        inputs = torch.randn(inputs.shape, generator=torch.Generator().manual_seed(1))
    assert torch.equal(first(inputs), second(inputs))
    assert first(inputs).isfinite().all() and first(inputs).shape[0] == 2
    assert not torch.equal(first(inputs), make(spec, seed=1)(inputs))


@pytest.mark.parametrize("name", SPECS)
def test_meta_build_has_the_same_tensors(name):
    real = {key: value.shape for key, value in make(SPECS[name]).named_parameters()}
    with torch.device("meta"):
        model = make(SPECS[name])
    assert {key: value.shape for key, value in model.named_parameters()} == real
    assert all(value.is_meta for value in model.parameters())


@pytest.mark.parametrize("name", SPECS)
def test_matrices_have_variance_one_over_fan_in(name):
    model = make(SPECS[name])
    for key, value in model.named_parameters():
        if value.dim() < 2 or "embedding" in key or "position" in key:
            continue
        fan_in = value[0].numel()
        # The sample variance of n normal entries has relative deviation sqrt(2/n); six of them never happen.
        assert abs(value.var().item() * fan_in - 1) < 6 * (2 / value.numel()) ** 0.5, key


@pytest.mark.parametrize("name", SPECS)
def test_cost_estimates(name):
    spec = SPECS[name]
    assert num_params(spec) == sum(value.numel() for value in make(spec).parameters())
    units = spec.context if name == "transformer" else 1
    assert num_flops(spec, 8 * units) == 8 * num_flops(spec, units) > 0


def test_residual_multiplier_and_attention_scale_act_where_they_should():
    spec = SPECS["transformer"]
    tokens = torch.arange(8)[None]
    plain, scaled = make(spec), make(spec, residual_multiplier=0.0)
    embedded = plain.embedding(tokens) + plain.position.weight[:8]
    assert torch.equal(scaled(tokens), scaled.readout(scaled.norm(embedded)))
    sharp = make(spec, attention_scale=2.0)
    assert sharp.blocks[0].attention.scale == 2.0 * plain.blocks[0].attention.scale == 0.5
    assert not torch.equal(sharp(tokens), plain(tokens))


def test_decoder_is_causal():
    model = make(SPECS["transformer"])
    tokens = torch.arange(8)[None]
    changed = tokens.clone()
    changed[0, -1] = 50
    assert torch.allclose(model(tokens)[:, :-1], model(changed)[:, :-1], atol=1e-6)


def test_tied_readout_shares_storage():
    model = make(SPECS["transformer"].model_copy(update={"tied": True}))
    assert model.readout.weight is model.embedding.weight
    with torch.device("meta"):
        assert make(SPECS["transformer"].model_copy(update={"tied": True})).readout.weight.is_meta


@pytest.mark.parametrize(
    "spec, word",
    [
        (TransformerSpec(head_dim=16), "vocab_size"),
        (ViTSpec(head_dim=16, num_outputs=3), "input_shape"),
        (ViTSpec(head_dim=16, num_outputs=3, input_shape=(1, 7, 8)), "patch"),
        (CNNSpec(input_shape=(1, 8, 8)), "num_outputs"),
        (MLPSpec(num_outputs=1), "num_inputs"),
        (ResMLPSpec(num_inputs=1), "num_outputs"),
    ],
)
def test_missing_data_sizes_are_named(spec, word):
    with pytest.raises(SpecError, match=word):
        make(spec)


def test_too_long_sequence_is_refused():
    with pytest.raises(SpecError, match="65 tokens"):
        make(SPECS["transformer"])(torch.zeros(1, 65, dtype=torch.long))


@pytest.mark.parametrize("log2_lr, expected", [(-6, 2.4184), (-7, 2.4535)])
def test_byte_gpt_reproduces_the_reference_loss(log2_lr, expected):
    """Published to four digits; another CPU rounds differently, and 200 steps carry that to about 1e-3."""
    model = make(SPECS["transformer"])
    optimizer = torch.optim.Adam(model.parameters(), lr=2.0**log2_lr, betas=(0.9, 0.95), eps=1e-12, fused=True)
    assert train_reference(model, optimizer, seed=0) == pytest.approx(expected, abs=1e-3)
