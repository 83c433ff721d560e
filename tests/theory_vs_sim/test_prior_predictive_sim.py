"""Exact prior predictive against networks whose weights are drawn; wrong widths and the Gaussian limit are rejected."""

import math

import pytest
import torch

from limes.core.rng import stream
from limes.theory.initialization import PriorProblem, prior_log_moments, simulate_prior, solve_prior
from support.stats import assert_mean

pytestmark = pytest.mark.sim

NUM_SEEDS, NUM_DRAWS = 32, 500
RADII = (0.2, 1.0, 2.5)


def measure(problem: PriorProblem) -> torch.Tensor:
    """(num_seeds, num_draws) lengths of the outputs."""
    runs = [simulate_prior(problem, NUM_DRAWS, generator=stream(seed, "init")) for seed in range(NUM_SEEDS)]
    return torch.stack(runs).norm(dim=2)


def check(lengths: torch.Tensor, problem: PriorProblem) -> None:
    for radius, below in zip(RADII, solve_prior(problem, RADII).below, strict=True):
        assert_mean((lengths <= radius).double().mean(1), below)
    alive = lengths > 0
    if problem.atom > 1e-3:
        assert_mean(1.0 - alive.double().mean(1), problem.atom)
    logs = torch.where(alive, 2.0 * lengths.clamp_min(1e-300).log(), 0.0)
    mean, variance = prior_log_moments(problem)
    assert_mean(logs.sum(1) / alive.sum(1), mean)
    assert_mean((logs**2).sum(1) / alive.sum(1), variance + mean**2)


@pytest.mark.parametrize(
    ("problem", "mutant"),
    [
        (PriorProblem((6, 3, 8)), PriorProblem((7, 4, 8))),
        (PriorProblem((16,) * 10), PriorProblem((160,) * 10)),
        (PriorProblem((5, 9), "linear", num_outputs=3), PriorProblem((6, 9), "linear", num_outputs=3)),
        (PriorProblem((12, 12), weight_var=1.5, input_var=2.0), PriorProblem((12, 12), weight_var=1.65, input_var=2.0)),
    ],
    ids=["relu", "deep-relu", "linear-vector", "not-he"],
)
def test_networks_follow_the_exact_distribution(problem, mutant):
    lengths = measure(problem)
    assert math.isfinite(float(lengths.max()))
    check(lengths, problem)
    with pytest.raises(AssertionError, match="mean"):
        check(lengths, mutant)
