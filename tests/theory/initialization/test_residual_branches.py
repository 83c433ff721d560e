"""Residual branches against recorded rows, closed forms, the tangent-kernel package's own recursion, and quadrature."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from limes.core.errors import ScopeError, SpecError
from limes.theory.initialization import ResidualProblem, simulate_residual, solve_residual
from limes.theory.kernels import residual_nngp_kernel
from support.stats import assert_golden, assert_mean, assert_order, load_golden

GOLDEN = load_golden("initialization")
H0 = [[1.0, 0.5], [0.5, 1.0]]


@pytest.mark.parametrize("row", GOLDEN["residual"], ids=lambda row: str(row["depth"]))
def test_recorded_rows(row):
    result = solve_residual(ResidualProblem(H0, "relu", depth=row["depth"]))
    h = result.covariance[0]
    assert_golden([h[0, 0], h[0, 1], result.correlation()[0]], row["values"])


def test_closed_forms_of_the_diagonal():
    tau = np.array([0.7, 0.0, 1.0])
    relu = solve_residual(ResidualProblem(H0, "relu", branch_scale=1.3), tau)
    linear = solve_residual(ResidualProblem(H0, "linear", branch_scale=1.3), tau)
    np.testing.assert_allclose(relu.covariance[:, 0, 0], np.exp(1.69 * tau / 2), rtol=1e-10)
    np.testing.assert_allclose(linear.covariance[:, 0, 1], 0.5 * np.exp(1.69 * tau), rtol=1e-10)
    np.testing.assert_allclose(relu.log_growth[:, 1], 1.69 * tau / 2, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("activation", ["relu", "erf", "tanh"])
def test_equals_the_kernels_of_residual_networks(activation):
    x = torch.tensor([[1.0, 0.4, -0.2], [0.3, -1.0, 0.8], [0.5, 0.5, 1.5]], dtype=torch.float64)
    for depth in (7, math.inf):
        problem = ResidualProblem(x @ x.T / 3, activation, depth=depth, branch_scale=0.8)
        kernel = residual_nngp_kernel(
            x, depth=depth, activation=activation, weight_var=1.0, bias_var=0.0, branch_scale=0.8, readout="linear"
        )
        torch.testing.assert_close(solve_residual(problem).covariance[0], kernel, rtol=1e-9, atol=1e-10)


def test_three_ranges_of_the_exponent():
    depths = (64, 128, 256, 512)
    frozen = [solve_residual(ResidualProblem(H0, "relu", depth=d, branch_exponent=0.75)) for d in depths]
    assert {r.problem.regime for r in frozen} == {"frozen"}
    # What is left of the branches falls like L^(1 - 2 a) = L^(-1/2).
    assert_order([1 / d for d in depths], [float(r.covariance[0, 0, 0]) - 1.0 for r in frozen], 0.49)
    still = solve_residual(ResidualProblem(H0, "relu", branch_exponent=0.75))
    assert torch.equal(still.covariance[0], torch.tensor(H0, dtype=torch.float64))
    balanced = [solve_residual(ResidualProblem(H0, "relu", depth=d)) for d in depths]
    limit = solve_residual(ResidualProblem(H0, "relu"))
    errors = [float((r.covariance - limit.covariance).abs().max()) for r in balanced]
    assert_order([1 / d for d in depths], errors, 1.0)
    for depth in depths:
        result = solve_residual(ResidualProblem(H0, "relu", depth=depth, branch_exponent=0.25))
        assert result.problem.regime == "exploding"
        expected = depth * math.log1p(0.5 * depth**-0.5)
        assert result.log_growth[0, 0].item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("width", "depth", "exponent"), [(5, 3, 0.5), (8, 1, 0.2), (16, 40, 0.7)])
def test_log_moments_of_a_linear_network(width, depth, exponent):
    """One block by quadrature over the component along h and the length of the rest."""
    problem = ResidualProblem([[2.0]], "linear", width=width, depth=depth, branch_scale=1.4, branch_exponent=exponent)
    s2 = problem.block_strength

    # In the fourth root of the chi-square its density is nearly normal, so Gauss-Legendre converges at once.
    x, w = np.polynomial.legendre.leggauss(200)
    low, high = stats.chi2.ppf([1e-13, 1.0 - 1e-13], width - 1) ** 0.25
    root = 0.5 * (low + high) + 0.5 * (high - low) * x
    rest, weights = root**4, 0.5 * (high - low) * w * 4.0 * root**3 * stats.chi2.pdf(root**4, width - 1)
    g, shares = 8.5 * x, 8.5 * w * stats.norm.pdf(8.5 * x)
    logs = np.log((1.0 + math.sqrt(s2 / width) * g[:, None]) ** 2 + s2 * rest / width)

    def moment(power):
        return shares @ logs**power @ weights

    mean = moment(1)
    result = solve_residual(problem, [0.0, 1.0])
    assert result.log_growth[1, 0].item() == pytest.approx(depth * mean, rel=2e-4)
    assert result.log_growth_var[1, 0].item() == pytest.approx(depth * (moment(2) - mean**2), rel=2e-4)
    assert result.log_growth[0, 0] == 0.0


def test_depth_first_is_a_geometric_brownian_motion():
    result = solve_residual(ResidualProblem([[1.0]], "linear", width=4))
    assert result.log_growth[0, 0].item() == pytest.approx(0.5)
    assert result.log_growth_var[0, 0].item() == pytest.approx(1.0)
    finite = [
        solve_residual(ResidualProblem([[1.0]], "linear", width=4, depth=depth)) for depth in (50, 100, 200, 400, 10**7)
    ]
    for name, limit in (("log_growth", 0.5), ("log_growth_var", 1.0)):
        errors = [abs(getattr(r, name)[0, 0].item() - limit) for r in finite]
        assert_order([1 / 50, 1 / 100, 1 / 200, 1 / 400], errors[:4], 1.0)
        assert errors[4] < 1e-6
    # Both orders of the limits agree at a = 1/2.
    wide = solve_residual(ResidualProblem([[1.0]], "linear", width=10**6, depth=10**6))
    assert wide.log_growth[0, 0].item() == pytest.approx(1.0, abs=5e-6) and wide.log_growth_var[0, 0] < 5e-6


def test_draws_of_a_small_network():
    problem = ResidualProblem([[1.0, 0.3], [0.3, 2.0]], "linear", width=6, depth=5)
    run = simulate_residual(problem, num_draws=16_000, generator=torch.Generator().manual_seed(0))
    result = solve_residual(problem)
    growth = run.log_growth.reshape(16, -1, 2)
    assert_mean(growth[..., 1].mean(1), result.log_growth[0, 1].item())
    assert_mean((growth[..., 0] ** 2).mean(1), (result.log_growth_var + result.log_growth**2)[0, 0].item())
    assert_mean(run.covariance[:, 0, 1].reshape(16, -1).mean(1), result.covariance[0, 0, 1].item())


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: ResidualProblem(H0, "relu", branch_exponent=0.4), ScopeError, "explodes below 1/2"),
        (lambda: ResidualProblem(H0, "relu", depth=0), SpecError, "depth is 0"),
        (lambda: ResidualProblem(H0, "relu", width=2.5), SpecError, "width is 2.5"),
        (lambda: ResidualProblem(H0, "relu", branch_scale=-1.0), SpecError, "branch_scale is -1"),
        (lambda: ResidualProblem([[1.0, 3.0], [3.0, 1.0]]), SpecError, "eigenvalue"),
        (lambda: solve_residual(ResidualProblem(H0, "relu", width=8)), ScopeError, "simulate_residual"),
        (lambda: solve_residual(ResidualProblem(H0), [1.5]), SpecError, "times"),
        (
            lambda: simulate_residual(ResidualProblem(H0), num_draws=2, generator=torch.Generator()),
            ScopeError,
            "finite sizes",
        ),
    ],
)
def test_bad_input_is_one_sentence(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_times_may_repeat_and_what_overflows_is_refused() -> None:
    found = solve_residual(ResidualProblem([[1.0]], "relu"), [0.5, 1.0, 0.5]).covariance[:, 0, 0]
    assert found[0] == found[2] and found[1] > found[0]
    with pytest.raises(ScopeError, match="leaves the range of double precision"):
        solve_residual(ResidualProblem([[1.0]], "relu", depth=2000, branch_exponent=0.0))
    for times in ([], "a"):
        with pytest.raises(SpecError, match="times"):
            solve_residual(ResidualProblem([[1.0]], "relu"), times)
