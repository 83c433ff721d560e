"""In-context learning by linear attention: recorded values, the ridgeless closed form, a second quadrature, limits."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import brentq

from limes.core.errors import LimesError
from limes.theory.solvable import (
    LinearAttentionProblem,
    simulate_linear_attention,
    solve_linear_attention,
    task_diversity_curve,
)
from support.refusals import one_sentence
from support.stats import assert_golden, load_golden

GOLDEN = load_golden("solvable")["linear_attention"]
GOOD = LinearAttentionProblem(context_ratio=2.0, task_ratio=1.5, sequence_ratio=0.5, noise_var=0.1, ridge=0.05)


def expectation(function, task_ratio):
    """Mean over the Marchenko-Pastur law by adaptive quadrature in the angle."""
    if math.isinf(task_ratio):
        return function(1.0)
    c = 1.0 / task_ratio

    def inner(theta):
        r = 1.0 + c - 2.0 * math.sqrt(c) * math.cos(theta)
        weight = 2.0 * c * math.sin(theta) ** 2 / (math.pi * c * r) if r > 0 else 0.0
        return function(r) * weight

    value = quad(inner, 0.0, math.pi, epsabs=1e-12, epsrel=1e-12, limit=400)[0]
    return value + (max(1.0 - task_ratio, 0.0) * function(0.0) if task_ratio < 1 else 0.0)


def slow_errors(problem):
    """Both errors from the equations, with quadrature and root of another kind."""
    rho, tau, kappa = problem.noise_var, problem.sequence_ratio, problem.task_ratio
    x = (1 + rho) / problem.context_ratio

    def mean(function):
        return expectation(lambda r: function(r, r + x), kappa)

    xi = 0.0
    if problem.ridge > 0 or tau < 1:
        xi = brentq(
            lambda s: s * (1 - mean(lambda r, k: k / (k + s)) / tau) - problem.ridge,
            1e-9 if problem.ridge > 0 and tau > 1 else 0.9 * x * max(1 / tau - 1, 0) + 1e-9,
            1e3,
            xtol=1e-13,
        )
    df2 = mean(lambda r, k: (k / (k + xi)) ** 2)
    variance = (xi**2 * mean(lambda r, k: r * r / (k * (k + xi) ** 2)) + rho + mean(lambda r, k: r - r * r / k)) / (
        tau - df2
    )

    def error(c, kt):
        return (
            1
            + rho
            - 2 * mean(lambda r, k: r / (k + xi) * c(r))
            + mean(lambda r, k: (r / (k + xi)) ** 2 * kt(k))
            + variance * mean(lambda r, k: kt(k) * k / (k + xi) ** 2)
        )

    return error(lambda r: 1.0, lambda k: 1 + x), error(lambda r: r, lambda k: k)


def published(tau, alpha, kappa, rho):
    """The closed form of the ridgeless error on new tasks, which shares nothing with the solver."""
    x = (1 + rho) / alpha

    def edge(k):
        shift = x + 1 - 1 / k
        return 2 / (shift + math.sqrt(shift**2 + 4 * x / k))

    m = edge(kappa)
    if tau < 1:
        mu = x * edge(kappa / tau)
        return tau * (1 + x) / (1 - tau) * (1 - tau * (1 - mu) ** 2 + mu * (rho / x - 1)) - 2 * tau * (1 - mu) + 1 + rho
    ks = 1 / (1 - kappa * (m / (kappa + m)) ** 2)
    left = 1 / (tau - 1)
    return (
        (ks - left) * (1 + x) * (x * m) ** 2
        + (3 - 2 * tau) * left * m * x * x
        + ((1 + rho) * m * left + 1) * x
        + rho * m * left
        + rho
    )


@pytest.mark.parametrize("row", GOLDEN, ids=lambda r: str(list(r["settings"].values())))
def test_recorded_values(row):
    result = solve_linear_attention(LinearAttentionProblem(**row["settings"]))
    assert_golden([result.icl_error, result.idg_error], row["errors"])


@pytest.mark.parametrize("row", GOLDEN[4:], ids=lambda r: str(list(r["settings"].values())))
def test_a_second_quadrature(row):
    problem = LinearAttentionProblem(**row["settings"])
    result = solve_linear_attention(problem)
    np.testing.assert_allclose([result.icl_error, result.idg_error], slow_errors(problem), rtol=2e-9)


@given(
    tau=st.floats(0.05, 0.9) | st.floats(1.1, 30.0),
    alpha=st.floats(0.2, 50.0),
    kappa=st.floats(0.1, 20.0),
    rho=st.floats(0.01, 2.0),
)
@settings(max_examples=40, deadline=None)
def test_the_published_ridgeless_form(tau, alpha, kappa, rho):
    problem = LinearAttentionProblem(context_ratio=alpha, task_ratio=kappa, sequence_ratio=tau, noise_var=rho)
    assert solve_linear_attention(problem).icl_error == pytest.approx(published(tau, alpha, kappa, rho), rel=1e-8)


@pytest.mark.parametrize("kappa", [1.0, 1.0 + 1e-4, 0.999, 0.01, 100.0])
@pytest.mark.parametrize("alpha", [0.1, 100.0])
def test_the_published_form_where_the_spectrum_nearly_touches_zero(kappa, alpha):
    problem = LinearAttentionProblem(context_ratio=alpha, task_ratio=kappa, sequence_ratio=3.0, noise_var=0.2)
    assert solve_linear_attention(problem).icl_error == pytest.approx(published(3.0, alpha, kappa, 0.2), rel=1e-9)


def test_a_small_ridge_tends_to_none_and_a_huge_one_to_silence():
    for tau in (0.5, 2.0):
        bare = replace(GOOD, sequence_ratio=tau, ridge=0.0)
        small = solve_linear_attention(replace(bare, ridge=1e-9)).icl_error
        assert small == pytest.approx(solve_linear_attention(bare).icl_error, rel=1e-7)
        silent = solve_linear_attention(replace(bare, ridge=1e9))
        assert [silent.icl_error, silent.idg_error] == pytest.approx([1.1, 1.1], rel=1e-7)


def test_infinitely_many_tasks_leave_no_gap():
    many = solve_linear_attention(replace(GOOD, task_ratio=math.inf))
    assert many.generalization_gap == pytest.approx(0.0, abs=1e-14)
    assert solve_linear_attention(replace(GOOD, task_ratio=1e7)).icl_error == pytest.approx(many.icl_error, rel=1e-6)


def test_the_transition_in_task_diversity():
    """With long contexts and many sequences the excess error is max(1 - kappa, 0), sharper as the context grows."""
    ratios = np.array([0.2, 0.6, 0.9, 1.1, 1.5, 4.0])
    expected = np.maximum(1.0 - ratios, 0.0)
    distances = []
    for size in (1e2, 1e3, 1e4):
        problem = LinearAttentionProblem(context_ratio=size, task_ratio=1.0, sequence_ratio=size**2, noise_var=0.2)
        curve = task_diversity_curve(problem, ratios)
        distances.append(np.abs(curve.icl_error - 0.2 - expected).max())
        assert (np.diff(curve.icl_error - curve.idg_error) < 0).all()
    assert distances[2] < 0.2 * distances[1] < 0.04 * distances[0]


BAD = {
    "no context": (lambda: replace(GOOD, context_ratio=0), "context_ratio is 0; expected a finite number above 0"),
    "endless context": (lambda: replace(GOOD, context_ratio=math.inf), "context_ratio is inf"),
    "negative tasks": (lambda: replace(GOOD, task_ratio=-1), "task_ratio is -1"),
    "sequences in words": (lambda: replace(GOOD, sequence_ratio="many"), "sequence_ratio is 'many'"),
    "negative noise": (lambda: replace(GOOD, noise_var=-0.1), "noise_var is -0.1"),
    "nan": (lambda: replace(GOOD, ridge=math.nan), "ridge is nan"),
    "the peak": (lambda: replace(GOOD, ridge=0, sequence_ratio=1), "sequence_ratio is 1 with ridge 0.*infinite"),
    "no curve": (lambda: task_diversity_curve(GOOD, []), "task_ratios has shape"),
    "fraction of a task": (
        lambda: simulate_linear_attention(GOOD, dim=5, num_draws=1, generator=torch.Generator()),
        "task_ratio 1.5 times dim 5 is 7.5; choose a dim",
    ),
    "one input": (lambda: simulate_linear_attention(GOOD, dim=1, num_draws=1, generator=torch.Generator()), "dim is 1"),
    "no draws": (
        lambda: simulate_linear_attention(GOOD, dim=4, num_draws=0, generator=torch.Generator()),
        "num_draws is 0",
    ),
    "endless tasks": (
        lambda: simulate_linear_attention(
            replace(GOOD, task_ratio=math.inf), dim=4, num_draws=1, generator=torch.Generator()
        ),
        "task_ratio is inf",
    ),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_bad_input_is_one_sentence(case):
    call, pattern = BAD[case]
    with one_sentence(LimesError, pattern):
        call()
