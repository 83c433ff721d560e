"""The covariance SDE against finite shaped networks of four widths; without its drift it is rejected."""

import pytest
import torch

from limes.core.rng import stream
from limes.theory.initialization import (
    CovarianceProblem,
    ShapedReLU,
    ShapedSmooth,
    correlation_law,
    simulate_covariance,
    variance_law,
)
from support.stats import assert_limit

pytestmark = pytest.mark.sim

WIDTHS = (16, 32, 64, 128)
V0 = [[1.0, -0.2], [-0.2, 1.0]]


def measure(problem: CovarianceProblem, num_draws: int):
    """One result for each width."""
    return [
        simulate_covariance(problem, width=width, num_draws=num_draws, generator=stream(0, "init", str(width)))
        for width in WIDTHS
    ]


def stack(samples) -> torch.Tensor:
    return torch.stack(list(samples))


def test_correlation_of_shaped_relu_networks():
    problem = CovarianceProblem(V0, 0.5, ShapedReLU(1.0, -1.0))
    runs = measure(problem, 3000)
    rho = stack(run.correlation() for run in runs)
    # The finite-width correction is of order width^(-1/2): the slopes themselves are shaped by it.
    law = correlation_law(problem)
    assert_limit(WIDTHS, rho, law.mean, power=0.5)
    assert_limit(WIDTHS, rho**2, law.std**2 + law.mean**2, power=0.5)
    logs = stack(run.log_variance() for run in runs)
    assert_limit(WIDTHS, logs, -0.5, power=0.5)
    dropped = correlation_law(CovarianceProblem(V0, 0.5, ShapedReLU(0.0, 0.0)))
    with pytest.raises(AssertionError, match="limit"):
        assert_limit(WIDTHS, rho, dropped.mean, power=0.5)


def test_variance_of_shaped_tanh_networks():
    problem = CovarianceProblem([[2.0]], 0.5, ShapedSmooth("tanh", 0.8))
    logs = stack(run.log_variance() for run in measure(problem, 3000))
    law = variance_law(problem)
    assert_limit(WIDTHS, logs, law.mean)
    assert_limit(WIDTHS, logs**2, law.std**2 + law.mean**2)
    dropped = variance_law(CovarianceProblem([[2.0]], 0.5))
    with pytest.raises(AssertionError, match="limit"):
        assert_limit(WIDTHS, logs, dropped.mean)
