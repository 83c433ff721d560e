"""SGD of quadratic networks: recorded values, increments by Wick's theorem, plateau, escape, what is conserved."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from limes.core.errors import ConvergenceError, LimesError
from limes.theory.solvable import (
    QuadraticNetworkProblem,
    conserved_quantity,
    escape_rate,
    escape_time,
    final_weights_polar,
    plateau_loss,
    simulate_quadratic_network,
    solve_quadratic_network,
)
from limes.theory.solvable.quadratic_network import _slope
from support.refusals import one_sentence
from support.stats import assert_golden, load_golden

GOLDEN = load_golden("solvable")["quadratic_network"]
GOOD = QuadraticNetworkProblem(
    student_overlap=np.eye(4), cross_overlap=0.1 * np.eye(4, 2), teacher_overlap=np.eye(2), lr=0.1, times=[0.0, 5.0]
)


def recorded(num_units, num_teacher, time, **settings):
    cross, k = np.zeros((num_units, num_teacher)), min(num_units, num_teacher)
    cross[range(k), range(k)] = 0.03
    cross[num_units - 1, 0] += 0.01
    return QuadraticNetworkProblem(
        student_overlap=np.eye(num_units),
        cross_overlap=cross,
        teacher_overlap=np.eye(num_teacher),
        times=[time],
        **settings,
    )


def random_problem(p, q, seed, **settings):
    weights = np.random.default_rng(seed).normal(size=(p + q, 3 * (p + q))) / math.sqrt(3 * (p + q))
    joint = weights @ weights.T
    return QuadraticNetworkProblem(
        student_overlap=joint[:p, :p], cross_overlap=joint[:p, p:], teacher_overlap=joint[p:, p:], **settings
    )


@pytest.mark.parametrize("row", GOLDEN, ids=lambda r: str(list(r["settings"].values())))
def test_recorded_values(row):
    result = solve_quadratic_network(recorded(**row["settings"]))
    assert_golden([result.test_loss[0], np.trace(result.student_overlap[0]), result.signal[0]], row["numbers"])


def moment(covariance, indices):
    """E of a product of Gaussian fields, summed over pairings."""
    if not indices:
        return 1.0
    first, rest = indices[0], indices[1:]
    return sum(covariance[first, rest[k]] * moment(covariance, rest[:k] + rest[k + 1 :]) for k in range(len(rest)))


@pytest.mark.parametrize(("p", "q"), [(2, 2), (2, 1), (1, 2)])
def test_increments_by_wick(p, q):
    """dQ and dM of one step as moments of the fields: d(w_i.w_j)/N and d(w_i.w*_r)/N, up to six-point functions."""
    problem = random_problem(p, q, 3, lr=0.3, times=[1.0], noise_var=0.2)
    covariance = np.block(
        [[problem.student_overlap, problem.cross_overlap], [problem.cross_overlap.T, problem.teacher_overlap]]
    )
    coefficients = [1.0 / p] * p + [-1.0 / q] * q
    units, eta = range(p + q), problem.lr

    def gap(*fields):
        return sum(coefficients[a] * moment(covariance, (a, a, *fields)) for a in units)

    def gap_square(*fields):
        pairs = itertools.product(units, units)
        four = sum(coefficients[a] * coefficients[b] * moment(covariance, (a, a, b, b, *fields)) for a, b in pairs)
        return four + problem.noise_var * moment(covariance, fields)

    student = [
        [-(4 * eta / p) * gap(i, j) + (4 * eta**2 / p**2) * gap_square(i, j) for j in range(p)] for i in range(p)
    ]
    cross = [[-(2 * eta / p) * gap(i, p + r) for r in range(q)] for i in range(p)]
    state = np.concatenate([problem.student_overlap.ravel(), problem.cross_overlap.ravel()])
    expected = np.concatenate([np.ravel(student), np.ravel(cross)])
    np.testing.assert_allclose(_slope(problem, state), expected, rtol=1e-12, atol=1e-13)
    loss = solve_quadratic_network(replace(problem, times=[0.0])).test_loss[0]
    assert loss == pytest.approx(0.5 * (gap_square() - problem.noise_var), rel=1e-12)


@pytest.mark.parametrize(("p", "q"), [(2, 2), (4, 2), (8, 2), (5, 3)])
def test_plateau_and_escape(p, q):
    """At the plateau nothing moves but M, at the stated rate; a start ten times nearer leaves log(100)/rate later."""
    share, rate = p / (p + 2), escape_rate(p, q, 1.0)
    problem = QuadraticNetworkProblem(
        student_overlap=share * np.eye(p),
        cross_overlap=1e-6 * np.eye(p, q),
        teacher_overlap=np.eye(q),
        lr=1.0,
        times=np.linspace(0.0, 60.0 / rate, 4001),
        gradient_flow=True,
    )
    result = solve_quadratic_network(problem)
    assert result.test_loss[0] == pytest.approx(plateau_loss(p, q), rel=1e-10)
    early = result.times < 5.0 / rate
    slope = np.polyfit(result.times[early], np.log(result.signal[early]), 1)[0]
    assert slope == pytest.approx(rate, rel=1e-6)
    nearer = solve_quadratic_network(replace(problem, cross_overlap=1e-7 * np.eye(p, q)))
    level = 0.95 if p < 2 * q else 0.9
    delay = escape_time(nearer, share=level) - escape_time(result, share=level)
    assert delay == pytest.approx(math.log(100.0) / rate, rel=1e-4)


@pytest.mark.parametrize(("p", "q"), [(2, 2), (5, 3)])
def test_gradient_flow_conserves_and_sgd_does_not(p, q):
    problem = random_problem(p, q, 1, lr=0.2, times=[0.0, 3.0, 10.0], gradient_flow=True)
    kept = conserved_quantity(solve_quadratic_network(problem))
    np.testing.assert_allclose(kept[1:], np.broadcast_to(kept[0], kept[1:].shape), rtol=1e-7, atol=1e-9)
    moved = conserved_quantity(solve_quadratic_network(replace(problem, gradient_flow=False, times=[0.0, 1.0])))
    assert np.abs(moved[1] - kept[0]).max() > 1e-3 * np.abs(kept[0]).max()


@pytest.mark.parametrize(("p", "q"), [(2, 2), (4, 2)])
def test_gradient_flow_ends_closest_to_its_start(p, q):
    """At the polar factor of M; with spare units their eigenvalue s falls as 1/t only, and the loss as 1/t^2."""
    cross, time = 0.05 * np.random.default_rng(2).normal(size=(p, q)), 2000.0
    problem = replace(GOOD, student_overlap=np.eye(p), cross_overlap=cross, lr=1.0, times=[time], gradient_flow=True)
    result = solve_quadratic_network(problem, tolerance=1e-9)
    spare = p**2 * (q + 2) / (8.0 * (p + 2) * time) if p > q else 0.0
    short = -(p - q) * spare / (q + 2)
    expected = math.sqrt(p / q) * final_weights_polar(problem)
    np.testing.assert_allclose(result.cross_overlap[0], expected, atol=1e-6 + spare)
    eigenvalues = np.linalg.eigvalsh(result.student_overlap[0])
    np.testing.assert_allclose(eigenvalues[p - q :], p / q + short, atol=1e-6 + 0.05 * abs(short))
    np.testing.assert_allclose(eigenvalues[: p - q], spare, rtol=0.05)
    trace = (q * short + (p - q) * spare) / p
    loss = 0.5 * (trace**2 + 2.0 * (q * short**2 + (p - q) * spare**2) / p**2)
    assert result.test_loss[0] == pytest.approx(loss, rel=0.1, abs=1e-12)


def test_rotations_of_units_do_not_matter():
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    problem = random_problem(4, 2, 5, lr=0.1, times=[0.0, 4.0], noise_var=0.1)
    turned = replace(
        problem, student_overlap=turn @ problem.student_overlap @ turn.T, cross_overlap=turn @ problem.cross_overlap
    )
    first, second = solve_quadratic_network(problem), solve_quadratic_network(turned)
    np.testing.assert_allclose(first.test_loss, second.test_loss, rtol=1e-9)
    np.testing.assert_allclose(turn @ first.cross_overlap[1], second.cross_overlap[1], atol=1e-9)


def test_no_escape_is_infinite():
    assert escape_time(solve_quadratic_network(GOOD)) == math.inf


@pytest.mark.parametrize("lr", [5.0, 1e9])
def test_too_large_a_learning_rate(lr):
    with pytest.raises(
        ConvergenceError, match=rf"lr is {lr:g}: training diverges at time .*lower lr".replace("+", r"\+")
    ):
        solve_quadratic_network(replace(GOOD, lr=lr))


BAD = {
    "no lr": (lambda: replace(GOOD, lr=0.0), "lr is 0.0; expected a finite number above 0"),
    "noise": (lambda: replace(GOOD, noise_var=-1), "noise_var is -1"),
    "times": (lambda: replace(GOOD, times=[2.0, 1.0]), r"times \[2.0, 1.0\]: expected increasing"),
    "negative times": (lambda: replace(GOOD, times=[-1.0]), "of at least 0"),
    "shape": (
        lambda: replace(GOOD, student_overlap=np.eye(3)),
        r"student_overlap has shape \(3, 3\); expected \(4, 4\)",
    ),
    "one axis": (lambda: replace(GOOD, cross_overlap=[0.1]), "cross_overlap has shape .* expected 2 non-empty axes"),
    "no weights": (
        lambda: replace(GOOD, cross_overlap=2.0 * np.eye(4, 2)),
        "eigenvalue -1.*make cross_overlap smaller",
    ),
    "teacher": (
        lambda: escape_time(solve_quadratic_network(replace(GOOD, teacher_overlap=2.0 * np.eye(2)))),
        "teacher_overlap is not the identity",
    ),
    "in the span": (
        lambda: conserved_quantity(solve_quadratic_network(replace(GOOD, cross_overlap=np.eye(4, 2)))),
        "at time 0 the student lies in the span",
    ),
    "dependent teacher": (
        lambda: conserved_quantity(
            solve_quadratic_network(replace(GOOD, teacher_overlap=np.ones((2, 2)), cross_overlap=np.zeros((4, 2))))
        ),
        "teacher_overlap is singular",
    ),
    "few units": (
        lambda: final_weights_polar(replace(GOOD, student_overlap=np.eye(1), cross_overlap=[[0.1, 0.1]])),
        "1 student and 2 teacher units",
    ),
    "no commuting": (
        lambda: final_weights_polar(replace(GOOD, student_overlap=np.diag([1.0, 2, 3, 4]), cross_overlap=0.1 * BENT)),
        "does not commute",
    ),
    "flow": (
        lambda: simulate_quadratic_network(
            replace(GOOD, gradient_flow=True), dim=9, num_draws=1, generator=torch.Generator()
        ),
        "gradient_flow has no samples",
    ),
    "few inputs": (
        lambda: simulate_quadratic_network(GOOD, dim=5, num_draws=1, generator=torch.Generator()),
        "dim is 5; 4 student and 2 teacher units need at least 6",
    ),
}
BENT = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])


@pytest.mark.parametrize("case", sorted(BAD))
def test_bad_input_is_one_sentence(case):
    call, pattern = BAD[case]
    with one_sentence(LimesError, pattern):
        call()
