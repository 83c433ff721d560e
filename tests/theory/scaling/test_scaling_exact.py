"""Solvable theories of scaling against second implementations, identities and closed forms."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from limes.numerics.contour import talbot_nodes
from limes.theory.kernels import ntk_kernel
from limes.theory.scaling import (
    FeatureLearningProblem,
    Projection,
    RandomFeatureProblem,
    Wishart,
    bottlenecks,
    circle_task,
    local_exponents,
    loss_table,
    optimal_ridge,
    power_law_problem,
    ridge_equivalent,
    solve_feature_learning,
    solve_random_features,
)
from support.two_time import solve_in_time

SIZES = {"num_features": 12.0, "num_samples": 20.0, "noise_var": 0.1}


@pytest.mark.parametrize("sizes", [SIZES, SIZES | {"num_features": 25.0, "num_samples": 9.0}, {"num_samples": 15.0}])
def test_every_step_equals_the_time_domain(sizes):
    problem = power_law_problem(1.5, 1.25, 16, lr=0.3, **sizes)
    result = solve_random_features(problem, np.arange(17.0))
    full = {"num_features": math.inf, "num_samples": math.inf, "noise_var": 0.0} | sizes
    test, train = solve_in_time(problem.spectrum, problem.target_power, lr=0.3, num_steps=16, **full)
    np.testing.assert_allclose(result.test_loss, test, rtol=1e-11)
    np.testing.assert_allclose(result.train_loss, train, rtol=1e-11)


def test_small_steps_are_the_flow_and_momentum_is_inertia():
    flow = solve_random_features(power_law_problem(1.5, 1.25, 24, **SIZES), [2.0, 20.0])
    errors = []
    for lr in (0.04, 0.02):
        steps = solve_random_features(power_law_problem(1.5, 1.25, 24, lr=lr, **SIZES), [2.0 / lr, 20.0 / lr])
        errors.append(steps.test_loss - flow.test_loss)
    # First order in the step: halving it halves the difference, and extrapolation removes it to second order.
    assert np.abs(2.0 * errors[1] - errors[0]).max() < 0.02 * np.abs(errors[0]).max()
    inert = solve_random_features(power_law_problem(1.5, 1.25, 24, inertia=2.0, **SIZES), [2.0, 6.0])
    errors = []
    for h in (0.1, 0.05):
        # m w'' + w' = -g in steps of h: beta = m / (m + h), lr = h^2 / (m + h).
        beta, lr = 2.0 / (2.0 + h), h * h / (2.0 + h)
        heavy = power_law_problem(1.5, 1.25, 24, lr=lr, momentum=beta, **SIZES)
        errors.append(solve_random_features(heavy, [round(2.0 / h), round(6.0 / h)]).test_loss - inert.test_loss)
    assert np.abs(2.0 * errors[1] - errors[0]).max() < 0.05 * np.abs(errors[0]).max()


@pytest.mark.parametrize("inertia", [0.05, 0.6, 3.0])
def test_inertia_without_limits_is_a_damped_oscillator(inertia):
    problem = power_law_problem(1.7, 1.4, 40, inertia=inertia)
    times = np.array([0.5, 3.0, 20.0, 75.0 * inertia])
    times.sort()
    root = np.sqrt(1.0 - 4.0 * inertia * problem.spectrum + 0j)
    fast, slow = (-1.0 - root) / (2.0 * inertia), (-1.0 + root) / (2.0 * inertia)
    left = (fast * np.exp(slow * times[:, None]) - slow * np.exp(fast * times[:, None])) / (fast - slow)
    expected = (left.real**2) @ problem.target_power
    np.testing.assert_allclose(solve_random_features(problem, times).test_loss, expected, rtol=1e-8)


@pytest.mark.parametrize(("lr", "momentum"), [(0.1, 0.0), (1.2, 0.0), (1.9, 0.0), (0.3, 0.7), (2.5, 0.5)])
def test_steps_without_limits_are_a_recursion(lr, momentum):
    problem = power_law_problem(1.7, 1.4, 40, lr=lr, momentum=momentum, ridge=0.02)
    steps = [0, 1, 2, 3, 7, 30, 64, 65, 200, 1000]
    rate = problem.spectrum + 0.02
    before = now = np.ones(40)
    expected = {}
    for n in range(1001):
        learned = (1.0 - now) * problem.spectrum / rate
        expected[n] = problem.target_power @ (1.0 - learned) ** 2
        before, now = now, now + momentum * (now - before) - lr * rate * now
    result = solve_random_features(problem, steps)
    np.testing.assert_allclose(result.test_loss, [expected[n] for n in steps], rtol=1e-8)
    assert (np.abs(result.test_loss - [expected[n] for n in steps]) <= result.error + 1e-11).all()


def test_flow_without_limits_and_an_isotropic_spectrum():
    plain = power_law_problem(1.5, 1.25, 300)
    expected = (plain.target_power * np.exp(-20.0 * plain.spectrum)).sum()
    assert solve_random_features(plain, [10.0]).test_loss[0] == pytest.approx(expected, rel=1e-12)
    # White data: an integral over the Marchenko-Pastur law of ratio M/P = 2, whose atom at zero is never learned.
    white = RandomFeatureProblem(np.ones(200), np.full(200, 1.0 / 200.0), num_samples=100.0)
    low, high = (1.0 - math.sqrt(2.0)) ** 2, (1.0 + math.sqrt(2.0)) ** 2
    angle = (np.arange(400) + 0.5) * np.pi / 400
    mu = 0.5 * (low + high) + 0.5 * (high - low) * np.cos(angle)
    density = np.sqrt((high - mu) * (mu - low)) / (4.0 * np.pi * mu) * 0.5 * (high - low) * np.sin(angle)
    for t in (0.0, 1.0, 6.0):
        expected = 0.5 + (density * np.exp(-2.0 * t * mu)).sum() * np.pi / 400
        assert solve_random_features(white, [t]).test_loss[0] == pytest.approx(expected, rel=1e-10)


def test_gap_between_training_and_test_loss():
    """L + noise - Lhat from the response of the residual, by sums over the whole history of steps."""
    problem = power_law_problem(1.5, 1.25, 16, lr=0.3, **SIZES)
    steps, lam = 12, problem.spectrum
    result = solve_random_features(problem, np.arange(steps + 1.0))
    one, theta = np.eye(steps + 1), 0.3 * np.tri(steps + 1, k=-1)
    r1, r3 = one, one
    for _ in range(steps + 3):
        h = [np.linalg.inv(one + rate * theta @ r3 @ r1) for rate in lam]
        mean = sum(rate * k for rate, k in zip(lam, h, strict=True))
        r1, r3 = np.linalg.inv(one + mean @ theta @ r3 / 20.0), np.linalg.inv(one + r1 @ mean @ theta / 12.0)
    r02 = -mean @ theta @ r3
    # C1 = r1 (C0 + noise) r1^T, so C0 + noise = (1 - R02/P) C1 (1 - R02/P)^T: the diagonal is the train-test relation.
    test = result.test_loss + 0.1
    inverse = one - r02 / 20.0
    _, train = solve_in_time(lam, problem.target_power, lr=0.3, num_steps=steps, **SIZES)
    np.testing.assert_allclose(np.linalg.inv(r1), inverse, atol=1e-13)
    np.testing.assert_allclose(train, result.train_loss, rtol=1e-11)
    assert (test[1:] > result.train_loss[1:]).all()


@pytest.mark.parametrize("ridge", [0.0, 1e-4, 0.03])
@pytest.mark.parametrize("sizes", [(40.0, 70.0), (70.0, 40.0), (math.inf, 50.0), (50.0, math.inf)])
def test_training_ends_at_the_deterministic_equivalent(ridge, sizes):
    problem = power_law_problem(1.6, 1.3, 200, num_features=sizes[0], num_samples=sizes[1], noise_var=0.2, ridge=ridge)
    result = solve_random_features(problem, [1e13, math.inf])
    for values in result.to_arrays().values():
        if values is not result.times and values is not result.error:
            np.testing.assert_allclose(values[0], values[1], rtol=1e-7, atol=1e-9)
    e = ridge_equivalent(problem)
    assert e.test_loss == result.test_loss[1]
    if ridge:
        assert e.cross_validation == pytest.approx(e.test_loss + 0.2, rel=1e-12)


def test_closed_form_of_the_two_stage_equivalent():
    """The textbook form with df2 and D = df1 - df2, written out."""
    problem = power_law_problem(1.6, 1.3, 200, num_features=70.0, num_samples=40.0, noise_var=0.2, ridge=0.01)
    e = ridge_equivalent(problem)
    x, lam, power = e.kappa, problem.spectrum, problem.target_power
    df, df2 = (lam / (lam + x)).sum(), ((lam / (lam + x)) ** 2).sum()
    bias, v = x * x * (power / (lam + x) ** 2).sum(), (lam * power / (lam + x) ** 2).sum()
    g = df2 / 40.0 + (df - df2) ** 2 / (40.0 * (70.0 - df2))
    total = (0.2 + bias + x * (df - df2) * v / (70.0 - df2)) / (1.0 - g)
    assert e.test_loss + 0.2 == pytest.approx(total, rel=1e-13)
    assert e.train_loss == pytest.approx((1.0 - df / 40.0) ** 2 * total, rel=1e-11)
    assert x * (1.0 - df / 40.0) * (1.0 - df / 70.0) == pytest.approx(0.01, rel=1e-12)


def test_layers_of_features():
    base = power_law_problem(1.6, 1.3, 200, num_samples=40.0, noise_var=0.2, ridge=0.01)
    one = ridge_equivalent(
        power_law_problem(1.6, 1.3, 200, num_features=70.0, num_samples=40.0, noise_var=0.2, ridge=0.01)
    )
    same = ridge_equivalent(base, layers=[Wishart(70.0)])
    assert (same.test_loss, same.kappa) == (one.test_loss, one.kappa)
    assert ridge_equivalent(base, layers=[]).kappa == pytest.approx(ridge_equivalent(base).kappa, rel=1e-12)
    # A projection onto everything is no layer; a second wide layer changes little, a narrow one much.
    full = ridge_equivalent(base, layers=[Projection(200.0 - 1e-9, 200.0)])
    assert full.test_loss == pytest.approx(ridge_equivalent(base).test_loss, rel=1e-7)
    deep = [ridge_equivalent(base, layers=[Wishart(70.0), Wishart(n)]).test_loss for n in (1e7, 100.0)]
    assert deep[0] == pytest.approx(one.test_loss, rel=1e-5) and deep[1] > one.test_loss
    without = [ridge_equivalent(base, layers=[layer]).test_loss for layer in (Projection(70.0, 200.0), Wishart(70.0))]
    assert without[0] < without[1]


def test_double_descent_and_its_cure():
    """Without ridge the loss peaks where width meets samples; with the best ridge it falls with width all the way."""
    sizes = (20.0, 36.0, 40.0, 44.0, 80.0, 400.0)
    problems = [power_law_problem(1.6, 1.3, 400, num_features=n, num_samples=40.0, noise_var=0.2) for n in sizes]
    plain = np.array([ridge_equivalent(p).test_loss for p in problems])
    assert math.isinf(plain[2]) and plain[1] > plain[0] and plain[3] > plain[4] > plain[5]
    tuned = np.array([optimal_ridge(p).test_loss for p in problems])
    assert (np.diff(tuned) < 0).all() and (tuned < plain).all()


def test_variance_decomposition_and_ensembles():
    r = solve_random_features(power_law_problem(1.5, 1.25, 300, num_features=60.0, num_samples=90.0), [10.0, 1e3])
    parts = r.bias + r.feature_variance + r.data_variance + r.interaction
    np.testing.assert_allclose(parts, r.test_loss, rtol=1e-14)
    assert (r.feature_variance > 0).all() and (r.data_variance > 0).all() and (r.interaction > 0).all()
    np.testing.assert_allclose(r.ensemble_loss(math.inf, own_data=True), r.bias)
    assert (r.ensemble_loss(4, own_data=True) < r.ensemble_loss(4)).all()
    np.testing.assert_array_equal(r.ensemble_loss(1), r.test_loss)
    # An infinitely large ensemble over features is the kernel machine of infinite width at the same renormalised ridge.
    problem = power_law_problem(1.5, 1.25, 300, num_features=60.0, num_samples=90.0, noise_var=0.3, ridge=0.01)
    e = ridge_equivalent(problem)
    kernel = power_law_problem(
        1.5, 1.25, 300, num_samples=90.0, noise_var=0.3, ridge=e.kappa * (1 - e.degrees_of_freedom / 90.0)
    )
    assert solve_random_features(problem, [math.inf]).independent_features[0] == pytest.approx(
        ridge_equivalent(kernel).test_loss, rel=1e-9
    )


def test_one_pass_sgd_equals_the_covariance():
    """Infinite width: the diagonal of the covariance obeys an exact recursion, or a matrix exponential."""
    lam, power = np.arange(1.0, 81.0) ** -1.4, np.arange(1.0, 81.0) ** -1.9
    c, curve = power / lam, []
    for _ in range(61):
        curve.append(lam @ c)
        c = (1.0 - 0.3 * lam) ** 2 * c + 0.3**2 / 5.0 * lam * (lam @ c + 0.2)
    problem = RandomFeatureProblem(lam, power, noise_var=0.2, lr=0.3, batch_size=5)
    np.testing.assert_allclose(solve_random_features(problem, np.arange(61.0)).test_loss, curve, rtol=1e-7)
    generator = np.zeros((81, 81))
    generator[:80, :80] = -2.0 * np.diag(lam) + 0.06 * np.outer(lam, lam)
    generator[:80, 80] = 0.06 * lam * 0.2
    flow = RandomFeatureProblem(lam, power, noise_var=0.2, batch_noise=0.06)
    times = [0.1, 1.0, 30.0, 1000.0]
    expected = [lam @ (expm(generator * t) @ np.append(power / lam, 1.0))[:80] for t in times]
    np.testing.assert_allclose(solve_random_features(flow, times).test_loss, expected, rtol=1e-7)


def test_one_pass_sgd_with_few_features_settles():
    problem = power_law_problem(2.0, 1.5, 200, num_features=30.0, noise_var=0.1, lr=0.2, batch_size=4)
    result = solve_random_features(problem, [5_000, math.inf])
    assert result.test_loss[0] == pytest.approx(result.test_loss[1], rel=1e-4)
    # Large batches: no noise at all.
    quiet = power_law_problem(2.0, 1.5, 200, num_features=30.0, noise_var=0.1, lr=0.2, batch_size=1e12)
    plain = power_law_problem(2.0, 1.5, 200, num_features=30.0, noise_var=0.1, lr=0.2)
    times = [0, 1, 10, 300]
    np.testing.assert_allclose(
        solve_random_features(quiet, times).test_loss, solve_random_features(plain, times).test_loss, rtol=1e-7
    )


@pytest.mark.parametrize("gamma", [0.0, 0.7, 4.0])
def test_feature_learning_equals_the_two_matrix_equations(gamma):
    """The unreduced dynamics of (b, A^T A / N, C) at infinite width, M^2 numbers instead of M."""
    lam, power = np.arange(1.0, 13.0) ** -1.5, np.arange(1.0, 13.0) ** -1.75
    target = np.sqrt(power / lam)

    def slope(_, state):
        b, gram, c = state[:12], state[12:-1].reshape(12, 12), state[-1]
        g = lam * (target - b)
        turn = gamma * (np.outer(b, g) + np.outer(g, b))
        return np.concatenate([gram @ g + gamma * c * g, turn.ravel(), [2.0 * b @ g]])

    start = np.concatenate([np.zeros(12), np.eye(12).ravel(), [0.0]])
    times = [0.5, 2.0, 8.0]
    run = solve_ivp(slope, (0.0, 8.0), start, t_eval=times, method="DOP853", rtol=1e-12, atol=1e-13)
    expected = [lam @ (target - state[:12]) ** 2 for state in run.y.T]
    result = solve_feature_learning(FeatureLearningProblem(lam, power, gamma=gamma), times)
    np.testing.assert_allclose(result.test_loss, expected, rtol=1e-9)
    np.testing.assert_allclose(result.alignment, gamma * run.y[-1], rtol=1e-9, atol=1e-12)
    b, gram, c = run.y[:12, -1], run.y[12:-1, -1].reshape(12, 12), run.y[-1, -1]
    np.testing.assert_allclose(gram, np.eye(12) + gamma * np.outer(b, b) / (1.0 + gamma * c), atol=1e-10)


def test_lazy_and_rich_limits():
    law = power_law_problem(1.75, 1.5, 100)
    times = [0.0, 1.0, 10.0, 100.0]
    lazy = solve_random_features(law, times).test_loss
    for method in ("exact", "surrogate"):
        problem = FeatureLearningProblem(law.spectrum, law.target_power, gamma=0.0)
        result = solve_feature_learning(problem, times, method=method)
        assert (np.abs(result.test_loss - lazy) <= 2.0 * result.error + 1e-10).all()
    rich = solve_feature_learning(FeatureLearningProblem(law.spectrum, law.target_power, gamma=1.0), times)
    assert (rich.test_loss[1:] < lazy[1:]).all() and (np.diff(rich.alignment) > 0).all()
    assert 1.0 < rich.transition_time < 10.0
    # A lazy learner of finite width is what the surrogate moves through time.
    narrow = FeatureLearningProblem(law.spectrum, law.target_power, gamma=0.0, num_features=20.0)
    expected = loss_table(law, num_features=20.0, num_samples=math.inf, times=times[1:])
    found = solve_feature_learning(narrow, times, method="surrogate").test_loss[1:]
    np.testing.assert_allclose(found, expected, rtol=1e-7)
    start = solve_feature_learning(narrow, [0.0], method="surrogate")
    assert start.test_loss[0] == pytest.approx(narrow.target_power.sum()) and start.effective_time[0] == 0.0


def test_surrogate_has_the_right_exponent():
    law = power_law_problem(1.5, 2.0, 1e10)
    problem = FeatureLearningProblem(law.spectrum, law.target_power, gamma=1.0, multiplicity=law.multiplicity)
    times = np.geomspace(1e2, 1e5, 4)
    exact, cheap = (solve_feature_learning(problem, times, method=method) for method in ("exact", "surrogate"))
    gap = np.abs(local_exponents(times, exact.test_loss) - local_exponents(times, cheap.test_loss))
    assert (np.diff(gap) < 0).all() and gap[-1] < 1e-3
    assert (cheap.test_loss > exact.test_loss).all()


def test_circle_task_is_that_of_the_relu_kernel():
    """Eigenvalues of the tangent kernel on the circle fall as k^-2, so lazy losses as t^-(q - 1/2)."""
    import torch

    theta = 2.0 * np.pi * np.arange(8192) / 8192
    points = torch.tensor(math.sqrt(2.0) * np.stack([np.cos(theta), np.sin(theta)], 1))
    row = ntk_kernel(points[:1], points, depth=2, activation="relu", weight_var=2.0, bias_var=0.1)[0].numpy()
    lam = np.fft.rfft(row).real / 8192
    a, b = circle_task(1.0)
    # The kernel itself to mode 128, its power law beyond; deviations from the exponents shrink as k and t grow.
    k = np.array([4, 8, 16, 32, 64, 128])
    off = np.abs(local_exponents(k.astype(float), lam[k]) - b)
    assert off[-1] < 0.01 and off[-1] < off[0]
    law = power_law_problem(a, b, 1e8)
    spectrum = law.spectrum * lam[128] * 128.0**b
    spectrum[:128] = lam[1:129]
    problem = RandomFeatureProblem(spectrum, law.target_power, multiplicity=law.multiplicity)
    times = np.geomspace(1e2, 1e6, 5) / lam[1]
    off = np.abs(local_exponents(times, solve_random_features(problem, times).test_loss) - (a - 1.0) / b)
    assert off[-1] < 0.002 and off[-1] < off[0]


def test_bottlenecks_change_with_time():
    problem = power_law_problem(1.75, 1.5, 1e6, num_features=1e3, num_samples=200.0)
    parts = bottlenecks(problem, np.geomspace(1.0, 1e5, 11))
    assert parts.leading[0] == "time" and parts.leading[-1] == "samples" and len(parts.changes) == 1
    assert parts.total[-1] == pytest.approx(parts.samples[-1] + parts.width[-1], rel=0.35)


@given(
    a=st.floats(1.2, 4.0),
    b=st.floats(1.1, 3.0),
    n=st.floats(5.0, 500.0),
    p=st.floats(5.0, 500.0),
    t=st.floats(0.01, 1e6),
)
def test_losses_are_ordered(a, b, n, p, t):
    """Sharing less never raises the correlation of two learners; more of everything never raises the bias."""
    r = solve_random_features(power_law_problem(a, b, 400, num_features=n, num_samples=p, noise_var=0.1), [t])
    slack = 1e-9 * r.test_loss[0]
    assert r.independent_both[0] <= min(r.independent_features[0], r.independent_data[0]) + slack
    assert max(r.independent_features[0], r.independent_data[0]) <= r.test_loss[0] + slack
    assert r.interaction[0] >= -slack and r.train_loss[0] >= -slack
    wider = solve_random_features(power_law_problem(a, b, 400, num_features=2 * n, num_samples=p, noise_var=0.1), [t])
    assert wider.bias[0] <= r.bias[0] + slack


def test_binned_modes_equal_all_modes():
    for a, b in ((1.3, 1.2), (1.75, 1.5), (3.5, 2.0)):
        sizes = {"num_features": 50.0, "num_samples": 80.0, "noise_var": 0.1}
        full = solve_random_features(power_law_problem(a, b, 20_000, num_exact=20_000, **sizes), [1.0, 1e5])
        few = solve_random_features(power_law_problem(a, b, 20_000, **sizes), [1.0, 1e5])
        assert len(few.problem.spectrum) < 250
        np.testing.assert_allclose(few.test_loss, full.test_loss, rtol=1e-8)


def test_contour_converges_geometrically():
    problem = power_law_problem(1.5, 1.25, 300, num_features=60.0, num_samples=90.0)
    exact = solve_random_features(problem, [10.0], num_nodes=40).test_loss[0]
    errors = [
        abs(solve_random_features(problem, [10.0], num_nodes=n).test_loss[0] / exact - 1.0) for n in (8, 12, 16, 20)
    ]
    assert all(later < 0.02 * earlier for earlier, later in itertools.pairwise(errors))
    assert talbot_nodes(8)[0].shape == (4,)
