"""Kernels and lazy dynamics against recorded values of the neural-tangents package, and published closed forms."""

import math
import re

import pytest
import torch

from limes.theory.activations import leaky_relu
from limes.theory.kernels import (
    LazyProblem,
    edge_of_chaos,
    lazy_dynamics,
    nngp_kernel,
    ntk_kernel,
    order_chaos,
    residual_nngp_kernel,
    residual_ntk_kernel,
)
from support.stats import assert_golden, load_golden

GOLDEN = load_golden("kernels")
FUNCTIONS = {"nngp": nngp_kernel, "ntk": ntk_kernel}
RESIDUAL = {"nngp": residual_nngp_kernel, "ntk": residual_ntk_kernel}
ABOVE = torch.triu_indices(4, 4, 1).unbind()


def inputs():
    i = torch.arange(4, dtype=torch.float64)[:, None]
    j = torch.arange(4, dtype=torch.float64)
    return torch.cos(1.3 * i * (j + 1) + 0.7 * i) * (1 + 0.3 * i)


def activation(name):
    slope = re.fullmatch(r"leaky_relu\((.*)\)", name)
    return leaky_relu(float(slope[1])) if slope else name


@pytest.mark.parametrize("kind", ["nngp", "ntk"])
@pytest.mark.parametrize("name", sorted(GOLDEN["mlp"]))
def test_mlp_kernels(name, kind):
    golden = GOLDEN["mlp"][name][kind]
    settings = {key: golden[key] for key in ("depth", "weight_var", "bias_var")}
    kernel = FUNCTIONS[kind](inputs(), activation=activation(name), **settings)
    assert_golden(kernel[ABOVE], golden["offdiagonal"])
    assert_golden(kernel.diagonal(), golden["diagonal"])


@pytest.mark.parametrize("kind", ["nngp", "ntk"])
def test_residual_kernels(kind):
    golden = GOLDEN["residual"][kind]
    kernel = RESIDUAL[kind](
        inputs(), depth=6, activation="relu", weight_var=1.3, bias_var=0.1, branch_scale=1.0, branch_exponent=0.0
    )
    assert_golden(kernel[ABOVE], golden["offdiagonal"])
    assert_golden(kernel.diagonal(), golden["diagonal"])


@pytest.mark.parametrize("golden", GOLDEN["lazy"], ids=lambda g: f"{g['kernel']}-{g['time']}")
def test_lazy_dynamics(golden):
    settings = {"depth": 2, "activation": "erf", "weight_var": 1.5, "bias_var": 0.1}
    prior = nngp_kernel(inputs(), **settings)
    kernel = prior if golden["kernel"] == "nngp" else ntk_kernel(inputs(), **settings)
    result = lazy_dynamics(
        LazyProblem(
            kernel=kernel[:3, :3],
            targets=torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64),
            lr=1.0,
            times=torch.tensor([golden["time"]], dtype=torch.float64),
            kernel_test_train=kernel[3:, :3],
            prior=prior[:3, :3],
            prior_test_train=prior[3:, :3],
            prior_test=prior[3:, 3:],
        )
    )
    assert_golden(result.outputs.flatten(), golden["mean"])
    assert_golden(result.variance.flatten(), golden["variance"])
    assert_golden(result.test_outputs.flatten(), golden["test_mean"])
    assert_golden(result.test_variance.flatten(), golden["test_variance"])


@pytest.mark.parametrize(
    ("bias_var", "weight_var", "variance"),
    [(0.01, 1.42420529, 0.27330091), (0.1, 1.98607264, 0.80579918), (0.3, 2.50512719, 1.46116945)],
)
def test_edge_of_chaos_of_tanh(bias_var, weight_var, variance):
    source = "Gauss-Hermite quadrature with 160 nodes and a scalar root, eight decimals"
    edge = edge_of_chaos("tanh", bias_var=bias_var)
    assert_golden(
        [edge.weight_var, edge.variance], {"value": [weight_var, variance], "tolerance": 1e-8, "source": source}
    )


def test_fixed_points_of_tanh():
    source = "the same quadrature, six digits of the lengths"
    net = order_chaos("tanh", weight_var=1.5, bias_var=0.1)
    values = [net.variance, net.chi1, net.correlation, net.correlation_length, net.variance_length]
    expected = [0.52021614, 0.87751280, 1.0, 7.65323, 1.33561]
    assert_golden(values, {"value": expected, "tolerance": 5e-6, "source": source})


def test_residual_relu_flow():
    # Stem of variance (1, 1, 1/2); the diagonal is e^(1/2), the rest from the forward recursion at 10 and 1000 blocks.
    x = math.sqrt(2.0) * torch.tensor([[1.0, 0.0], [0.5, math.sqrt(0.75)]], dtype=torch.float64)
    settings = {"activation": "relu", "weight_var": 1.0, "bias_var": 0.0, "readout": "linear"}
    source = "arXiv:2210.00688, recursion evaluated apart from this code"
    for depth, values in {10: (1.62889463, 0.89329996), 1000: (1.64851526, 0.90710868)}.items():
        kernel = residual_nngp_kernel(x, depth=depth, **settings)
        assert_golden(kernel[0], {"value": values, "tolerance": 1e-8, "source": source})
    assert residual_nngp_kernel(x, depth=math.inf, **settings)[0, 0].item() == pytest.approx(math.exp(0.5), rel=1e-13)
