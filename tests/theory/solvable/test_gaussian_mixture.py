"""Classifiers of Gaussian mixtures: recorded values, binary regression and all K outputs as second methods, limits."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.special import expit, ndtr
from scipy.stats import multivariate_normal

from limes.core.errors import ConvergenceError, LimesError
from limes.core.status import SolveStatus
from limes.theory.solvable import (
    GaussianMixtureProblem,
    best_error,
    ridge_path,
    simulate_gaussian_mixture,
    solve_gaussian_mixture,
)
from limes.theory.solvable.mixture_fields import wrong_class
from support.refusals import one_sentence
from support.stats import assert_golden, assert_mean, load_golden

GOLDEN = load_golden("solvable")["gaussian_mixture"]
GOOD = GaussianMixtureProblem(
    class_weights=[0.5, 0.3, 0.2], means_gram=np.eye(3), sample_ratio=2.0, within_var=0.3, ridge=0.1
)


def numbers(result):
    return [
        result.test_error,
        result.train_loss,
        result.covariance[0, 0],
        result.overlap[0, 0],
        result.bias[0],
    ]


@pytest.mark.parametrize("row", GOLDEN, ids=lambda r: f"{len(r['settings']['class_weights'])}-{r['numbers']['source']}")
def test_recorded_values(row):
    result = solve_gaussian_mixture(GaussianMixtureProblem(**row["settings"]))
    assert result.status is SolveStatus.CONVERGED and result.residual <= 1e-10
    assert_golden(numbers(result), row["numbers"])


@pytest.mark.parametrize("row", [row for row in GOLDEN if "nodes" in row["numbers"]["source"]], ids=("3", "4"))
def test_more_nodes(row):
    problem = GaussianMixtureProblem(**row["settings"])
    found = solve_gaussian_mixture(problem, num_nodes=100 if len(problem.class_weights) == 3 else 34)
    assert_golden(numbers(found), row["numbers"])


def binary(problem):
    """Test error and training loss of binary logistic regression on the difference of the two rows."""
    rho, gram, ridge = problem.class_weights, problem.means_gram, 0.5 * problem.ridge
    alpha, delta, sign = problem.sample_ratio, problem.within_var, (1.0, -1.0)
    m, q, v, b = np.zeros(2), 1.0, 1.0, 0.0

    def pull(om, y):
        return brentq(lambda f: f - y * expit(-y * (om + v * f)), -1.0, 1.0, xtol=1e-14)

    def mean(k, function):
        def inner(xi):
            om = m[k] + b + math.sqrt(q) * xi
            f = pull(om, sign[k])
            return function(om + v * f, f) * math.exp(-0.5 * xi * xi) / math.sqrt(2 * math.pi)

        nodes = np.linspace(-9.0, 9.0, 121)
        return sum(inner(xi) for xi in nodes) * (nodes[1] - nodes[0])

    for _ in range(60):
        first = np.array([mean(k, lambda h, f: f) for k in (0, 1)])
        second = sum(rho[k] * mean(k, lambda h, f: f * f) for k in (0, 1))

        def curve(h, f, v=v):
            return expit(h) * expit(-h) / (1.0 + v * expit(h) * expit(-h))

        vh = sum(rho[k] * mean(k, curve) for k in (0, 1))
        a = 1.0 / (ridge + alpha * delta * vh)
        mh = alpha * rho * first
        b += 0.5 * rho @ first / vh
        image = a * gram @ mh, delta * a, delta * a * a * (alpha * delta * second + mh @ gram @ mh)
        m, v, q = (0.5 * (old + new) for old, new in zip((m, v, q), image, strict=True))
    loss = sum(rho[k] * mean(k, lambda h, f, y=sign[k]: np.logaddexp(0.0, -y * h)) for k in (0, 1))
    error = sum(rho[k] * ndtr(-sign[k] * (m[k] + b) / math.sqrt(q)) for k in (0, 1))
    return error, loss


def test_two_classes_are_binary_regression_with_half_the_ridge():
    problem = replace(GaussianMixtureProblem(**GOLDEN[4]["settings"]), ridge=0.2)
    found = solve_gaussian_mixture(problem)
    np.testing.assert_allclose([found.test_error, found.train_loss], binary(problem), rtol=1e-7)


@pytest.mark.parametrize("row", [row for row in GOLDEN if row["settings"].get("loss") == "square"], ids=("2", "4"))
def test_square_loss_in_all_outputs(row):
    """The equations as they stand, K x K, without taking out the common constant."""
    p = GaussianMixtureProblem(**row["settings"])
    count, rho = len(p.class_weights), p.class_weights
    one = np.eye(count)
    m, q, v, b = np.zeros((count, count)), one, one, np.zeros(count)
    for _ in range(600):
        inverse = np.linalg.inv(one + v)
        gap = one - m - b[:, None]
        a = np.linalg.inv(p.ridge * one + p.sample_ratio * p.within_var * inverse)
        mh = p.sample_ratio * rho * (inverse @ gap)
        square = inverse @ (q + (gap * rho) @ gap.T) @ inverse
        hat = p.sample_ratio * p.within_var * square + mh @ p.means_gram @ mh.T
        b = b + 0.3 * gap @ rho
        m, v = m + 0.3 * (a @ mh @ p.means_gram - m), v + 0.3 * (p.within_var * a - v)
        q = q + 0.3 * (p.within_var * a @ hat @ a - q)
    found = [wrong_class(m + b[:, None], q, rho), 0.5 * np.trace(square), q[0, 0], m[0, 0], b[0]]
    assert_golden(found, row["numbers"])


def test_probability_of_a_wrong_class_against_an_independent_cdf():
    rng = np.random.default_rng(0)
    for count in (2, 3, 4):
        center, root = rng.normal(size=(count, count)), rng.normal(size=(count, count))
        cov, right = root @ root.T, 0.0
        for k in range(count):
            others = np.delete(np.eye(count), k, axis=0) - np.eye(count)[k]
            law = multivariate_normal(np.zeros(count - 1), others @ cov @ others.T, abseps=1e-7, releps=1e-7, seed=0)
            right += law.cdf(-others @ center[:, k]) / count
        assert wrong_class(center, cov, np.full(count, 1 / count)) == pytest.approx(1 - right, abs=2e-6)


@pytest.mark.parametrize("loss", ["logistic", "square"])
def test_endless_data_reach_the_best_error(loss):
    """Two equal classes: Phi(-|mu_1 - mu_2| / (2 sqrt Delta)), from above as 1/alpha."""
    best = float(ndtr(-math.sqrt(2.0) / (2.0 * math.sqrt(0.5))))
    assert best_error(replace(GOOD, class_weights=[0.5, 0.5], means_gram=np.eye(2), within_var=0.5)) == pytest.approx(
        best
    )
    excess = []
    for ratio in (1e3, 1e4):
        problem = GaussianMixtureProblem(
            class_weights=[0.5, 0.5], means_gram=np.eye(2), sample_ratio=ratio, within_var=0.5, ridge=1.0, loss=loss
        )
        excess.append(solve_gaussian_mixture(problem).test_error - best)
    assert 0 < excess[1] < 1e-4 and excess[0] / excess[1] == pytest.approx(10.0, rel=0.05)


def test_best_error_is_that_of_the_posterior():
    """Three unequal classes: the largest posterior of drawn samples, and what endless data lead logistic loss to."""
    gram = np.array([[1.0, 0.2, 0.0], [0.2, 0.8, -0.3], [0.0, -0.3, 1.2]])
    problem = replace(GOOD, means_gram=gram, sample_ratio=1e5)
    best = best_error(problem)
    assert 0 < solve_gaussian_mixture(problem).test_error - best < 1e-5
    rng, means = np.random.default_rng(0), np.linalg.cholesky(gram)
    wrong = []
    for _ in range(16):
        labels = rng.choice(3, size=20_000, p=problem.class_weights)
        x = means[labels] + math.sqrt(problem.within_var) * rng.normal(size=(20_000, 3))
        distance = ((x[:, None] - means) ** 2).sum(2) / (2 * problem.within_var)
        wrong.append((np.argmax(np.log(problem.class_weights) - distance, 1) != labels).mean())
    assert_mean(wrong, best)
    with pytest.raises(AssertionError, match="mean"):
        assert_mean(wrong, best_error(replace(problem, within_var=1.1 * problem.within_var)))
    # Equal means leave the prior alone.
    assert best_error(replace(problem, means_gram=np.ones((3, 3)))) == pytest.approx(0.5)


@pytest.mark.parametrize("loss", ["logistic", "square"])
def test_names_of_classes_do_not_matter_and_units_do_not(loss):
    gram = np.array([[1.0, 0.2, 0.0], [0.2, 0.8, -0.3], [0.0, -0.3, 1.2]])
    problem = replace(GOOD, means_gram=gram, loss=loss)
    found, order = solve_gaussian_mixture(problem), [2, 0, 1]
    moved = solve_gaussian_mixture(
        replace(problem, class_weights=problem.class_weights[order], means_gram=gram[np.ix_(order, order)])
    )
    np.testing.assert_allclose(moved.bias, found.bias[order], atol=1e-8)
    np.testing.assert_allclose(moved.overlap, found.overlap[np.ix_(order, order)], atol=1e-8)
    # Inputs times 2: means, variance and ridge times 4 is the same classifier.
    scaled = solve_gaussian_mixture(replace(problem, means_gram=4 * gram, within_var=1.2, ridge=0.4))
    assert numbers(scaled) == pytest.approx(numbers(found), abs=1e-8)


@pytest.mark.parametrize("loss", ["logistic", "square"])
@pytest.mark.parametrize(("ratio", "within"), [(1.0, 0.02), (50.0, 0.02), (1.0, 5.0), (0.05, 5.0)])
def test_hard_corners_converge(loss, ratio, within):
    """Means and bias feed back on each other with a gain of 1/within_var: a plain iteration diverges here."""
    problem = GaussianMixtureProblem(
        class_weights=[0.85, 0.15],
        means_gram=np.eye(2),
        sample_ratio=ratio,
        within_var=within,
        ridge=1e-3,
        loss=loss,
    )
    result = solve_gaussian_mixture(problem)
    assert result.status is SolveStatus.CONVERGED and 0.0 < result.test_error < 0.6


def test_path_in_the_ridge():
    small, large = ridge_path(GOOD, [0.05, 5.0])
    assert small.problem.ridge == 0.05 and small.train_loss < large.train_loss
    assert numbers(large) == numbers(solve_gaussian_mixture(replace(GOOD, ridge=5.0)))


def test_data_without_curvature_left_are_one_sentence():
    tight = replace(GOOD, class_weights=[0.8, 0.15, 0.05], sample_ratio=3.0, within_var=0.001, ridge=1e-6)
    with pytest.raises(ConvergenceError, match=r"ridge 1e-06: at ridge .* separated too well; raise the ridge"):
        solve_gaussian_mixture(tight, num_nodes=24)


def test_a_hopeless_tolerance_has_a_status():
    with pytest.raises(ConvergenceError, match=r"mixture at ridge 0.1.*iteration limit") as caught:
        solve_gaussian_mixture(GOOD, tolerance=1e-30, max_iterations=6)
    assert caught.value.result.status is SolveStatus.MAX_ITERATIONS
    found = solve_gaussian_mixture(GOOD, tolerance=1e-30, max_iterations=6, throw=False)
    assert found.status is SolveStatus.MAX_ITERATIONS and found.residual > 0


BAD = {
    "one class": (lambda: replace(GOOD, class_weights=[1.0]), r"class_weights \[1.0\]: expected two or more"),
    "weights": (lambda: replace(GOOD, class_weights=[0.5, 0.4, 0.2]), "sum 1"),
    "negative weight": (lambda: replace(GOOD, class_weights=[1.2, -0.4, 0.2]), "positive numbers"),
    "tiny ridge": (lambda: replace(GOOD, ridge=1e-200), "ridge is 1e-200; the iteration covers 1e-08 to 1e"),
    "huge ridge": (lambda: replace(GOOD, ridge=1e200), "the iteration covers"),
    "five classes": (
        lambda: replace(GOOD, class_weights=[0.2] * 5, means_gram=np.eye(5)),
        "5 classes.*covers up to 4",
    ),
    "shape": (lambda: replace(GOOD, means_gram=np.eye(2)), r"means_gram has shape \(2, 2\); expected \(3, 3\)"),
    "not symmetric": (lambda: replace(GOOD, means_gram=np.triu(np.ones((3, 3)))), "symmetric"),
    "not positive": (lambda: replace(GOOD, means_gram=-np.eye(3)), "positive semidefinite"),
    "nan": (lambda: replace(GOOD, means_gram=np.full((3, 3), math.nan)), "means_gram holds nan"),
    "no ridge": (lambda: replace(GOOD, ridge=0.0), "ridge is 0.0; expected a finite number above 0"),
    "no variance": (lambda: replace(GOOD, within_var=0), "within_var is 0"),
    "loss": (lambda: replace(GOOD, loss="hinge"), "loss is 'hinge'; expected one of logistic, square"),
    "tolerance": (lambda: solve_gaussian_mixture(GOOD, tolerance=0.0), "tolerance is 0.0"),
    "iterations": (lambda: solve_gaussian_mixture(GOOD, max_iterations=1.5), "max_iterations is 1.5"),
    "nodes": (lambda: solve_gaussian_mixture(GOOD, num_nodes=0), "num_nodes is 0"),
    "small dim": (
        lambda: simulate_gaussian_mixture(GOOD, dim=2, num_draws=1, generator=torch.Generator()),
        "dim is 2; 3 class means",
    ),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_bad_input_is_one_sentence(case):
    call, pattern = BAD[case]
    with one_sentence(LimesError, pattern):
        call()
