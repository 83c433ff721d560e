"""The first correction of feature learning: recorded rows, what it leaves out, many directions, a mutant."""

import numpy as np
import pytest
import torch

from limes.core.errors import SpecError
from limes.theory.statics import AdaptiveProblem, NNGPProblem, solve_adaptive, solve_nngp, solve_weak
from support.plane import TEST, X, Y
from support.stats import assert_golden, assert_mean, assert_order, load_golden

GOLDEN = load_golden("statics")["weak"]


def problem(gamma0, activation="erf"):
    return AdaptiveProblem(X, Y, TEST, activation=activation, gamma0=gamma0, inverse_temperature=5.0)


def test_recorded_rows():
    weak, lazy = solve_weak(problem(0.05)), solve_nngp(NNGPProblem(X, Y, TEST, inverse_temperature=5.0))
    assert_golden(weak.train_slope, GOLDEN["at_zero"])
    whole = solve_adaptive(problem(0.05))
    assert_golden((whole.train_mean - lazy.train_mean) / 0.05**2, GOLDEN["at_twentieth"])
    assert float(weak.train_slope_error.max()) < 1e-12
    torch.testing.assert_close(weak.train_mean - 0.05**2 * weak.train_slope, lazy.train_mean, rtol=0, atol=1e-12)
    torch.testing.assert_close(weak.test_mean - 0.05**2 * weak.test_slope, lazy.test_mean, rtol=0, atol=1e-12)


@pytest.mark.parametrize("activation", ["erf", "gelu", "linear"])
def test_what_is_left_is_the_next_order_and_other_strengths_are_rejected(activation):
    strengths = [0.2, 0.14, 0.1, 0.07, 0.05, 0.035]
    gaps = {"train_mean": [], "test_mean": [], "kernel": [], "log_evidence": []}
    wrong = []
    for gamma0 in strengths:
        whole, weak = solve_adaptive(problem(gamma0, activation)), solve_weak(problem(gamma0, activation))
        for name, seen in gaps.items():
            seen.append(float(torch.as_tensor(getattr(whole, name) - getattr(weak, name)).norm()))
        wrong.append(float((whole.train_mean - solve_weak(problem(1.1 * gamma0, activation)).train_mean).norm()))
    for name, order in (("train_mean", 3.7), ("test_mean", 3.7), ("kernel", 3.7), ("log_evidence", 5.5)):
        assert_order(strengths, gaps[name], order)
    with pytest.raises(AssertionError, match="order"):
        assert_order(strengths, wrong, 3.7)


def test_many_directions_by_draws():
    """Five orthogonal inputs of a linear network: K1 = (b d K)^2 on and off the diagonal."""
    directions = np.eye(5) * 5**0.5
    seen = [
        solve_weak(AdaptiveProblem(directions, np.ones(5), activation="linear"), num_draws=2048, seed=seed)
        for seed in range(16)
    ]
    for i, j in ((0, 0), (0, 1)):
        samples = [float(fit.kernel_slope[i, j]) for fit in seen]
        assert_mean(samples, 0.25)
        with pytest.raises(AssertionError, match="mean"):
            assert_mean(samples, 0.25 * 1.21)
    stated = np.mean([float(fit.kernel_slope_error[0, 1]) for fit in seen])
    spread = np.std([float(fit.kernel_slope[0, 1]) for fit in seen], ddof=1)
    # A ratio of two estimated deviations with 15 and many degrees of freedom: beyond these in 1 of 10,000.
    assert 0.4 < stated / spread < 2.5


@pytest.mark.parametrize(("name", "value"), [("num_draws", 3), ("num_replicas", 1), ("seed", -1)])
def test_bad_counts_are_one_sentence(name, value):
    with pytest.raises(SpecError, match=f"{name} is {value}"):
        solve_weak(problem(0.1), **{name: value})
