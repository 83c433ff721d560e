"""Contracts of kernels: measured ones equal a naive loop; theoretical ones are symmetric, positive and equivariant."""

import inspect
import math

import pytest
import torch
from torch import nn

from limes import measure
from limes.core.rng import stream
from limes.measure import (
    DIAGNOSTICS,
    centered_alignment,
    empirical_ntk,
    feature_kernels,
    gradient_kernels,
    target_alignment,
)
from limes.theory.activations import ACTIVATIONS
from limes.theory.kernels import KERNELS


class Residual(nn.Module):
    """A module with a reused weight and a buffer: what a per-layer shortcut would get wrong."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 2)
        self.register_buffer("shift", torch.full((4,), 0.1))

    def forward(self, x):
        h = x + torch.tanh(self.inner(self.norm(x)))
        return self.head(h + torch.tanh(self.inner(h)) + self.shift)


def build(name):
    modules = {
        "mlp": (nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 3)), (4,), ["0", "1"]),
        "conv": (
            nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8, 2)),
            (1, 4, 4),
            ["0", "2"],
        ),
        "residual": (Residual(), (4,), ["norm"]),
    }
    model, shape, layers = modules[name]
    model = model.double()
    generator = stream(1, "init", name)
    for parameter in model.parameters():
        parameter.data = 0.5 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return model, torch.randn(7, *shape, generator=stream(0, "data"), dtype=torch.float64), layers


def naive_gradients(model, x):
    """[(C, num_params)] for each sample, by one backward pass for each output."""
    samples = []
    for sample in x:
        rows = []
        for value in model(sample[None]).flatten():
            gradients = torch.autograd.grad(value, list(model.parameters()), retain_graph=True)
            rows.append(torch.cat([g.flatten() for g in gradients]))
        samples.append(torch.stack(rows))
    return samples


@pytest.mark.parametrize("method", ["vmap", "loop"])
@pytest.mark.parametrize("name", ["mlp", "conv", "residual"])
def test_tangent_kernel_equals_a_naive_loop(name, method):
    model, x, _ = build(name)
    gradients = naive_gradients(model, x)
    for block_size in (2, 64):
        full = empirical_ntk(model, x, trace_outputs=False, block_size=block_size, method=method)
        mean = empirical_ntk(model, x, x[:3], block_size=block_size, method=method)
        for i in range(len(x)):
            for j in range(len(x)):
                expected = gradients[i] @ gradients[j].T
                torch.testing.assert_close(full[i, j], expected, rtol=1e-11, atol=1e-12)
                if j < 3:
                    torch.testing.assert_close(mean[i, j], expected.diagonal().mean(), rtol=1e-11, atol=1e-12)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("name", ["mlp", "conv", "residual"])
def test_feature_and_gradient_kernels_equal_a_naive_loop(name):
    model, x, layers = build(name)
    kept = {}
    modules = dict(model.named_modules())
    handles = [
        modules[layer].register_forward_hook(lambda m, i, o, layer=layer: kept.setdefault(layer, []).append(o))
        for layer in layers
    ]
    slopes = {layer: [] for layer in layers}
    for sample in x:
        output = model(sample[None].requires_grad_())
        for layer in layers:
            (gradient,) = torch.autograd.grad(output.sum(), kept[layer][-1], retain_graph=True)
            slopes[layer].append(gradient.flatten())
    for handle in handles:
        handle.remove()
    features, gradients = feature_kernels(model, x, layers=layers), gradient_kernels(model, x, layers=layers)
    for layer in layers:
        for i in range(len(x)):
            for j in range(len(x)):
                h1, h2 = kept[layer][i].flatten(), kept[layer][j].flatten()
                torch.testing.assert_close(features[layer][i, j], (h1 * h2).mean(), rtol=1e-11, atol=1e-12)
                expected = (slopes[layer][i] * slopes[layer][j]).sum()
                torch.testing.assert_close(gradients[layer][i, j], expected, rtol=1e-11, atol=1e-12)


def test_parameter_weights_are_learning_rates():
    model, x, _ = build("mlp")
    weights = {"0.weight": 3.0, "2.weight": 0.5, "2.bias": 0.0}
    whole = empirical_ntk(model, x, parameter_weights=weights)
    one = {name: 0.0 for name, _ in model.named_parameters()}
    parts = sum(
        weights.get(name, 1.0) * empirical_ntk(model, x, parameter_weights=one | {name: 1.0})
        for name in one
        if weights.get(name, 1.0)
    )
    torch.testing.assert_close(whole, parts, rtol=1e-11, atol=1e-12)


def test_alignment_equals_a_naive_loop():
    x = torch.randn(6, 4, generator=stream(3, "data"), dtype=torch.float64)
    y = torch.randn(6, 2, generator=stream(4, "data"), dtype=torch.float64)
    kernels = x @ x.T, torch.exp(x @ x.T)
    centering = torch.eye(6, dtype=torch.float64) - 1 / 6

    def cosine(a, b):
        top = sum((a[i, j] * b[i, j]).item() for i in range(6) for j in range(6))
        return top / math.sqrt(sum((t * t).item() for t in a.flatten()) * sum((t * t).item() for t in b.flatten()))

    first, second = (centering @ k @ centering for k in kernels)
    assert centered_alignment(*kernels) == pytest.approx(cosine(first, second), rel=1e-12)
    outer = y @ y.T
    assert target_alignment(kernels[0], y) == pytest.approx(cosine(first, centering @ outer @ centering), rel=1e-12)
    assert target_alignment(kernels[0], y, centered=False) == pytest.approx(cosine(kernels[0], outer), rel=1e-12)


def test_every_diagnostic_is_in_the_table():
    helpers = {"hessian_operator", "main_tensor"}
    functions = {name for name in measure.__all__ if inspect.isfunction(getattr(measure, name))}
    assert functions - helpers == set(DIAGNOSTICS)
    assert DIAGNOSTICS["empirical_ntk"] is empirical_ntk


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("kind", sorted(KERNELS))
def test_theoretical_kernels(kind, activation):
    x = torch.randn(9, 5, generator=stream(5, "data"), dtype=torch.float32)
    settings = {"depth": 2, "activation": activation, "weight_var": 1.2, "bias_var": 0.1}
    kernel = KERNELS[kind](x, **settings)
    assert kernel.dtype == torch.float64 and torch.equal(kernel, kernel.T)
    values = torch.linalg.eigvalsh(kernel)
    assert values[0] >= -1e-12 * values[-1]
    order = torch.randperm(9, generator=stream(6, "data"))
    torch.testing.assert_close(KERNELS[kind](x[order], **settings), kernel[order][:, order], rtol=1e-12, atol=1e-13)
    # x.x / D: repeating every coordinate changes nothing, and a rotation neither.
    torch.testing.assert_close(KERNELS[kind](x.repeat(1, 3), **settings), kernel, rtol=1e-11, atol=1e-12)
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=stream(7, "data"), dtype=torch.float64))[0]
    torch.testing.assert_close(KERNELS[kind](x.double() @ rotation, **settings), kernel, rtol=1e-11, atol=1e-12)
