"""Adaptive kernels of deep networks against sampled posteriors of finite ones, extrapolated in 1/width."""

import numpy as np
import pytest

from limes.core.rng import stream
from limes.theory.statics import (
    DeepAdaptiveProblem,
    FiniteNetwork,
    NNGPProblem,
    simulate_posterior,
    solve_deep_adaptive,
    solve_nngp,
)
from support import plane
from support.plane import Y
from support.stats import assert_limit

pytestmark = pytest.mark.sim

X, TEST = 1.5 * plane.X, 1.5 * plane.TEST
WIDTHS = (8, 12, 20, 40)
CHAINS = {"num_chains": 32, "num_draws": 300, "num_warmup": 100, "num_leapfrog": 10}


def problem(gamma0=0.7):
    return DeepAdaptiveProblem(X, Y, TEST, gamma0=gamma0, inverse_temperature=5.0)


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
        network = FiniteNetwork(X, Y, TEST, width=width, depth=2, gamma0=0.7, inverse_temperature=5.0)
        found = simulate_posterior(network, generator=stream(0, "init", "deep", str(width)), **CHAINS)
        assert found.rhat < 1.1
        diagonals = found.chain_kernels[:, -1].diagonal(dim1=1, dim2=2)
        means.append(np.hstack([found.chain_outputs, diagonals]))
        away = found.sample.draws[:, :, :6] - found.chain_outputs.mean(0)
        spreads.append((width * away**2).mean(0).numpy())
    samples, spreads = np.array(means), np.array(spreads)
    agree(samples, predictions(solved))
    agree(spreads, [*solved.train_fluctuation, *solved.test_fluctuation])
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
