"""Evidence at finite width, its slopes, its largest value; learning curves."""

import itertools
import math

import numpy as np
import pytest
import torch

from limes.core.errors import SpecError
from limes.theory.kernels import nngp_kernel
from limes.theory.statics import (
    AdaptiveProblem,
    DeepLinearProblem,
    ProportionalProblem,
    choose_hyperparameters,
    evidence_slopes,
    learning_curve,
    log_evidence_at_width,
    log_evidence_without_features,
    solve_adaptive,
    solve_deep_linear,
    solve_proportional,
)
from support.plane import X, Y
from support.refusals import one_sentence


def problem(activation="erf", gamma0=1.0, beta=5.0):
    return AdaptiveProblem(X, Y, activation=activation, gamma0=gamma0, inverse_temperature=beta)


def exact_linear(width, gamma0, beta):
    """ln p(y) of a linear network of any width: an integral over the scale of its kernel."""
    scale = 1.0 / (gamma0**2 * width)
    kernel = scale * (X @ X.T / 2 + 1e-12 * np.eye(4))
    return solve_proportional(ProportionalProblem(kernel, Y, [width], inverse_temperature=beta / scale)).log_evidence


def test_evidence_of_linear_networks_is_the_exact_one_to_order_one_over_width():
    fit = solve_adaptive(problem("linear"))
    gaps = [log_evidence_at_width(fit, width) - exact_linear(width, 1.0, 5.0) for width in (50, 100, 200, 400)]
    for narrow, wide in itertools.pairwise(gaps):
        assert narrow / wide == pytest.approx(2.0, rel=0.1)
    assert abs(gaps[-1]) < 0.01
    # Mutants: without the fluctuations, and without feature learning.
    assert abs(gaps[-1] + 0.5 * fit.log_det) > 1.0
    assert abs(log_evidence_without_features(problem("linear"), 400) - exact_linear(400, 1.0, 5.0)) > 1.0


@pytest.mark.parametrize("activation", ["erf", "relu"])
def test_evidence_without_feature_learning_is_that_of_the_gaussian_process(activation):
    """gamma0 = 1 / sqrt(width), width large."""
    width = 10**6
    lazy = problem(activation, gamma0=width**-0.5)
    kernel = nngp_kernel(torch.from_numpy(X), depth=1, activation=activation, weight_var=1.0, bias_var=0.0)
    normal = torch.distributions.MultivariateNormal(torch.zeros(4).double(), kernel + 0.2 * torch.eye(4).double())
    expected = float(normal.log_prob(torch.from_numpy(Y)))
    assert log_evidence_without_features(lazy, width) == pytest.approx(expected, rel=1e-9)
    assert log_evidence_at_width(solve_adaptive(lazy), width) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("activation", ["erf", "linear"])
def test_slopes_are_finite_differences(activation):
    slopes = evidence_slopes(solve_adaptive(problem(activation, 1.2, 3.0)))
    h = 1e-4

    def moved(which, way):
        beta, gamma0 = 3.0 * math.exp(way * h * (which == 0)), 1.2 * math.exp(way * h * (which == 1))
        return solve_adaptive(problem(activation, gamma0, beta)).log_evidence

    for which in (0, 1):
        assert slopes[which] == pytest.approx((moved(which, 1) - moved(which, -1)) / (2 * h), rel=1e-6)
        assert slopes[which] < 0.0


def test_the_largest_evidence_is_found_and_an_end_of_the_grid_is_named():
    grids = {"inverse_temperatures": [1.0, 4.0, 16.0, 64.0], "gamma0s": [0.02, 0.06, 0.2, 0.6]}
    best = choose_hyperparameters(problem("linear"), width=200, num_refinements=3, **grids)
    assert best.grid.shape == (4, 4) and best.num_failed == 0
    assert best.log_evidence >= float(best.grid.max())
    # By the exact evidence it is no better a spacing and a half away, either way along either axis.
    place = (best.gamma0, best.inverse_temperature)
    top = exact_linear(200, *place)
    assert best.log_evidence == pytest.approx(top, abs=0.02)
    for axis, step in ((0, math.log(30) / 3 / 8), (1, math.log(64) / 3 / 8)):
        for way in (-1.5, 1.5):
            there = list(place)
            there[axis] *= math.exp(way * step)
            inside = 0.02 <= there[0] <= 0.6 and 1.0 <= there[1] <= 64.0
            assert not inside or exact_linear(200, *there) < top
    assert best.at_end == tuple(
        name
        for name, value, ends in (
            ("inverse_temperature", best.inverse_temperature, (1.0, 64.0)),
            ("gamma0", best.gamma0, (0.02, 0.6)),
        )
        if value in ends
    )
    low = choose_hyperparameters(problem("linear"), width=200, inverse_temperatures=[0.01, 0.02], gamma0s=[0.1])
    assert low.at_end == ("inverse_temperature",) and low.inverse_temperature == 0.02


def test_without_features_the_choice_is_another():
    grids = {"inverse_temperatures": [5.0], "gamma0s": list(np.geomspace(0.02, 2.0, 9))}
    told = []
    rich = choose_hyperparameters(problem(), width=50, progress=told.append, **grids)
    lazy = choose_hyperparameters(problem(), width=50, feature_learning=False, **grids)
    assert lazy.log_evidence != rich.log_evidence and not lazy.feature_learning
    assert rich.inverse_temperature == lazy.inverse_temperature == 5.0
    assert told == sorted(told) and told[-1] <= 1.0


def test_learning_curves_are_those_of_each_solver():
    rng = np.random.default_rng(0)
    pool, test = rng.standard_normal((30, 1)), rng.standard_normal((7, 1))
    truth = np.array([1.5])
    targets, answers = pool @ truth + 0.3 * rng.standard_normal(30), test @ truth
    settings = {"gamma0": 0.8, "inverse_temperature": 2.0}
    curve = learning_curve(
        pool,
        targets,
        test,
        answers,
        sample_counts=[3, 10, 30],
        num_draws=4,
        generator=torch.Generator().manual_seed(1),
        activation="linear",
        **settings,
    )
    generator = torch.Generator().manual_seed(1)
    for draw in range(4):
        order = torch.randperm(30, generator=generator).numpy()
        for row, count in enumerate((3, 10, 30)):
            x, y = pool[order[:count]], targets[order[:count]]
            rows = test @ x.T
            lazy = rows @ np.linalg.solve(x @ x.T + np.eye(count) / 2.0, y)
            assert curve.nngp[row, draw] == pytest.approx(np.mean((lazy - answers) ** 2), rel=1e-9)
            fields = {"kernel_test_train": rows, "kernel_test": (test**2).sum(1)}
            rich = solve_deep_linear(DeepLinearProblem(x @ x.T, y, **settings, **fields)).test_mean.numpy()
            assert curve.adaptive[row, draw] == pytest.approx(np.mean((rich - answers) ** 2), rel=1e-6)
    # All of the pool: every draw is the same set.
    assert float(curve.nngp[2].std()) < 1e-12
    gain, error = curve.gain()
    assert gain.shape == error.shape == (3,) and float(gain[0]) > 0.0


BAD = {
    "width": (lambda: log_evidence_at_width(solve_adaptive(problem()), 0), "width is 0"),
    "grid": (lambda: choose(inverse_temperatures=[2.0, 1.0]), "increasing order"),
    "empty": (lambda: choose(gamma0s=[]), "increasing order"),
    "negative": (lambda: choose(gamma0s=[-1.0, 1.0]), r"gamma0s\[0\] is -1"),
    "refinements": (lambda: choose(num_refinements=-1), "num_refinements is -1"),
    "too many": (lambda: curve_of(sample_counts=[2, 9]), "at most 4"),
    "one draw": (lambda: curve_of(num_draws=1), "num_draws is 1"),
    "test targets": (lambda: curve_of(test_targets=[1.0, 2.0]), r"test_targets has shape \(2,\); expected \(1,\)"),
    "no test": (lambda: curve_of(test_inputs=np.empty((0, 2)), test_targets=[]), "at least one"),
}


def choose(**changes):
    options = {"width": 50, "inverse_temperatures": [1.0], "gamma0s": [1.0]} | changes
    return choose_hyperparameters(problem(), **options)


def curve_of(**changes):
    data = {"inputs": X, "targets": Y, "test_inputs": [[0.3, 0.9]], "test_targets": [0.1]}
    data |= {name: changes.pop(name) for name in tuple(changes) if name in data}
    options = {"sample_counts": [2], "num_draws": 2, "generator": torch.Generator().manual_seed(0)} | changes
    return learning_curve(*data.values(), **options)


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(name):
    make, words = BAD[name]
    with one_sentence(SpecError, words):
        make()
