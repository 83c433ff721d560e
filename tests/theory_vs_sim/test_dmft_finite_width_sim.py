"""Spread and bias of trained networks against the theory of finite width, extrapolated in 1 / width, with mutants."""

from functools import cache

import numpy as np
import pytest
import torch

from limes.theory.dynamics import (
    DMFTResult,
    MLPProblem,
    Observable,
    finite_width_bias,
    finite_width_covariance,
    initial_weights,
    train_network,
    two_layer_output_covariance,
)
from support.dmft_cases import samples
from support.stats import assert_limit

pytestmark = pytest.mark.sim

WIDTHS = (32, 64, 128, 256)
NUM_BATCHES, BATCH = 24, 25
WATCHED = (
    Observable(kind="output", time=4, sample=0),
    Observable(kind="output", time=9, sample=1),
    Observable(kind="feature", time=9, layer=2, sample=0, other=1),
    Observable(kind="gradient", time=9, layer=1, sample=0, other=0),
)


def _problem(*, depth: int = 2, gamma0: float = 1.0) -> MLPProblem:
    inputs, targets = samples(2, 5)
    return MLPProblem(
        inputs=inputs, targets=targets, depth=depth, activation="tanh", gamma0=gamma0, lr=0.4, num_times=10
    )


def _network(problem: MLPProblem, width: int, seed: int) -> DMFTResult:
    generator = torch.Generator().manual_seed(1_000_000 * width + seed)
    return train_network(problem, weights=initial_weights(problem, width=width, generator=generator))


@cache
def _covariances() -> np.ndarray:
    """(num_widths, NUM_BATCHES, n, n): width times the covariance over the networks of a batch."""
    problem, found = _problem(), []
    for width in WIDTHS:
        values = [
            [o.of(network) for o in WATCHED]
            for network in (_network(problem, width, seed) for seed in range(NUM_BATCHES * BATCH))
        ]
        batches = np.array(values).reshape(NUM_BATCHES, BATCH, len(WATCHED))
        found.append([width * np.cov(batch.T) for batch in batches])
    return np.array(found)


def _assert_agrees(predicted: np.ndarray) -> None:
    measured = _covariances()
    for i in range(len(WATCHED)):
        for j in range(i + 1):
            # 2 % of the two standard deviations is the stated accuracy of the prediction.
            bias = 0.02 * np.sqrt(predicted[i, i] * predicted[j, j])
            assert_limit(WIDTHS, measured[:, :, i, j], predicted[i, j], bias=bias)


def test_the_spread_of_networks_is_that_of_the_influence_functions() -> None:
    _assert_agrees(finite_width_covariance(_problem(), WATCHED))


@pytest.mark.parametrize("gamma0", [0.5, 2.0])
def test_another_richness_is_rejected(gamma0: float) -> None:
    with pytest.raises(AssertionError, match="limit"):
        _assert_agrees(finite_width_covariance(_problem(gamma0=gamma0), WATCHED))


def test_the_spread_of_two_layer_networks_is_that_of_the_propagator() -> None:
    problem = _problem(depth=1)
    predicted = two_layer_output_covariance(problem, num_particles=1024)
    measured = []
    for width in WIDTHS:
        outputs = np.array([_network(problem, width, seed).outputs[[3, 9]] for seed in range(NUM_BATCHES * BATCH)])
        batches = outputs.reshape(NUM_BATCHES, BATCH, 4)
        measured.append([width * np.var(batch, axis=0, ddof=1) for batch in batches])
    measured = np.array(measured)
    expected = np.array([predicted[t, mu, t, mu] for t in (3, 9) for mu in (0, 1)])
    for index, value in enumerate(expected):
        assert_limit(WIDTHS, measured[:, :, index], value, bias=0.02 * value)
    with pytest.raises(AssertionError, match="limit"):
        for index, value in enumerate(expected):
            assert_limit(WIDTHS, measured[:, :, index], 1.5 * value)


def test_relu_networks_are_biased_and_the_bias_is_measured() -> None:
    inputs, targets = samples(4, 10)
    problem = MLPProblem(inputs=inputs, targets=targets, depth=2, activation="relu", gamma0=1.0, lr=0.3, num_times=11)
    loss = [Observable(kind="loss", time=10)]
    bias, error = finite_width_bias(problem, loss, generator=torch.Generator().manual_seed(0), num_networks=600)
    again, other = finite_width_bias(
        problem, loss, generator=torch.Generator().manual_seed(1), widths=(48, 96, 192), num_networks=400
    )
    # Two independent measurements at different widths agree, and zero is outside both together.
    assert abs(bias - again) < 3.9 * np.hypot(error, other)
    assert bias + again > 3.9 * np.hypot(error, other)
