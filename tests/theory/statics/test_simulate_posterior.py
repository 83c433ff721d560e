"""The sampled posterior: its gradient, one width where the truth is known exactly, what it reports and refuses."""

import numpy as np
import pytest
import torch

from limes.core.errors import SpecError
from limes.theory.statics import FiniteNetwork, ProportionalProblem, simulate_posterior, solve_proportional
from limes.theory.statics.simulate_posterior import energy_and_gradient
from support.plane import TEST, X, Y
from support.refusals import one_sentence
from support.stats import assert_mean


def network(**changes):
    return FiniteNetwork(X, Y, TEST, **{"width": 5, "inverse_temperature": 3.0} | changes)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def plain_energy(problem, weights):
    """One network, neuron by neuron."""
    width, dim, place = problem.width, problem.inputs.shape[1], 0

    def take(rows, columns):
        nonlocal place
        place += rows * columns
        return weights[place - rows * columns : place].reshape(rows, columns)

    layers = [take(width, dim)] + [take(width, width) for _ in range(problem.depth - 1)]
    readout, loss = weights[place:], 0.0
    for x, y in zip(problem.inputs, problem.targets):
        h = layers[0] @ x / dim**0.5
        for layer in layers[1:]:
            h = layer @ problem.phi.value(h) / width**0.5
        loss = loss + 0.5 * (readout @ problem.phi.value(h) / (problem.gamma0 * width) - y) ** 2
    return problem.inverse_temperature * problem.gamma0**2 * width * loss + 0.5 * (weights**2).sum()


@pytest.mark.parametrize("activation", ["tanh", "erf", "relu", "linear"])
@pytest.mark.parametrize("depth", [1, 3])
def test_energy_is_the_definition_and_the_gradient_is_its_own(activation, depth):
    problem = network(activation=activation, depth=depth, gamma0=0.7)
    weights = torch.randn(3, problem.num_params, generator=seeded(), dtype=torch.float64, requires_grad=True)
    energy, gradient = energy_and_gradient(problem, weights)
    plain = torch.stack([plain_energy(problem, row) for row in weights])
    torch.testing.assert_close(energy, plain, rtol=1e-13, atol=0)
    torch.testing.assert_close(gradient, torch.autograd.grad(plain.sum(), weights)[0], rtol=1e-11, atol=1e-12)


def test_a_linear_network_of_width_ten_has_the_posterior_of_the_exact_integral():
    """Deep linear networks are known at every width: mean and variance, without extrapolation."""
    width, beta = 10, 5.0
    problem = network(width=width, activation="linear", inverse_temperature=beta)
    found = simulate_posterior(problem, generator=seeded(), num_chains=64, num_draws=500)

    def check(gamma0):
        scale = 1.0 / (gamma0**2 * width)
        fields = {"kernel_test_train": scale * TEST @ X.T / 2, "kernel_test": scale * (TEST**2).sum(1) / 2}
        exact = solve_proportional(
            ProportionalProblem(
                scale * (X @ X.T / 2 + 1e-12 * np.eye(4)), Y, [width], inverse_temperature=beta / scale, **fields
            )
        )
        for k, value in enumerate(torch.cat([exact.train_mean, exact.test_mean]).tolist()):
            assert_mean(found.chain_outputs[:, k], value)
        for k, value in enumerate(exact.test_variance.tolist()):
            away = found.sample.draws[:, :, 4 + k] - found.test_mean[k]
            assert_mean((away**2).mean(0), value)

    check(1.0)
    with pytest.raises(AssertionError, match="mean"):
        check(1.1)
    assert found.rhat < 1.05 and found.effective_size > 1000


def test_what_is_reported():
    problem = network(depth=2)
    found = simulate_posterior(problem, generator=seeded(), num_chains=4, num_draws=30, num_warmup=40)
    assert found.kernels.shape == (2, 4, 4) and found.chain_kernels.shape == (4, 2, 4, 4)
    assert found.chain_outputs.shape == (4, 6) and found.problem is problem and found.test_fluctuation.shape == (2,)
    torch.testing.assert_close(found.train_mean, found.chain_outputs.mean(0)[:4])
    torch.testing.assert_close(found.train_error, found.chain_outputs.std(0)[:4] / 2.0)
    # The diagonals that the chains carry are those of the summed kernels.
    diagonals = found.kernels.diagonal(dim1=1, dim2=2).flatten()
    torch.testing.assert_close(found.sample.draws.mean((0, 1))[6:-1], diagonals)
    again = simulate_posterior(problem, generator=seeded(), num_chains=4, num_draws=30, num_warmup=40)
    assert torch.equal(found.kernels, again.kernels)


BAD = {
    "width": (lambda: network(width=0), "width is 0"),
    "depth": (lambda: network(depth=0), "depth is 0"),
    "temperature": (lambda: network(inverse_temperature=-1.0), "inverse_temperature is -1"),
    "gamma0": (lambda: network(gamma0=0.0), "gamma0 is 0"),
    "targets": (lambda: FiniteNetwork(X, Y[:2]), r"targets has shape \(2,\)"),
    "chains": (lambda: simulate_posterior(network(), generator=seeded(), num_chains=1), "num_chains is 1"),
    "draws": (lambda: simulate_posterior(network(), generator=seeded(), num_draws=0), "num_draws is 0"),
    "memory": (lambda: simulate_posterior(network(width=10**7), generator=seeded()), "lower the width"),
    "activation": (lambda: network(activation="swish"), "swish"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(name):
    make, words = BAD[name]
    with one_sentence(SpecError, words):
        make()
