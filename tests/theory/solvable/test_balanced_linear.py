"""Deep linear networks from a balanced start: recorded values, integrals and whole networks as second methods."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from limes.core.errors import LimesError
from limes.theory.solvable import (
    BalancedLinearProblem,
    learning_time,
    simulate_balanced_linear,
    solve_balanced_linear,
)
from support.refusals import one_sentence
from support.stats import assert_golden, load_golden

GOOD = BalancedLinearProblem(strengths=[2.0, 1.0, 0.5], start=0.05, depth=3, times=[0.0, 1.0, 2.0])


@pytest.mark.parametrize("row", load_golden("solvable")["balanced_linear"], ids=lambda r: str(r["settings"]))
def test_recorded_values(row):
    result = solve_balanced_linear(BalancedLinearProblem(**row["settings"]))
    assert_golden(result.products[:, 0], row["products"])


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 7])
def test_the_time_to_any_share_is_an_integral(depth):
    shares = np.array([0.2, 0.5, 0.9, 0.999])
    times = [learning_time(1.5, start=0.02, depth=depth, share=share) for share in shares]
    result = solve_balanced_linear(BalancedLinearProblem(strengths=[1.5], start=0.02, depth=depth, times=times))
    np.testing.assert_allclose(result.products[:, 0], 1.5 * shares, rtol=1e-9)


def test_waits_by_depth():
    """Two layers wait log(1/start) / 2, three layers a power of the start, one does not wait."""
    small = [1e-4, 1e-6, 1e-8]
    two = [learning_time(1.0, start=a0, depth=2) for a0 in small]
    np.testing.assert_allclose(np.diff(two), math.log(100.0) / 2.0, rtol=1e-3)
    three = [learning_time(1.0, start=a0, depth=3) for a0 in small]
    np.testing.assert_allclose(three[2] / three[1], 100.0 ** (1.0 / 3.0), rtol=1e-2)
    assert learning_time(1.0, start=1e-8, depth=1) == pytest.approx(math.log(2.0), rel=1e-7)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_units(depth):
    """Strengths times c are learned c^(2 - 2/D) times faster from a start that is c times larger."""
    c = 1.7
    problem = replace(GOOD, depth=depth)
    scaled = replace(
        problem,
        strengths=c * problem.strengths,
        start=c * problem.start,
        times=problem.times / c ** (2.0 - 2.0 / depth),
    )
    found, other = solve_balanced_linear(problem), solve_balanced_linear(scaled)
    np.testing.assert_allclose(other.products, c * found.products, rtol=1e-9)
    np.testing.assert_allclose(other.test_loss, c**2 * found.test_loss, rtol=1e-8, atol=1e-14)


def test_a_start_beyond_the_target_and_at_it():
    above = solve_balanced_linear(BalancedLinearProblem(strengths=[1.0], start=3.0, depth=3, times=[0.1, 1.0, 20.0]))
    assert (np.diff(above.products[:, 0]) < 0).all() and above.products[-1, 0] == pytest.approx(1.0, abs=1e-9)
    at = solve_balanced_linear(BalancedLinearProblem(strengths=[1.0], start=1.0, depth=2, times=[5.0]))
    assert at.test_loss[0] == 0.0


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_networks_start_aligned(depth):
    problem = replace(GOOD, depth=depth)
    run = simulate_balanced_linear(problem, dim=6, num_draws=2, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(run.products[:, 0], 0.05, rtol=1e-12)
    np.testing.assert_allclose(run.test_loss[:, 0], solve_balanced_linear(problem).test_loss[0], rtol=1e-12)


BAD = {
    "zero strength": (lambda: replace(GOOD, strengths=[1.0, 0.0]), "expected positive singular values"),
    "times": (lambda: replace(GOOD, times=[2.0, 1.0]), "expected increasing"),
    "start": (lambda: replace(GOOD, start=0.0), "start is 0.0"),
    "depth": (lambda: replace(GOOD, depth=0), "depth is 0"),
    "half a layer": (lambda: replace(GOOD, depth=2.5), "depth is 2.5"),
    "start beyond": (lambda: learning_time(1.0, start=0.6, depth=2), "start is 0.6; expected less than 0.5"),
    "share": (lambda: learning_time(1.0, start=0.1, depth=2, share=1.0), "share is 1.0"),
    "few inputs": (
        lambda: simulate_balanced_linear(GOOD, dim=2, num_draws=1, generator=torch.Generator()),
        "dim is 2; 3 modes need at least as many inputs",
    ),
    "no draws": (
        lambda: simulate_balanced_linear(GOOD, dim=4, num_draws=0, generator=torch.Generator()),
        "num_draws is 0",
    ),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_bad_input_is_one_sentence(case):
    call, pattern = BAD[case]
    with one_sentence(LimesError, pattern):
        call()
