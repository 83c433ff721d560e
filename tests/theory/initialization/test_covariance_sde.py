"""The covariance SDE against its one-dimensional laws, recorded rows, and what one layer of a network adds."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from limes.core.errors import ConvergenceError, ScopeError, SpecError
from limes.theory.activations import Activation, leaky_relu
from limes.theory.initialization import (
    CovarianceProblem,
    ShapedReLU,
    ShapedSmooth,
    correlation_law,
    simulate_covariance,
    solve_covariance_sde,
    variance_law,
)
from limes.theory.initialization.covariance_sde import semidefinite_factor, wishart_step
from limes.theory.kernels import dual_activation
from support.stats import assert_golden, assert_mean, assert_order, load_golden

GOLDEN = load_golden("initialization")
V0 = torch.tensor([[1.0, 0.3], [0.3, 1.0]], dtype=torch.float64)
V3 = torch.tensor([[1.0, 0.2, -0.3], [0.2, 1.5, 0.4], [-0.3, 0.4, 0.8]], dtype=torch.float64)
EXPM1 = Activation(name="expm1", value=torch.expm1, derivative=torch.exp)


@pytest.mark.parametrize("row", GOLDEN["sde"], ids=lambda row: str(row["c"]))
def test_recorded_laws(row):
    law = correlation_law(CovarianceProblem(V0, 1.0, ShapedReLU(*row["c"])))
    assert_golden([law.mean], row["mean"])
    assert_golden([law.std], row["std"])
    if "quantiles" in row:
        assert_golden([law.quantile(level) for level in (0.1, 0.5, 0.9)], row["quantiles"])


def test_recorded_tanh():
    problem = CovarianceProblem(V0, 1.0, ShapedSmooth("tanh", 1.0))
    law = variance_law(problem)
    assert_golden([law.mean, law.std], GOLDEN["sde_tanh"]["log_variance"])
    assert_golden([law.mean, law.std], GOLDEN["sde_tanh"]["law"])
    result = solve_covariance_sde(problem, num_paths=20_000, num_steps=100)
    rho = result.correlation()
    assert_golden([rho.mean()], GOLDEN["sde_tanh"]["rho"])
    assert_golden([rho.std()], GOLDEN["sde_tanh"]["std"])
    levels = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    assert_golden(rho.quantile(levels), GOLDEN["sde_tanh"]["quantiles"])


def test_variance_of_shaped_relu_is_lognormal():
    problem = CovarianceProblem(2.0 * V3, 0.7)
    law = variance_law(problem, 1)
    normal = stats.norm(math.log(3.0) - 0.7, math.sqrt(1.4))
    assert law.mean == pytest.approx(normal.mean(), abs=1e-6)
    for level in (0.01, 0.5, 0.9):
        assert law.quantile(level) == pytest.approx(normal.ppf(level), abs=1e-3)
    sizes = (150, 300, 600, 1200, 2400)
    errors = [abs(variance_law(problem, 1, num_cells=n, num_steps=n).std - normal.std()) for n in sizes]
    # Where the start lies between two centres adds up to a quarter of a squared cell: the slope scatters around 2.
    assert_order([1.0 / n for n in sizes], errors, 2.0)
    assert errors[-1] < 2e-5


def test_grids_agree_for_the_correlation():
    problem = CovarianceProblem(V3, 1.2, ShapedReLU(1.0, -1.0))
    fine, coarse = correlation_law(problem, 0, 2), correlation_law(problem, 0, 2, num_cells=700, num_steps=300)
    assert fine.mean == pytest.approx(coarse.mean, abs=1e-4)
    assert fine.std == pytest.approx(coarse.std, abs=1e-4)


def test_paths_follow_the_laws():
    """All three correlations and the variances of three inputs at once; blocks of paths are the independent runs."""
    problem = CovarianceProblem(V3, 0.6, ShapedReLU(0.0, -1.5))
    result = solve_covariance_sde(problem, num_paths=16_000, num_steps=150)
    assert result.stopped_share == 0.0
    for first, second in ((0, 1), (0, 2), (1, 2)):
        law = correlation_law(problem, first, second)
        rho = result.correlation(first, second)
        assert_mean(rho.reshape(16, -1).mean(1), law.mean, bias=0.003)
        assert_mean((rho**2).reshape(16, -1).mean(1), law.std**2 + law.mean**2, bias=0.003)
        dropped = correlation_law(CovarianceProblem(V3, 0.6, ShapedReLU()), first, second)
        with pytest.raises(AssertionError, match="mean"):
            assert_mean(rho.reshape(16, -1).mean(1), dropped.mean, bias=0.003)
    assert_mean(result.log_variance(1).reshape(16, -1).mean(1), math.log(1.5) - 0.6, bias=0.003)
    assert (torch.linalg.eigvalsh(result.covariance)[:, 0] > -1e-12).all()


def test_explosion_is_stopped_and_counted():
    problem = CovarianceProblem([[1.0]], 1.0, ShapedSmooth(EXPM1, 1.5))
    assert problem.shape.growth == pytest.approx((0.75 + 1.0) / 2.25)
    law = variance_law(problem, cap=1e3)
    result = solve_covariance_sde(problem, num_paths=8000, num_steps=400, cap=1e3)
    assert 0.05 < law.stopped < 0.2
    # A path that crosses between two steps is seen only where it still is above: at one step's growth, 0.02.
    assert_mean(result.stopped.double().reshape(16, -1).mean(1), law.stopped, bias=0.01)
    assert torch.isfinite(result.covariance).all()
    assert (result.stop_time[result.stopped] < 1.0).any() and len(result.alive) < 8000


@pytest.mark.parametrize("shape", [ShapedReLU(0.5, -1.0), ShapedSmooth("tanh", 0.8), ShapedSmooth(EXPM1, 1.1)])
def test_drift_is_what_one_layer_of_a_wide_network_adds(shape):
    """E V' - V of one layer, by the dual of the shaped activation, times the width, as it grows."""
    errors = []
    for width in (10**4, 10**5, 10**6):
        if isinstance(shape, ShapedReLU):
            up, down = 1 + shape.positive / width**0.5, 1 + shape.negative / width**0.5
            d = V3.diagonal()
            pairs = (d.repeat_interleave(3), d.repeat(3), V3.flatten())
            dual = dual_activation(leaky_relu(down / up), pairs[0], var2=pairs[1], cov=pairs[2])[0]
            k = shape.normalizer(width) * up**2 * dual.reshape(3, 3)
        else:
            z = np.polynomial.hermite_e.hermegauss(40)
            nodes = torch.tensor(np.stack(np.meshgrid(z[0], z[0], z[0], indexing="ij"), -1)).reshape(-1, 3)
            weights = torch.tensor(np.einsum("i,j,k->ijk", z[1], z[1], z[1])).reshape(-1) / (2 * math.pi) ** 1.5
            h = shape.value(nodes @ torch.linalg.cholesky(V3).T, width)
            k = shape.normalizer(width) * (h * weights[:, None]).T @ h
        errors.append(float((width * (k - V3) - shape.drift(V3)).abs().max()))
    order = 0.5 if isinstance(shape, ShapedReLU) else 1.0
    assert errors[-1] < 0.02 and errors[0] > 0.8 * 10.0**order * errors[1]


def test_wishart_steps_have_the_covariance_of_the_equation():
    count, step = 200_000, 0.01
    noise = wishart_step(V3.expand(count, 3, 3), step, np.random.Generator(np.random.Philox(1))) - V3
    flat = noise.reshape(16, -1, 9)
    products = torch.einsum("sni,snj->sij", flat, flat) / flat.shape[1] / step
    sigma = torch.einsum("ac,bd->abcd", V3, V3) + torch.einsum("ad,bc->abcd", V3, V3)
    for i in range(9):
        for j in range(i, 9):
            assert_mean(products[:, i, j], sigma.reshape(9, 9)[i, j].item())


def test_factor_of_singular_matrices():
    x = torch.randn(5, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    v = x @ x.mT
    factor = semidefinite_factor(v)
    torch.testing.assert_close(factor @ factor.mT, v, rtol=1e-9, atol=1e-9)


def test_permuted_and_rescaled_inputs():
    problem = CovarianceProblem(V3, 0.4, ShapedReLU(0.0, -1.0))
    scaled = CovarianceProblem(4.0 * V3, 0.4, ShapedReLU(0.0, -1.0))
    torch.testing.assert_close(
        4.0 * solve_covariance_sde(problem, num_paths=8, num_steps=9).covariance,
        solve_covariance_sde(scaled, num_paths=8, num_steps=9).covariance,
    )
    order = [2, 0, 1]
    permuted = CovarianceProblem(V3[order][:, order], 0.4, ShapedReLU(0.0, -1.0))
    assert correlation_law(permuted, 0, 1).mean == pytest.approx(correlation_law(problem, 2, 0).mean, rel=1e-12)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: CovarianceProblem([[1.0, 2.0], [2.0, 1.0]], 1.0), SpecError, "eigenvalue -1"),
        (lambda: CovarianceProblem([[1.0, 0.5], [0.4, 1.0]], 1.0), SpecError, "not symmetric"),
        (lambda: CovarianceProblem([1.0, 2.0], 1.0), SpecError, "shape"),
        (lambda: CovarianceProblem([[0.0]], 1.0), SpecError, "diagonal"),
        (lambda: CovarianceProblem([[math.nan]], 1.0), SpecError, "not finite"),
        (lambda: CovarianceProblem(V0, -1.0), SpecError, "depth_ratio is -1"),
        (lambda: CovarianceProblem(V0, 1.0, "relu"), SpecError, "expected ShapedReLU or ShapedSmooth"),
        (lambda: ShapedSmooth("gelu"), SpecError, "phi'"),
        (lambda: ShapedSmooth("tanh", 0.0), SpecError, "scale is 0"),
        (lambda: solve_covariance_sde(CovarianceProblem(V0, 1.0), seed=-1), SpecError, "seed is -1"),
        (lambda: variance_law(CovarianceProblem(V0, 1.0), 0.5), SpecError, "index is 0.5"),
        (lambda: correlation_law(CovarianceProblem(V0, 1.0), 0, -1), SpecError, "second is -1"),
        (lambda: ShapedReLU(math.inf), SpecError, "positive is inf"),
        (lambda: solve_covariance_sde(CovarianceProblem(V0, 4.0), num_steps=6), SpecError, "use more than 8 steps"),
        (lambda: correlation_law(CovarianceProblem(V0, 1.0, ShapedSmooth())), ScopeError, "both variances"),
        (lambda: correlation_law(CovarianceProblem(torch.ones(2, 2), 1.0)), SpecError, "parallel"),
        (lambda: correlation_law(CovarianceProblem(V0, 1.0), 1, 1), SpecError, "two different"),
        (lambda: variance_law(CovarianceProblem(V0, 1.0), 2), SpecError, "index is 2"),
        (
            lambda: simulate_covariance(CovarianceProblem(V0, 0.01), width=4, num_draws=1, generator=torch.Generator()),
            SpecError,
            "depth_ratio . width is 0",
        ),
    ],
)
def test_bad_input_is_one_sentence(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_steps_that_leave_the_cone_are_refused_not_absorbed() -> None:
    problem = CovarianceProblem([[1.0]], 8.0, ShapedSmooth("tanh", 0.3))
    with pytest.raises(ConvergenceError, match="raise num_steps"):
        solve_covariance_sde(problem, num_paths=4000, num_steps=20)
