"""Kernels of infinite width against finite random networks: extrapolated in 1/width, each with a mutant rejected."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from limes.core.rng import stream
from limes.measure import empirical_ntk
from limes.theory.activations import get_activation
from limes.theory.kernels import (
    LazyProblem,
    lazy_dynamics,
    nngp_kernel,
    ntk_kernel,
    residual_nngp_kernel,
    residual_ntk_kernel,
)
from support.stats import assert_limit

pytestmark = pytest.mark.sim

WIDTHS = (48, 96, 192, 384)
NUM_SEEDS = 48
CASES = [("relu", 2, 2.0, 0.1), ("tanh", 3, 1.5, 0.2), ("gelu", 2, 1.8, 0.1)]
INPUTS = torch.tensor([[1.0, -0.5, 0.3, 0.8], [0.2, 1.1, -0.7, 0.4], [0.9, -0.2, 0.6, -1.0]], dtype=torch.float64)


class Network(nn.Module):
    """NTK parametrization written out: fully connected, or residual where `branch` is a number."""

    def __init__(self, *, width, depth, activation, weight_var, bias_var, seed, branch=None):
        super().__init__()
        generator = stream(seed, "init", str(width))
        sizes = [INPUTS.shape[1]] + [width] * (depth + (branch is not None)) + [1]

        def draw(*shape):
            return nn.Parameter(torch.randn(*shape, generator=generator, dtype=torch.float64))

        self.weights = nn.ParameterList([draw(n, m) for m, n in itertools.pairwise(sizes)])
        self.biases = nn.ParameterList([draw(n) for n in sizes[1:]])
        self.phi = get_activation(activation).value
        self.scales = math.sqrt(weight_var), math.sqrt(bias_var)
        self.branch = branch

    def layer(self, index: int, x: Tensor) -> Tensor:
        weight, bias = self.scales
        return weight / math.sqrt(x.shape[1]) * x @ self.weights[index].T + bias * self.biases[index]

    def features(self, x: Tensor) -> Tensor:
        h = self.layer(0, x)
        for index in range(1, len(self.weights) - 1):
            new = self.layer(index, self.phi(h))
            h = new if self.branch is None else h + self.branch * new
        return self.phi(h)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(len(self.weights) - 1, self.features(x))


def measure(**settings) -> tuple[np.ndarray, np.ndarray]:
    """NNGP (readout averaged out) and tangent kernels: (num_widths, num_seeds, P, P) each."""
    nngp, tangent = [], []
    for width in WIDTHS:
        for seed in range(NUM_SEEDS):
            net = Network(width=width, seed=seed, **settings)
            with torch.no_grad():
                h = net.features(INPUTS)
                nngp.append(settings["weight_var"] / width * h @ h.T + settings["bias_var"])
            tangent.append(empirical_ntk(net, INPUTS))
    shape = (len(WIDTHS), NUM_SEEDS, 3, 3)
    return tuple(torch.stack(k).reshape(shape).numpy() for k in (nngp, tangent))


def check(measured: np.ndarray, predicted: Tensor) -> None:
    for i in range(3):
        for j in range(i + 1):
            assert_limit(WIDTHS, measured[:, :, i, j], predicted[i, j].item())


@pytest.mark.parametrize(("activation", "depth", "weight_var", "bias_var"), CASES)
def test_mlp_kernels(activation, depth, weight_var, bias_var):
    settings = {"depth": depth, "activation": activation, "weight_var": weight_var, "bias_var": bias_var}
    mutant = settings | {"weight_var": 1.1 * weight_var}
    for measured, function in zip(measure(**settings), (nngp_kernel, ntk_kernel), strict=True):
        check(measured, function(INPUTS, **settings))
        with pytest.raises(AssertionError, match="limit"):
            check(measured, function(INPUTS, **mutant))


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_residual_kernels(activation):
    settings = {"depth": 4, "activation": activation, "weight_var": 1.2, "bias_var": 0.1}
    scale = {"branch_scale": 1.1, "branch_exponent": 0.5}
    measured = measure(branch=1.1 / 2.0, **settings)
    for kernels, function in zip(measured, (residual_nngp_kernel, residual_ntk_kernel), strict=True):
        check(kernels, function(INPUTS, **settings, **scale))
        with pytest.raises(AssertionError, match="limit"):
            check(kernels, function(INPUTS, **settings, branch_scale=1.1, branch_exponent=0.3))


def test_lazy_training_mean_and_variance():
    """Discrete gradient descent from many initializations: mean and second moment on a training and on a test input."""
    settings = {"depth": 1, "activation": "erf", "weight_var": 1.5, "bias_var": 0.1}
    targets, steps, lr = torch.tensor([0.5, -0.5], dtype=torch.float64), 4, 0.2
    outputs = []
    for width in WIDTHS:
        for seed in range(8 * NUM_SEEDS):
            net = Network(width=width, seed=seed, **settings)
            for _ in range(steps):
                loss = 0.5 * ((net(INPUTS[:2])[:, 0] - targets) ** 2).mean()
                gradients = torch.autograd.grad(loss, list(net.parameters()))
                with torch.no_grad():
                    for parameter, gradient in zip(net.parameters(), gradients, strict=True):
                        parameter -= lr * gradient
            with torch.no_grad():
                outputs.append(net(INPUTS)[:, 0].numpy())
    values = np.array(outputs).reshape(len(WIDTHS), -1, 3)
    prior, tangent = nngp_kernel(INPUTS, **settings), ntk_kernel(INPUTS, **settings)

    def compare(kernel: Tensor) -> None:
        result = lazy_dynamics(
            LazyProblem(
                kernel=kernel[:2, :2],
                targets=targets,
                lr=lr,
                times=torch.tensor([float(steps)]),
                mode="steps",
                kernel_test_train=kernel[2:, :2],
                prior=prior[:2, :2],
                prior_test_train=prior[2:, :2],
                prior_test=prior[2:, 2:],
            )
        )
        means = torch.cat([result.outputs[0], result.test_outputs[0]])[:, 0].tolist()
        variances = torch.cat([result.variance[0], result.test_variance[0]]).tolist()
        for k, (mean, variance) in enumerate(zip(means, variances, strict=True)):
            assert_limit(WIDTHS, values[:, :, k], mean)
            assert_limit(WIDTHS, values[:, :, k] ** 2, variance + mean**2)

    compare(tangent)
    # The mutant trains the readout alone.
    with pytest.raises(AssertionError, match="limit"):
        compare(prior)
