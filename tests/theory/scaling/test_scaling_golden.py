"""Solvable theories of scaling against recorded values: losses in time, SGD, ridge, floors, feature learning."""

import math

import numpy as np
import pytest

from limes.numerics.contour import talbot_nodes
from limes.theory.scaling import (
    FeatureLearningProblem,
    RandomFeatureProblem,
    local_exponents,
    loss_table,
    optimal_ridge,
    power_law_problem,
    ridge_equivalent,
    solve_feature_learning,
    solve_random_features,
)
from support.stats import assert_golden, load_golden

GOLDEN = load_golden("scaling")


def problem_of(row, **settings):
    names = ("num_features", "num_samples", "noise_var", "ridge")
    fields = {name: row[name] for name in names if name in row}
    return power_law_problem(row["a"], row["b"], row["num_modes"], **fields, **row.get("settings", {}), **settings)


@pytest.mark.parametrize("row", GOLDEN["flow"], ids=lambda r: f"{r['num_modes']}-{r['num_features']:g}-{r['time']:g}")
def test_gradient_flow(row):
    r = solve_random_features(problem_of(row), [row["time"]])
    parts = (r.test_loss, r.train_loss, r.independent_features, r.independent_data, r.independent_both)
    assert_golden(np.concatenate(parts), row["losses"])
    assert r.error[0] < 1e-10


@pytest.mark.parametrize("row", GOLDEN["optimizer"], ids=lambda r: str(r["settings"]))
def test_optimizers(row):
    r = solve_random_features(problem_of(row), row["times"])
    assert_golden(r.test_loss, row["test_loss"])
    assert_golden(r.train_loss, row["train_loss"])


@pytest.mark.parametrize("row", GOLDEN["one_pass"], ids=lambda r: f"{r['num_features']:g}-{r['settings']}")
def test_one_pass_sgd(row):
    r = solve_random_features(problem_of(row), row["times"])
    assert_golden(r.test_loss, row["test_loss"])
    assert r.error.max() < 1e-8


@pytest.mark.parametrize("row", GOLDEN["ridge"], ids=lambda r: f"{r['num_features']:g}")
def test_ridge(row):
    e = ridge_equivalent(problem_of(row))
    assert_golden([e.test_loss, e.train_loss, e.kappa], row["test_train_kappa"])


def test_optimal_ridge():
    row = GOLDEN["optimal_ridge"]
    best = optimal_ridge(problem_of({key: row[key] for key in row if key != "ridge"}))
    assert_golden(best.problem.ridge, row["ridge"])
    assert_golden(best.test_loss, row["test_loss"])


@pytest.mark.parametrize("row", GOLDEN["floor"], ids=lambda r: f"{r['a']}-{r['size']:g}")
def test_floors(row):
    a, b, modes, size = row["a"], row["b"], row["num_modes"], row["size"]
    assert_golden(ridge_equivalent(power_law_problem(a, b, modes, num_features=size)).test_loss, row["width"])
    assert_golden(ridge_equivalent(power_law_problem(a, b, modes, num_samples=size)).test_loss, row["samples"])


@pytest.mark.parametrize(
    "row", GOLDEN["ensemble"], ids=lambda r: f"{r['members']:g}-{r['num_samples']:g}-{r['time']:g}"
)
def test_one_wide_learner_or_many(row):
    """800 features in all, as one learner or as an ensemble on the same data."""
    members = row["members"]
    problem = power_law_problem(
        1.75, 1.5, 1e5, num_features=800.0 / members, num_samples=row["num_samples"], noise_var=row["noise_var"]
    )
    assert_golden(solve_random_features(problem, [row["time"]]).ensemble_loss(members)[0], row["test_loss"])


@pytest.mark.parametrize("row", GOLDEN["early"], ids=lambda r: f"{r['time']:g}")
def test_first_effect_of_a_finite_size(row):
    """The mean of what is missing moves by (1/N + 1/P) h_k(t): seen as the slope of the squared bias in 1/N."""
    lam = np.arange(1.0, 301.0) ** -1.25
    z, weights = talbot_nodes(32)
    z, weights = z / row["time"], weights / row["time"]
    df = (lam / (lam + z[:, None])).sum(1)
    kernel = lam / (z[:, None] + lam) ** 2 * df[:, None]
    h = 2.0 * (weights * np.exp(z * row["time"]) @ kernel).real
    assert_golden(h[np.array(row["modes"]) - 1], row["response"])
    # One mode carries the target, so the bias is exp(-lam t) + h_k (1/N + 1/P) in it.
    for k in row["modes"]:
        power = np.where(np.arange(1, 301) == k, 1.0, 0.0)
        decay = math.exp(-lam[k - 1] * row["time"])
        for num_samples, share in ((math.inf, 1.0), (1.0, 2.0)):
            slopes = []
            for n in (2e4, 4e4):
                problem = RandomFeatureProblem(lam, power, num_features=n, num_samples=n * num_samples)
                bias = solve_random_features(problem, [row["time"]]).bias[0]
                slopes.append((math.sqrt(bias) - decay) * n / share)
            # Extrapolated to infinite size, which leaves the square of 1/N.
            assert 2.0 * slopes[1] - slopes[0] == pytest.approx(h[k - 1], rel=1e-4)


@pytest.mark.parametrize("row", GOLDEN["feature_learning"], ids=lambda r: f"{r['gamma']:g}-{r['a']:g}")
def test_feature_learning(row):
    k = np.arange(1.0, 101.0)
    problem = FeatureLearningProblem(k**-1.5, k ** -row["a"], gamma=row["gamma"])
    r = solve_feature_learning(problem, row["times"])
    assert_golden(r.test_loss, row["test_loss"])
    if "alignment" in row:
        assert_golden(r.alignment, row["alignment"])


@pytest.mark.parametrize("row", GOLDEN["floor_slopes"], ids=lambda r: f"{r['beta']}")
def test_slopes_of_floors(row):
    a, sizes = 1.0 + 1.5 * row["beta"], (1e2, 1e3, 1e4, 1e5)
    width = [ridge_equivalent(power_law_problem(a, 1.5, 1e10, num_features=n)).test_loss for n in sizes]
    samples = [ridge_equivalent(power_law_problem(a, 1.5, 1e10, num_samples=n)).test_loss for n in sizes]
    assert_golden(local_exponents(sizes, width), row["width"])
    assert_golden(local_exponents(sizes, samples), row["samples"])


@pytest.mark.parametrize("row", GOLDEN["transient_slopes"], ids=lambda r: f"{r['beta']}")
def test_slopes_of_the_width_transient(row):
    problem, times = power_law_problem(1.0 + 1.5 * row["beta"], 1.5, 1e12), np.geomspace(1e2, 1e6, 5)
    narrow, wide = (loss_table(problem, num_features=n, num_samples=math.inf, times=times) for n in (1e6, math.inf))
    assert_golden(-local_exponents(times, narrow - wide), row["slopes"])


@pytest.mark.parametrize("row", GOLDEN["rich_slopes"], ids=lambda r: f"{r['beta']}")
def test_slopes_of_rich_learning(row):
    law = power_law_problem(1.0 + 2.0 * row["beta"], 2.0, 1e8)
    fields = {"multiplicity": law.multiplicity}
    rich, lazy = (FeatureLearningProblem(law.spectrum, law.target_power, gamma=gamma, **fields) for gamma in (1.0, 0.0))
    times = np.geomspace(30.0, 3000.0, 5)
    found = solve_feature_learning(rich, times)
    assert_golden(local_exponents(times, found.test_loss), row["slopes"])
    assert_golden(-local_exponents(times, found.alignment), row["alignment"])
    assert_golden(local_exponents(times, solve_feature_learning(lazy, times).test_loss), row["lazy"])
    times = np.geomspace(10.0, 100.0, 5)
    cheap, exact = (solve_feature_learning(rich, times, method=method).test_loss for method in ("surrogate", "exact"))
    assert_golden(cheap / exact - 1.0, row["surrogate_excess"])


def test_surrogate_overestimates_most_at_large_gamma():
    k = np.arange(1.0, 101.0)
    problem = FeatureLearningProblem(k**-1.5, k**-1.75, gamma=4.0)
    cheap, exact = (solve_feature_learning(problem, [60.0], method=method) for method in ("surrogate", "exact"))
    row = {"value": 0.536, "tolerance": 5e-3, "source": "both integrated directly, 100 modes"}
    assert_golden(cheap.test_loss / exact.test_loss - 1.0, row)


def test_no_limits_and_white_data():
    assert_golden(
        solve_random_features(power_law_problem(1.5, 1.25, 300), [10.0]).test_loss[0], GOLDEN["free_flow"]["test_loss"]
    )
    white = RandomFeatureProblem(np.ones(200), np.full(200, 1.0 / 200.0), num_samples=100.0)
    assert_golden(solve_random_features(white, [1.0]).test_loss[0], GOLDEN["isotropic"]["test_loss"])


def test_kernel_of_batch_noise():
    """K_0 and K_1 of the Volterra sum, read off what one unit of label noise adds to the first two losses."""
    quiet, noisy = (
        power_law_problem(1.5, 1.25, 200, num_features=50.0, lr=0.2, batch_size=16, noise_var=noise)
        for noise in (0.0, 1.0)
    )
    one, two = solve_random_features(noisy, [1, 2]).test_loss - solve_random_features(quiet, [1, 2]).test_loss
    rate = 0.2**2 / 16
    first = one / rate
    assert_golden([first, two / rate - first * (one + 1.0)], GOLDEN["batch_kernel"])
