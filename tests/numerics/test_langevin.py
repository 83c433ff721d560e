"""Chains against closed forms: Gaussians, a double well, the bias of a step; and the mistakes that must show."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

import limes.numerics.langevin as langevin
from limes.core.errors import ConvergenceError, DataError, SpecError
from limes.numerics.chains import chain_estimate, effective_size, split_rhat
from limes.numerics.langevin import sample_langevin, step_bias
from support.stats import assert_mean

PRECISION = torch.linalg.inv(torch.tensor([[2.0, 0.6, 0.1], [0.6, 1.0, -0.3], [0.1, -0.3, 0.3]], dtype=torch.float64))
CENTER = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)


def gaussian(q):
    gradient = (q - CENTER) @ PRECISION
    return 0.5 * ((q - CENTER) * gradient).sum(1), gradient


def double_well(q, tilt=0.3):
    return (2.0 * (q**2 - 1.0) ** 2 + tilt * q).sum(1), 8.0 * q * (q**2 - 1.0) + tilt


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def scatter(dim, count=64):
    return 3.0 * torch.randn(count, dim, generator=generator(99), dtype=torch.float64)


def second_moments(q):
    """All products of deviations from the centre."""
    away = q - CENTER
    return torch.cat([q, (away[:, :, None] * away[:, None, :]).flatten(1)], 1)


def check_gaussian(sample):
    expected = torch.cat([CENTER, torch.linalg.inv(PRECISION).flatten()])
    for k, value in enumerate(expected.tolist()):
        assert_mean(sample.draws[:, :, k].mean(0), value)


@pytest.mark.parametrize("num_leapfrog", [1, 6])
def test_a_gaussian_with_correlations(num_leapfrog, monkeypatch):
    def sample(**changes):
        options = {"num_draws": 1500, "num_warmup": 300, "num_leapfrog": num_leapfrog, "generator": generator()}
        return sample_langevin(gaussian, scatter(3), observe=second_moments, **options | changes)

    found = sample()
    check_gaussian(found)
    assert float(found.rhat.max()) < 1.05
    assert abs(float(found.acceptance.mean()) - langevin.TARGETS[num_leapfrog == 1]) < 0.06
    assert float(found.effective_size.min()) > 1000
    # No Metropolis test at such a step, or noise that is ten percent too strong, must be noticed.
    with pytest.raises(AssertionError, match="mean"):
        check_gaussian(sample(adjusted=False, step_size=found.step_size))
    draw = langevin.draw_momenta
    monkeypatch.setattr(langevin, "draw_momenta", lambda q, g: 1.1 * draw(q, g))
    with pytest.raises(AssertionError, match="mean"):
        check_gaussian(sample())


def test_a_double_well():
    def weight(x):
        return math.exp(-2.0 * (x**2 - 1.0) ** 2 - 0.3 * x)

    total, right = quad(weight, -4, 4)[0], quad(weight, 0, 4)[0]
    second = quad(lambda x: x**2 * weight(x), -4, 4)[0] / total
    start = torch.linspace(-2.0, 2.0, 64, dtype=torch.float64)[:, None]

    def sample(potential, **changes):
        options = {"num_draws": 2000, "num_warmup": 200, "num_leapfrog": 3, "generator": generator()} | changes
        return sample_langevin(potential, start, observe=lambda q: torch.cat([(q > 0).double(), q**2], 1), **options)

    found = sample(double_well)
    assert_mean(found.draws[:, :, 0].mean(0), right / total)
    assert_mean(found.draws[:, :, 1].mean(0), second)
    # Another tilt, and chains too short to change wells, which R-hat says.
    with pytest.raises(AssertionError, match="mean"):
        assert_mean(sample(lambda q: double_well(q, 0.2)).draws[:, :, 0].mean(0), right / total)
    frozen = sample(lambda q: tuple(12.0 * part for part in double_well(q)), num_draws=200)
    assert float(frozen.rhat[0]) > 1.5 and float(found.rhat.max()) < 1.02


def test_the_bias_of_a_step_is_what_halving_says():
    """Unadjusted chains on a Gaussian have the variance 1 / (1 - h^2 / 4), whatever the number of steps."""
    start = torch.zeros(1024, 1, dtype=torch.float64)
    for steps in (1, 2):
        found = step_bias(
            lambda q: (0.5 * (q**2).sum(1), q),
            start,
            step_size=0.8,
            num_draws=2000,
            num_warmup=50,
            num_leapfrog=steps,
            generator=generator(steps),
            observe=torch.square,
        )
        exact = 1.0 / (1.0 - 0.16) - 1.0
        # Fourth order: what the halving leaves of the exact bias.
        left = abs(4.0 / 3.0 * (1.0 / (1.0 - 0.16) - 1.0 / (1.0 - 0.04)) - exact)
        assert float((found.bias - exact).abs()) < 4.0 * float(found.error) + left
        assert float(found.error) < 0.05 * exact and left < 0.1 * exact
        assert_mean(found.coarse.draws[:, :, 0].mean(0), 1.0 + exact)


def test_effective_size_of_autoregressive_chains():
    """1 + 2 sum rho^k = (1 + rho) / (1 - rho)."""
    rng = np.random.default_rng(0)
    for rho in (0.0, 0.6, 0.9, -0.4):
        chains = np.empty((4000, 16, 1))
        chains[0] = rng.standard_normal((16, 1))
        for t in range(1, len(chains)):
            chains[t] = rho * chains[t - 1] + math.sqrt(1 - rho**2) * rng.standard_normal((16, 1))
        size = float(effective_size(torch.from_numpy(chains)))
        assert size == pytest.approx(64000 * (1 - rho) / (1 + rho), rel=0.15)
    draws = torch.from_numpy(chains)
    assert float(split_rhat(draws)) < 1.01
    drifting = draws + torch.linspace(0, 2, 4000, dtype=torch.float64)[:, None, None]
    apart = draws + torch.arange(16, dtype=torch.float64)[None, :, None]
    assert float(split_rhat(drifting)) > 1.05 and float(split_rhat(apart)) > 1.5
    constant = torch.ones(8, 2, 1, dtype=torch.float64)
    assert split_rhat(constant).item() == 1.0 and effective_size(constant).item() == 16.0
    assert chain_estimate(draws).error.item() == pytest.approx(float(draws.mean(0).std()) / 4.0)


def test_the_same_seed_gives_the_same_chains_and_progress_is_told():
    told = []
    options = {"num_draws": 5, "num_warmup": 20}
    one = sample_langevin(gaussian, scatter(3, 4), generator=generator(3), progress=told.append, **options)
    two = sample_langevin(gaussian, scatter(3, 4), generator=generator(3), **options)
    assert torch.equal(one.draws, two.draws) and one.draws.shape == (5, 4, 3) and torch.equal(one.draws[-1], one.last)
    assert len(told) == 25 and told[-1] == 1.0 and one.num_gradients == 26


def test_a_wall_is_not_crossed_and_an_overflow_is_rejected():
    def half_line(q):
        inside = q[:, 0] > 0
        return torch.where(inside, 0.5 * (q[:, 0]) ** 2, torch.inf), q

    found = sample_langevin(half_line, scatter(1).abs(), num_draws=1500, num_warmup=100, generator=generator())
    assert bool((found.draws > 0).all())
    assert_mean(found.draws[:, :, 0].mean(0), math.sqrt(2.0 / math.pi))

    def quartic(q):
        return torch.where((q.abs() > 1e6).any(1), torch.nan, 0.25 * (q**4).sum(1)), q**3

    steep = sample_langevin(quartic, 1e3 * scatter(1), num_draws=50, num_warmup=400, generator=generator())
    assert bool(steep.last.isfinite().all())


BAD = {
    "one chain": ({"start": torch.zeros(1, 3).double()}, r"\(1, 3\)"),
    "single precision": ({"start": torch.zeros(4, 3)}, "float32"),
    "draws": ({"num_draws": 0}, "num_draws is 0"),
    "leapfrog": ({"num_leapfrog": 1.5}, "num_leapfrog is 1.5"),
    "step": ({"step_size": -1.0}, "step_size is -1"),
    "spread": ({"spread": 1.0}, "spread is 1"),
    "no warm-up": ({"num_warmup": 3}, "num_warmup is 3"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(name):
    changes, words = BAD[name]
    options = {"start": scatter(3, 4), "num_draws": 2, "num_warmup": 20, "generator": generator()} | changes
    with pytest.raises(SpecError, match=words):
        sample_langevin(gaussian, options.pop("start"), **options)


def test_chains_that_run_away_or_start_nowhere():
    with pytest.raises(ConvergenceError, match="not finite"):
        sample_langevin(
            lambda q: (q.sum(1) * torch.nan, q), scatter(2, 4), num_draws=2, num_warmup=20, generator=generator()
        )
    with pytest.raises(ConvergenceError, match="ran away"):
        sample_langevin(
            lambda q: (0.25 * (q**4).sum(1), q**3),
            scatter(2, 4),
            num_draws=50,
            num_warmup=0,
            step_size=3.0,
            adjusted=False,
            generator=generator(),
        )
    for draws in (torch.zeros(2, 2, 1), torch.zeros(8, 1, 1), torch.full((8, 2, 1), math.nan)):
        with pytest.raises(DataError):
            split_rhat(draws)


def test_moves_of_half_a_period_still_mix_even_functions():
    """At one length q goes to -q in every move, and q^2 hardly moves from where it was."""

    def sample(spread):
        return sample_langevin(
            lambda q: (0.5 * (q**2).sum(1), q),
            scatter(20),
            num_draws=200,
            num_warmup=0,
            num_leapfrog=10,
            step_size=math.pi / 10,
            spread=spread,
            observe=lambda q: (q**2).mean(1, keepdim=True),
            generator=generator(),
        )

    fixed, drawn = sample(0.0), sample(None)
    assert float(drawn.effective_size) > 10.0 * float(fixed.effective_size)
    assert_mean(drawn.draws[100:, :, 0].mean(0), 1.0)
