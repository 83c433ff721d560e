"""Adaptive kernels of deep networks against sampled posteriors of finite ones, extrapolated in 1/width."""

import numpy as np
import pytest

from limes.core.rng import stream
from limes.theory.statics import DeepAdaptiveProblem, NNGPProblem, solve_deep_adaptive, solve_nngp
from support.posterior_networks import sample_networks
from support.stats import assert_limit

pytestmark = pytest.mark.sim

X = 1.5 * np.array([[1.0, 0.5], [-0.4, 1.2], [0.8, -1.0], [-1.1, -0.3]])
Y = np.array([1.0, -0.5, 0.7, -0.9])
TEST = 1.5 * np.array([[0.3, 0.9], [1.5, -0.2]])
WIDTHS = (8, 12, 20, 40)


def problem(gamma0=0.7, activation="erf"):
    return DeepAdaptiveProblem(X, Y, TEST, activation=activation, gamma0=gamma0, inverse_temperature=5.0)


def predictions(solved):
    return [*solved.train_mean, *solved.test_mean, *solved.kernels[-1].diagonal()]


def agree(samples, expected):
    """All outputs and kernel entries, (W, C, K) samples against their limits."""
    for index, value in enumerate(expected):
        assert_limit(WIDTHS, samples[:, :, index], float(value))


def test_two_hidden_layers_turn_their_kernels_as_predicted():
    solved = solve_deep_adaptive(problem())
    means, spreads = [], []
    for width in WIDTHS:
        generator = stream(0, "init", "deep", str(width))
        sample = sample_networks(problem(), width, num_chains=32, num_draws=300, generator=generator)
        draws = sample.draws[..., :6]
        means.append(sample.draws.mean(0).numpy())
        spreads.append((width * (draws - draws.mean((0, 1))) ** 2).mean(0).numpy() * 32 / 31)
    samples, spreads = np.array(means), np.array(spreads)
    agree(samples, predictions(solved))
    fluctuations = [*solved.train_fluctuation, *solved.test_fluctuation]
    for index, value in enumerate(fluctuations):
        assert_limit(WIDTHS, spreads[:, :, index], float(value))
    # Mutants: ten percent more feature learning, and none.
    with pytest.raises(AssertionError, match="limit"):
        agree(samples, predictions(solve_deep_adaptive(problem(0.77))))
    lazy = solve_nngp(NNGPProblem(X, Y, TEST, depth=2, inverse_temperature=5.0))
    with pytest.raises(AssertionError, match="limit"):
        agree(samples, [*lazy.train_mean, *lazy.test_mean])
    # And the scatter of a Gaussian process with the adapted kernel, which forgets that kernels fluctuate.
    kernel = solved.kernels[-1].numpy()
    frozen = (kernel - kernel @ np.linalg.solve(kernel + 0.2 * np.eye(4), kernel)).diagonal() / 0.7**2
    with pytest.raises(AssertionError, match="limit"):
        agree(spreads, frozen)
