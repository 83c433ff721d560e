"""Covariances of residual streams against finite networks: the limit in width, and another exponent rejected."""

import pytest
import torch

from limes.core.rng import stream
from limes.theory.initialization import ResidualProblem, simulate_residual, solve_residual
from support.stats import assert_limit

pytestmark = pytest.mark.sim

WIDTHS = (16, 32, 64, 128)
H0 = [[1.0, 0.2], [0.2, 1.5]]


@pytest.mark.parametrize("exponent", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_covariance_in_width(activation, exponent):
    settings = {"depth": 24, "branch_scale": 1.2}
    runs = [
        simulate_residual(
            ResidualProblem(H0, activation, width=width, branch_exponent=exponent, **settings),
            num_draws=1500,
            generator=stream(0, "init", str(width)),
        ).covariance
        for width in WIDTHS
    ]
    measured = torch.stack(runs)

    def check(exponent: float) -> None:
        h = solve_residual(ResidualProblem(H0, activation, branch_exponent=exponent, **settings)).covariance[0]
        for i, j in ((0, 0), (0, 1), (1, 1)):
            assert_limit(WIDTHS, measured[:, :, i, j], h[i, j].item())

    check(exponent)
    with pytest.raises(AssertionError, match="limit"):
        check(exponent + 0.2)
