"""The prior predictive of finite networks against recorded rows, closed forms and enumerated mixtures."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats

from limes.core.errors import ScopeError, SpecError
from limes.theory.initialization import (
    PriorProblem,
    joint_limit,
    prior_log_moments,
    prior_moment,
    sample_prior,
    solve_prior,
)
from limes.theory.initialization.mellin import binomial_nodes, log_gamma_ratio
from support.stats import assert_golden, load_golden

GOLDEN = load_golden("initialization")


@pytest.mark.parametrize("row", GOLDEN["prior"], ids=lambda row: f"{row['activation']}-{row['widths']}")
def test_recorded_rows(row):
    problem = PriorProblem(tuple(row["widths"]), row["activation"])
    result = solve_prior(problem, row["radii"])
    assert_golden(result.density, row["density"])
    assert abs(result.mass_error) < 1e-13
    if "above" in row:
        assert_golden(result.above[[row["above"]["index"]]], row["above"])
    if "atom" in row:
        assert result.atom == pytest.approx(row["atom"], abs=5e-7)
        kurtosis = prior_moment(problem, 4) / prior_moment(problem, 2) ** 2
        assert kurtosis == pytest.approx(row["kurtosis"], rel=1e-12)


def test_interval_joint_limit_and_square_networks():
    low, high = solve_prior(PriorProblem((3, 5)), [0.05, 0.15]).below
    assert_golden(high - low, GOLDEN["interval"])
    limit = joint_limit(PriorProblem((512,) * 256), [0.1, 1.0])
    assert_golden(limit.below, GOLDEN["joint_limit"])
    for row in GOLDEN["square_network"]:
        mean, variance = prior_log_moments(PriorProblem((row["width"],) * row["width"]))
        normal = prior_log_moments(PriorProblem(()))
        assert_golden([mean - normal[0], variance - normal[1]], row["moments"])


@pytest.mark.parametrize("widths", [(3,), (2, 3)])
def test_relu_is_the_enumerated_mixture_of_linear_networks(widths):
    radii = np.array([1e-8, 0.7, 40.0])
    whole = solve_prior(PriorProblem(widths), radii)
    density, above = np.zeros(3), np.zeros(3)
    for active in itertools.product(*(range(1, width + 1) for width in widths)):
        weight = math.prod(math.comb(d, k) * 2.0**-d for d, k in zip(widths, active, strict=True))
        # The same sigma: input_var carries what the fewer units take from the product of variances.
        scale = math.prod(2.0 * k / d for d, k in zip(widths, active, strict=True))
        part = solve_prior(PriorProblem(active, "linear", input_var=scale), radii)
        density, above = density + weight * part.density, above + weight * part.above
    np.testing.assert_allclose(whole.density, density, rtol=2e-12)
    np.testing.assert_allclose(whole.above, above, rtol=2e-12)
    np.testing.assert_allclose(whole.below + whole.above, 1.0, rtol=1e-12)


def test_no_hidden_layer_is_a_gaussian_far_into_its_tail():
    radii = np.array([0.0, 1e-3, 1.0, 6.0, 30.0, 200.0])
    result = solve_prior(PriorProblem(()), radii)
    np.testing.assert_allclose(result.log_density, stats.norm.logpdf(radii), rtol=1e-12)
    np.testing.assert_allclose(result.log_above, math.log(2.0) + stats.norm.logsf(radii), rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(result.below[:3], stats.norm.cdf(radii[:3]) * 2.0 - 1.0, rtol=1e-11, atol=1e-15)
    vector = solve_prior(PriorProblem((), num_outputs=5), radii)
    np.testing.assert_allclose(vector.log_density, 5 * stats.norm.logpdf(0.0) - radii**2 / 2, rtol=1e-12)
    np.testing.assert_allclose(vector.above, stats.chi2.sf(radii**2, 5), rtol=1e-11)


@pytest.mark.parametrize("problem", [PriorProblem((4, 6), num_outputs=3), PriorProblem((5, 7), "linear")])
def test_density_integrates_to_the_distribution_function(problem):
    n = problem.num_outputs
    area = 2.0 * math.pi ** (n / 2) / math.gamma(n / 2)

    def shell(u):
        r = math.exp(u)
        return area * r**n * solve_prior(problem, [r]).density[0]

    inside = integrate.quad(shell, math.log(0.3), math.log(1.1), epsabs=1e-11, epsrel=1e-11)[0]
    low, high = solve_prior(problem, [0.3, 1.1]).below
    assert inside == pytest.approx(high - low, rel=1e-10)


def test_density_at_zero_is_the_limit_or_diverges():
    problem = PriorProblem((6, 9), "linear", num_outputs=2)
    zero, near = solve_prior(problem, [0.0, 1e-5]).density
    assert zero == pytest.approx(near, rel=1e-6)
    assert solve_prior(PriorProblem((6, 9)), [0.0]).density[0] == math.inf
    assert solve_prior(PriorProblem((6, 9)), [0.0]).below[0] == PriorProblem((6, 9)).atom


def test_a_thousand_layers_of_width_ten_thousand():
    """The distribution of ln |f| against moments that no contour enters, and the joint limit."""
    for activation, slope in (("relu", 5.0), ("linear", 2.0)):
        problem = PriorProblem((10_000,) * 1000, activation)
        limit = joint_limit(problem, [0.1, 1.0, 3.0])
        result = solve_prior(problem, [0.1, 1.0, 3.0])
        assert abs(result.mass_error) < 1e-12 and limit.error < 2e-4
        np.testing.assert_allclose(result.below, limit.below, atol=2 * limit.error)
        mean, variance = prior_log_moments(problem)
        # What is left is of order b / width = 1e-5, times 19 for the variance (from the rows of square networks).
        assert mean == pytest.approx(limit.log_mean, abs=2.5e-4)
        assert variance == pytest.approx(limit.log_var, abs=2.5e-4)
        assert limit.log_var == pytest.approx(0.1 * slope + math.pi**2 / 2)


def test_the_joint_limit_comes_closer_with_width():
    errors = [joint_limit(PriorProblem((width,) * (width // 2)), [1.0]).error for width in (32, 64, 128)]
    ratios = np.array(errors[:-1]) / errors[1:]
    assert ((ratios > 1.8) & (ratios < 2.3)).all()


@given(st.floats(-0.45, 30.0), st.floats(-30.0, 30.0), st.floats(0.5, 300.0))
@settings(max_examples=60, deadline=None)
def test_ratios_of_gamma_functions(real, imaginary, a):
    s = complex(real, imaginary)
    got = complex(log_gamma_ratio(np.array(a), np.array(s)))
    expected = complex(special.loggamma(a + s) - special.gammaln(a) - s * math.log(a))
    assert got == pytest.approx(expected, rel=1e-11, abs=1e-11 * (1 + abs(s)))


def test_gauss_points_of_the_binomial_replace_its_sum():
    k, weights = binomial_nodes(700)
    whole = np.arange(1, 701)
    shares = stats.binom.pmf(whole, 700, 0.5)
    for s in (0.3 + 0j, 2.0 + 9.0j, -0.49 + 20.0j):
        got = (weights * np.exp(log_gamma_ratio(k / 2, np.full(len(k), s)) + s * np.log(k / 350))).sum()
        terms = np.exp(log_gamma_ratio(whole / 2, np.full(700, s)) + s * np.log(whole / 350))
        assert got == pytest.approx(complex((shares * terms).sum()), abs=1e-13)


def test_moments_of_exact_draws_and_units():
    problem = PriorProblem((6, 4), input_var=3.0, num_outputs=2)
    draws = sample_prior(problem, 40_000, generator=torch.Generator().manual_seed(3))
    lengths = draws.norm(dim=1)
    dead = (lengths == 0).double().mean().item()
    assert abs(dead - problem.atom) < 5 * math.sqrt(problem.atom / 40_000)
    below = solve_prior(problem, [1.0]).below[0]
    assert abs((lengths <= 1.0).double().mean().item() - below) < 5 * math.sqrt(below * (1 - below) / 40_000)
    assert prior_moment(problem, 2) == pytest.approx(6.0)
    small = solve_prior(PriorProblem((6, 4), num_outputs=2), [0.4])
    large = solve_prior(PriorProblem((6, 4), num_outputs=2, input_var=9.0), [1.2])
    assert large.above[0] == pytest.approx(small.above[0], rel=1e-12)
    assert large.density[0] * 9.0 == pytest.approx(small.density[0], rel=1e-12)
    assert prior_moment(PriorProblem((6, 4)), -0.5) == math.inf
    assert prior_moment(PriorProblem((6, 4)), 1e9) == math.inf


@pytest.mark.parametrize(
    ("arguments", "settings_", "words"),
    [
        (((4, 0),), {}, r"widths\[1\] is 0; expected a whole number"),
        (((4.5,),), {}, r"widths\[0\] is 4.5"),
        ((7,), {}, "expected a sequence of hidden widths"),
        (((4,),), {"weight_var": -1.0}, "weight_var is -1"),
        (((4,),), {"input_var": math.nan}, "input_var is nan"),
        (((4,),), {"num_outputs": 0}, "num_outputs is 0"),
        (((4,) * 100_001,), {}, "use the joint limit"),
    ],
)
def test_bad_input_is_one_sentence(arguments, settings_, words):
    with pytest.raises(SpecError, match=words):
        PriorProblem(*arguments, **settings_)


def test_bad_radii_and_activations():
    with pytest.raises(ScopeError, match="'tanh'"):
        PriorProblem((4,), "tanh")
    with pytest.raises(SpecError, match="radii"):
        solve_prior(PriorProblem((4,)), [-1.0])
    with pytest.raises(SpecError, match="radii"):
        solve_prior(PriorProblem((4,)), [])
    with pytest.raises(SpecError, match="positive"):
        joint_limit(PriorProblem((4,)), [0.0])
    with pytest.raises(SpecError, match="num_checked is 1"):
        joint_limit(PriorProblem((4,)), [1.0], num_checked=1)
    with pytest.raises(SpecError, match="num_draws"):
        sample_prior(PriorProblem((4,)), 0, generator=torch.Generator())
