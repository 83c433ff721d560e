"""Fixed points, linear algebra and ensembles: exact cases, failures in words."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from limes.core.errors import ConvergenceError, DataError
from limes.core.status import SolveStatus
from limes.numerics.ensemble import limit_estimate, mean_estimate
from limes.numerics.fixed_point import fixed_point
from limes.numerics.linalg import factor_positive, positive_eigh, symmetric
from support.stats import assert_mean


@pytest.mark.parametrize(
    "function",
    [
        math.cos,
        lambda q: 0.999 * q + 0.001,
        lambda q: math.sqrt(q + 1.0),
        lambda q: 3.0 * math.tanh(q),
        lambda q: math.exp(min(q, 700.0)),
    ],
    ids=["oscillating", "slow", "square root", "two roots", "none"],
)
def test_fixed_point_is_the_root_of_the_gap(function):
    found = fixed_point(function, 0.5, throw=False)
    if function(40.0) > 1e15:
        assert found.status is SolveStatus.DIVERGED
        return
    root = brentq(lambda q: function(q) - q, 0.1, 10.0, xtol=1e-15)
    assert found.status is SolveStatus.CONVERGED and found.value == pytest.approx(root, rel=1e-9)


def test_fixed_point_says_how_it_failed():
    with pytest.raises(ConvergenceError, match=r"iteration limit.*Last value") as caught:
        fixed_point(lambda q: q + 1.0, 0.0, max_iterations=50)
    assert caught.value.result.status is SolveStatus.MAX_ITERATIONS


def test_matrices_that_are_not_what_they_should_be():
    skew = torch.tensor([[1.0, 0.5], [0.0, 1.0]], dtype=torch.float64)
    with pytest.raises(ConvergenceError, match=r"transpose by 0\.5"):
        symmetric(skew)
    with pytest.raises(ConvergenceError, match="square"):
        symmetric(skew[:1])
    negative = torch.diag(torch.tensor([1.0, -0.1], dtype=torch.float64))
    with pytest.raises(ConvergenceError, match=r"eigenvalue -0\.1"):
        factor_positive(negative)
    with pytest.raises(ConvergenceError, match="semidefinite"):
        positive_eigh(negative)
    values, vectors = positive_eigh(skew @ skew.T)
    torch.testing.assert_close((vectors * values) @ vectors.T, skew @ skew.T)


@pytest.mark.parametrize("terms", [1, 2])
def test_estimates_have_the_spread_they_claim(terms):
    generator = np.random.default_rng(0)
    sizes = [8, 16, 32, 64]
    scores, wrong = [], []
    for _ in range(400):
        second = 40.0 if terms == 2 else 0.0
        runs = [1.5 + 2.0 / n + second / n**2 + generator.standard_normal(20) / math.sqrt(n) for n in sizes]
        estimate = limit_estimate(sizes, runs, terms=terms)
        scores.append((estimate.value - 1.5) / estimate.error)
        wrong.append(limit_estimate(sizes, runs).value)
    assert_mean(scores, 0.0)
    if terms == 2:
        with pytest.raises(AssertionError):
            assert_mean(wrong, 1.5)
    # Squared scores: weights estimated from 20 runs inflate a variance of 1 by about (19 - 1) / (19 - 3).
    assert_mean(np.square(scores), 1.0, bias=0.15)
    one = mean_estimate([1.0, 3.0])
    assert (one.value, one.error, one.degrees_of_freedom) == (2.0, 1.0, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_estimate([1.0]), "at least two"),
        (lambda: mean_estimate([1.0, math.nan]), "not finite"),
        (lambda: limit_estimate([1.0], [[1.0, 2.0]]), "2 or more"),
        (lambda: limit_estimate([1.0, 2.0], [[1.0, 1.0], [1.0, 2.0]]), "equal"),
        (lambda: limit_estimate([1.0, 2.0], [[1.0, 2.0], [1.0, 2.0]], terms=2), "3 or more"),
    ],
)
def test_unusable_samples(call, message):
    with pytest.raises(DataError, match=message):
        call()
