"""Solvable models against direct simulation, extrapolated in 1/size, each with a mutant that must be rejected."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from limes.core.rng import stream
from limes.theory.solvable import (
    BalancedLinearProblem,
    GaussianMixtureProblem,
    LinearAttentionProblem,
    QuadraticNetworkProblem,
    hessian_levels,
    simulate_balanced_linear,
    simulate_gaussian_mixture,
    simulate_linear_attention,
    simulate_quadratic_network,
    solve_balanced_linear,
    solve_gaussian_mixture,
    solve_linear_attention,
    solve_quadratic_network,
)
from support.quadratic import hessian_points, population_loss
from support.stats import assert_limit, assert_mean

pytestmark = pytest.mark.sim

ATTENTION = {
    "few sequences": LinearAttentionProblem(context_ratio=1.0, task_ratio=0.5, sequence_ratio=0.5, noise_var=0.1),
    "many, ridge": LinearAttentionProblem(
        context_ratio=2.0, task_ratio=2.0, sequence_ratio=1.5, noise_var=0.25, ridge=0.3
    ),
}


def agree(dims, runs, result, metrics):
    """All metrics against the limit."""
    for metric in metrics:
        samples = [getattr(run, metric) for run in runs]
        assert_limit(dims, np.array(samples), getattr(result, metric))


@pytest.mark.parametrize("name", sorted(ATTENTION))
def test_linear_attention(name):
    problem, dims, metrics = ATTENTION[name], (12, 16, 20, 28), ("icl_error", "idg_error")
    runs = [
        simulate_linear_attention(problem, dim=d, num_draws=40, generator=stream(0, "data", name, str(d))) for d in dims
    ]
    agree(dims, runs, solve_linear_attention(problem), metrics)
    mutant = replace(problem, noise_var=1.3 * problem.noise_var + 0.1)
    for metric in metrics:
        with pytest.raises(AssertionError, match="limit"):
            agree(dims, runs, solve_linear_attention(mutant), (metric,))


@pytest.mark.parametrize("loss", ["logistic", "square"])
def test_gaussian_mixture(loss):
    problem = GaussianMixtureProblem(
        class_weights=[0.5, 0.3, 0.2], means_gram=np.eye(3), sample_ratio=2.0, within_var=0.3, ridge=0.1, loss=loss
    )
    dims, metrics = (20, 40, 80, 160), ("test_error", "train_loss")
    runs = [
        simulate_gaussian_mixture(problem, dim=d, num_draws=64, generator=stream(0, "data", loss, str(d))) for d in dims
    ]
    agree(dims, runs, solve_gaussian_mixture(problem), metrics)
    mutant = solve_gaussian_mixture(replace(problem, within_var=1.4 * problem.within_var))
    for metric in metrics:
        with pytest.raises(AssertionError, match="limit"):
            agree(dims, runs, mutant, (metric,))


def test_quadratic_network():
    """Each time and metric; without what is of second order in lr, or with a little more lr, it must not agree."""
    problem = QuadraticNetworkProblem(
        student_overlap=np.eye(4),
        cross_overlap=0.3 * np.eye(4, 2),
        teacher_overlap=np.eye(2),
        lr=0.3,
        times=[2.0, 6.0, 12.0],
        noise_var=0.1,
    )
    dims = (50, 100, 200, 400)
    runs = [
        simulate_quadratic_network(problem, dim=d, num_draws=64, generator=stream(0, "data", "quadratic", str(d)))
        for d in dims
    ]

    def check(result, metric, when):
        samples = np.array([getattr(run, metric)[:, when] for run in runs])
        assert_limit(dims, samples, getattr(result, metric)[when])

    result = solve_quadratic_network(problem)
    for metric in ("test_loss", "signal", "norm"):
        for when in range(3):
            check(result, metric, when)
    for mutant in (replace(problem, gradient_flow=True), replace(problem, lr=1.15 * problem.lr)):
        with pytest.raises(AssertionError, match="limit"):
            check(solve_quadratic_network(mutant), "test_loss", 2)


@pytest.mark.parametrize(("at", "mutant"), [("plateau", "minimum"), ("minimum", "plateau")])
def test_hessian_of_quadratic_networks(at, mutant):
    """Second derivatives of the loss of single samples along eigenvectors, averaged: all levels of the closed form."""
    p, q, n = 3, 2, 8
    student, teacher = hessian_points(p, q, n, at=at, seed=0)
    flat = student.reshape(-1)
    _, vectors = torch.linalg.eigh(
        torch.autograd.functional.hessian(lambda u: population_loss(u.reshape(p, n), teacher), flat)
    )
    directions = vectors.T.reshape(-1, p, n)
    runs = []
    for seed in range(24):
        x = torch.randn(20_000, n, generator=stream(seed, "data", "hessian"), dtype=torch.float64)
        field, gap = x @ student.T, ((x @ student.T) ** 2).mean(1) - ((x @ teacher.T) ** 2).mean(1)
        moved = torch.einsum("sn,vpn->svp", x, directions)
        slope = 2.0 * torch.einsum("sp,svp->sv", field, moved) / p
        curve = 2.0 * (moved**2).mean(2)
        runs.append((slope**2 + gap[:, None] * curve).mean(0).numpy())
    samples = np.array(runs).T

    def check(levels):
        values = np.sort(np.concatenate([np.full(level.multiplicity, level.value) for level in levels]))
        for row, value in zip(samples, values, strict=True):
            # Along rotations every sample is flat, to rounding.
            assert_mean(row, value, bias=1e-12)

    check(hessian_levels(p, q, n, at=at))
    with pytest.raises(AssertionError, match="mean"):
        check(hessian_levels(p, q, n, at=mutant))


def test_balanced_linear():
    """Modes at early and middle times; another depth must not agree."""
    problem = BalancedLinearProblem(strengths=[2.0, 1.0], start=0.05, depth=3, times=[0.5, 1.0, 1.5])
    dims = (10, 14, 20, 28)
    runs = [
        simulate_balanced_linear(problem, dim=d, num_draws=48, generator=stream(0, "data", "balanced", str(d)))
        for d in dims
    ]

    def check(result):
        for when in range(3):
            losses = np.array([run.test_loss[:, when] for run in runs])
            assert_limit(dims, losses, result.test_loss[when], power=2.0)
            for mode in range(2):
                samples = np.array([run.products[:, when, mode] for run in runs])
                assert_limit(dims, samples, result.products[when, mode], power=2.0)

    check(solve_balanced_linear(problem))
    for mutant in (replace(problem, depth=2), replace(problem, start=0.06)):
        with pytest.raises(AssertionError, match="limit"):
            check(solve_balanced_linear(mutant))
