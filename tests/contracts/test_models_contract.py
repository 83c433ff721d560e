"""Every family of reference networks, from its table: a member needs no test of its own for these."""

import pytest
import torch

from limes.models import MODELS, build_model, example_input
from limes.spec.model import CNNSpec, MLPSpec, ResMLPSpec, TransformerSpec, ViTSpec

SPECS = {
    type(spec).model_fields["family"].default: spec
    for spec in (
        TransformerSpec(head_dim=16, vocab_size=17, context=8),
        ViTSpec(head_dim=16, input_shape=(1, 8, 8), num_outputs=3),
        MLPSpec(num_inputs=5, num_outputs=3),
        ResMLPSpec(num_inputs=5, num_outputs=3),
        CNNSpec(input_shape=(2, 8, 8), num_outputs=3),
    )
}


@pytest.mark.parametrize("family", MODELS)
def test_factors_of_one_leave_the_function_alone_bitwise(family):
    spec = SPECS[family]
    inputs = example_input(spec, num_samples=3)
    plain = build_model(spec, generator=torch.Generator().manual_seed(0))
    with_factors = build_model(
        spec, generator=torch.Generator().manual_seed(0), attention_scale=1.0, residual_multiplier=1.0
    )
    assert torch.equal(plain(inputs), with_factors(inputs))


@pytest.mark.parametrize("family", MODELS)
def test_samples_do_not_interact(family):
    spec = SPECS[family]
    model = build_model(spec, generator=torch.Generator().manual_seed(0))
    inputs = example_input(spec, num_samples=4)
    if inputs.is_floating_point():
        inputs = torch.randn(inputs.shape, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(model(inputs)[1:2], model(inputs[1:2]), atol=1e-6)


@pytest.mark.parametrize("family", MODELS)
def test_every_parameter_gets_a_gradient(family):
    spec = SPECS[family]
    model = build_model(spec, generator=torch.Generator().manual_seed(0))
    inputs = example_input(spec, num_samples=2)
    if inputs.is_floating_point():
        inputs = torch.randn(inputs.shape, generator=torch.Generator().manual_seed(1))
    model(inputs).square().sum().backward()
    assert all(value.grad is not None and value.grad.any() for value in model.parameters())
