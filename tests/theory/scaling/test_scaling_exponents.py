"""Exponents measured from the solver against closed forms, over a grid of tasks; phases against published formulas."""

import math

import numpy as np
import pytest

from limes.core.errors import ScopeError
from limes.theory.scaling import (
    FeatureLearningProblem,
    balance,
    compute_frontier,
    local_exponents,
    loss_table,
    loss_terms,
    phase_map,
    power_law_problem,
    ridge_equivalent,
    scaling_exponents,
    sgd_phase,
    solve_feature_learning,
    solve_random_features,
    task_of,
)

GRID = [(1.4, 1.2), (1.75, 1.5), (1.6, 2.5), (2.3, 1.5), (2.8, 1.5), (3.0, 1.3), (3.7, 1.5), (5.5, 1.5), (6.5, 2.2)]
SIZES = np.geomspace(1e2, 1e5, 4)


def tends_to(slopes, law, *, rival=None):
    """Local slopes end near the law, nearer than they began, and at least four times nearer than to the rival law."""
    off = np.abs(np.asarray(slopes) - law)
    assert off[-1] < 0.06, f"slopes {np.round(slopes, 4)}, law {law:.4f}"
    assert off[-1] <= off[0] + 1e-3, f"slopes {np.round(slopes, 4)} do not approach {law:.4f}"
    if rival is not None and abs(rival - law) > 1e-9:
        assert 4.0 * off[-1] < abs(slopes[-1] - rival), f"slopes {np.round(slopes, 4)} are as near to {rival:.4f}"


@pytest.mark.parametrize(("a", "b"), GRID)
def test_single_resources(a, b):
    e = scaling_exponents(a, b)
    width = [ridge_equivalent(power_law_problem(a, b, 1e15, num_features=n)).test_loss for n in SIZES]
    samples = [ridge_equivalent(power_law_problem(a, b, 1e15, num_samples=n)).test_loss for n in SIZES]
    assert (e.width, e.samples) == (min(a - 1.0, b), min(a - 1.0, 2.0 * b))
    # min(a - 1, b) for the width, where summaries of the papers have min(a - 1, 2 b).
    tends_to(local_exponents(SIZES, width), e.width, rival=min(a - 1.0, 2.0 * b))
    tends_to(local_exponents(SIZES, samples), e.samples, rival=min(a - 1.0, b))
    times = np.geomspace(1e2, 1e6, 5)
    time = loss_table(power_law_problem(a, b, 1e15), num_features=math.inf, num_samples=math.inf, times=times)
    tends_to(local_exponents(times, time), e.time)


@pytest.mark.parametrize(("a", "b"), [(1.6, 1.5), (2.2, 1.5), (3.7, 1.5)])
def test_transients(a, b):
    """The first effect of a size is (k*/size) x loss, but (1/N) t^(1/b - 1) for the width of easily learned targets."""
    beta, times, problem = (a - 1.0) / b, np.geomspace(1e2, 1e5, 4), power_law_problem(a, b, 1e12)
    wide, narrow, few = (
        loss_table(problem, num_features=n, num_samples=p, times=times, num_nodes=32)
        for n, p in ((math.inf, math.inf), (1e6, math.inf), (math.inf, 1e6))
    )
    law = -scaling_exponents(a, b).transient_time
    assert law == pytest.approx(1.0 / b - min(beta, 1.0))
    tends_to(-local_exponents(times, narrow - wide), law)
    tends_to(-local_exponents(times, few - wide), 1.0 / b - min(beta, 2.0))
    noisy = power_law_problem(a, b, 1e12, noise_var=1.0)
    variance = loss_table(noisy, num_features=math.inf, num_samples=1e6, times=times, num_nodes=32) - few
    tends_to(-local_exponents(times, variance), 1.0 / b)


def test_early_effect_of_size_is_one_over_size():
    problem, sizes = power_law_problem(1.75, 1.5, 1e9), np.geomspace(1e3, 1e6, 4)
    free = loss_table(problem, num_features=math.inf, num_samples=math.inf, times=5.0)
    for axis in ("num_features", "num_samples"):
        one = {"num_features": math.inf, "num_samples": math.inf} | {axis: sizes}
        tends_to(local_exponents(sizes, loss_table(problem, times=5.0, **one) - free), 1.0)


def test_batch_noise():
    times = np.geomspace(1e2, 1e5, 4)
    # Nothing to learn but the first mode: what remains late is noise.
    law = power_law_problem(6.5, 1.5, 1e9, batch_noise=0.02)
    loss = solve_random_features(law, times).test_loss
    tends_to(local_exponents(times, loss), scaling_exponents(6.5, 1.5).batch, rival=scaling_exponents(6.5, 1.5).time)


def test_early_stopping_with_label_noise():
    """With noise the best time grows with the samples, and the loss falls as P^-(a-1)/a."""
    a, b, sizes = 1.75, 1.5, np.geomspace(1e2, 1e5, 4)
    times = np.geomspace(1.0, 1e6, 121)
    problem = power_law_problem(a, b, 1e10, noise_var=1.0)
    best = loss_table(problem, num_features=math.inf, num_samples=sizes[:, None], times=times).min(1)
    law = scaling_exponents(a, b).early_stopped_samples
    assert law == pytest.approx((a - 1.0) / a)
    tends_to(local_exponents(sizes, best), law, rival=scaling_exponents(a, b).samples)


@pytest.mark.parametrize(("beta", "rich", "lazy"), [(0.25, 0.4, 0.25), (0.5, 2.0 / 3.0, 0.5), (1.25, 1.25, 1.25)])
def test_feature_learning_changes_the_law_of_hard_tasks(beta, rich, lazy):
    a, b, times = 1.0 + 2.0 * beta, 2.0, np.geomspace(1e2, 1e5, 4)
    assert scaling_exponents(a, b, rich=True).time == pytest.approx(rich)
    law = power_law_problem(a, b, 1e14)
    fields = {"multiplicity": law.multiplicity}
    for gamma, expected in ((1.0, rich), (0.0, lazy)):
        problem = FeatureLearningProblem(law.spectrum, law.target_power, gamma=gamma, **fields)
        method = "surrogate" if gamma else "exact"
        curve = solve_feature_learning(problem, times, method=method)
        tends_to(local_exponents(times, curve.test_loss), expected, rival=lazy if gamma else rich)
        if gamma and beta < 1.0:
            tends_to(-local_exponents(times, curve.alignment), (1.0 - beta) / (1.0 + beta))


@pytest.mark.parametrize("a", [1.75, 2.1, 2.65])
def test_frontier_of_width_and_time(a):
    compute = np.geomspace(1e4, 1e8, 5)
    found = compute_frontier(power_law_problem(a, 1.5, 1e10), compute, num_sizes=15)
    e = scaling_exponents(a, 1.5, batch_noise=False)
    assert found.inside.all()
    np.testing.assert_allclose(found.num_features * found.times, compute, rtol=1e-12)
    tends_to(found.loss_exponents, e.compute)
    tends_to(found.width_exponents, e.optimal_width)


def test_frontier_of_width_samples_and_time():
    compute = np.geomspace(1e6, 1e9, 4)
    found = compute_frontier(power_law_problem(1.75, 1.5, 1e10), compute, optimize_samples=True, num_sizes=10)
    best = balance(loss_terms(1.75, 1.5, finite_samples=True), {"time": 1.0, "width": 1.0, "samples": 1.0})
    assert found.inside.all()
    tends_to(found.loss_exponents, -best.loss)
    # Beside the optimum there is nothing better: a tenth more or less of a resource, paid for with time.
    for n, p in ((1.1, 1.0), (0.9, 1.0), (1.0, 1.1), (1.0, 0.9)):
        moved = loss_table(
            found.problem,
            num_features=found.num_features * n,
            num_samples=found.num_samples * p,
            times=found.times / (n * p),
        )
        assert (moved > 0.99999 * found.loss).all()


def test_a_fixed_data_set_ends_the_frontier():
    """The exponent of compute holds until the samples limit the loss; then more compute only overfits."""
    compute = np.geomspace(1e3, 1e10, 8)
    found = compute_frontier(
        power_law_problem(1.75, 1.5, 1e10, num_samples=300.0, noise_var=0.1), compute, num_sizes=15
    )
    assert found.loss_exponents[0] > 0.2 and (found.loss_exponents[-3:] < 0.02).all()
    assert (np.diff(found.best_so_far) <= 0.0).all()


@pytest.mark.parametrize(
    ("alpha", "beta", "name", "loss", "width"),
    [
        (0.7, 0.3, "Ia", lambda a, b: -(2 * (a + b) - 1) / (2 * a + 1), lambda a, b: 1 / (2 * a + 1)),
        (0.4, 0.3, "Ib", lambda a, b: 0.5 - a - b, lambda a, b: 0.5),
        (
            0.2,
            0.9,
            "Ic",
            lambda a, b: a * (2 * a + 2 * b - 1) / (a * (2 * b - 3) - 2 * b + 1),
            lambda a, b: (1 - 2 * (a + b)) / (2 * (a * (2 * b - 3) - 2 * b + 1)),
        ),
        (0.8, 0.6, "II", lambda a, b: -(2 * (a + b) - 1) / (2 * (a + b)), lambda a, b: b / (a + b)),
        (0.8, 1.2, "III", lambda a, b: -1 + 1 / (4 * a), lambda a, b: 0.5),
        (0.4, 0.8, "IVa", lambda a, b: -a, lambda a, b: 0.5),
        (
            0.27,
            0.8,
            "IVb",
            lambda a, b: (1 - 2 * a) * (2 * (a + b) - 1) / (2 * (2 * a * b + a - 2 * b)),
            lambda a, b: (a - b) / (2 * a * b + a - 2 * b),
        ),
    ],
)
def test_seven_phases(alpha, beta, name, loss, width):
    """The balance of terms gives the published exponents of every phase."""
    phase = sgd_phase(2 * (alpha + beta), 2 * alpha)
    assert phase.name == name
    assert phase.loss == pytest.approx(loss(alpha, beta), abs=1e-9)
    assert phase.width == pytest.approx(width(alpha, beta), abs=1e-9)
    lazy = {"Ia": "hard", "II": "easy", "III": "super-easy"}
    if name in lazy:
        e = scaling_exponents(2 * (alpha + beta), 2 * alpha)
        assert e.task == lazy[name]
        assert (-e.compute, e.optimal_width) == pytest.approx((phase.loss, phase.width), abs=1e-9)


def test_exponents_of_compute_by_task():
    """Lazy and rich, in alpha = b and beta = (a-1)/b."""
    alpha = 1.5
    for beta in (0.3, 0.7, 1.2, 2.2):
        a = 1.0 + alpha * beta
        lazy, rich = (scaling_exponents(a, alpha, rich=flag) for flag in (False, True))
        if beta < 1.0:
            assert lazy.compute == pytest.approx(alpha * beta / (1.0 + alpha))
            assert rich.compute == pytest.approx(2.0 * alpha * beta / (2.0 + alpha * (1.0 + beta)))
            assert rich.optimal_width == pytest.approx(2.0 / (2.0 + alpha * (1.0 + beta)))
        else:
            assert rich.compute == pytest.approx(lazy.compute) and rich.time == lazy.time
            law = alpha * beta / (1.0 + alpha * beta) if task_of(a, alpha) == "easy" else 1.0 - 0.5 / alpha
            assert lazy.compute == pytest.approx(law)


def test_map_of_the_plane():
    plane = phase_map(np.linspace(1.05, 4.97, 14), np.linspace(0.31, 2.93, 12))
    assert set(plane.phase.ravel()) == {"Ia", "Ib", "Ic", "II", "III", "IVa", "IVb"}
    assert np.isfinite(plane.compute).all() and (plane.compute > 0).all()
    above = plane.b > 1.0
    assert (plane.rich_compute[above] >= plane.compute[above] - 1e-12).all()
    assert np.isnan(plane.time[~above]).all() and (plane.task[~above] == "").all()
    with pytest.raises(ScopeError, match="boundary"):
        sgd_phase(2.5, 1.5)
    assert phase_map([2.5], [1.5]).phase[0, 0] == ""
