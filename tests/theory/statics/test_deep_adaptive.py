"""Deep adaptive kernels: where they meet the closed forms, what the residual says, and the trap of plain damping."""

import numpy as np
import pytest
import torch

from limes.core.errors import ConvergenceError, ScopeError, SpecError
from limes.theory.activations import Activation, polynomial
from limes.theory.statics import (
    AdaptiveProblem,
    DeepAdaptiveProblem,
    DeepLinearProblem,
    NNGPProblem,
    ProportionalProblem,
    deep_saddle_residual,
    solve_adaptive,
    solve_deep_adaptive,
    solve_deep_linear,
    solve_nngp,
    solve_proportional,
)
from limes.theory.statics.layers import COARSE, Box, conjugate_below, factored, tilted
from support.plane import TEST, X, Y
from support.refusals import one_sentence
from support.stats import assert_golden, assert_order, load_golden

GOLDEN = load_golden("statics")


def deep(activation="erf", depth=2, gamma0=1.0, *, size=2, test=TEST, **changes):
    """The first `size` samples."""
    return DeepAdaptiveProblem(
        X[:size], Y[:size], test, activation=activation, depth=depth, gamma0=gamma0, inverse_temperature=5.0, **changes
    )


def close(seen, expected, tolerance):
    torch.testing.assert_close(seen, expected, rtol=0, atol=tolerance)


def test_two_layers_of_four_samples_give_the_recorded_row():
    problem = DeepAdaptiveProblem(1.5 * X, Y, gamma0=0.7, inverse_temperature=5.0)
    result = solve_deep_adaptive(problem)
    assert_golden(result.train_mean, GOLDEN["deep"]["train"])
    assert_golden(result.kernels[-1].diagonal(), GOLDEN["deep"]["diagonal"])
    assert result.residual < 1e-10 and float(result.kernel_error.max()) < 1e-5


@pytest.mark.parametrize("activation", ["erf", "gelu", "linear", "relu"])
def test_one_layer_is_the_concave_dual(activation):
    """Kernel, outputs, evidence, and the scatter, which here comes from a response and there from a formula."""
    one = solve_deep_adaptive(deep(activation, 1, size=4))
    dual = solve_adaptive(AdaptiveProblem(X, Y, TEST, activation=activation, gamma0=1.0, inverse_temperature=5.0))
    tolerance = 3e-4 if activation == "relu" else 1e-9
    for name in ("train_mean", "test_mean", "train_fluctuation", "test_fluctuation"):
        # The scatter comes from differences of the saddle equations.
        close(getattr(one, name), getattr(dual, name), max(tolerance, 1e-5) if "fluctuation" in name else tolerance)
    close(one.kernels[0], dual.kernel, tolerance)
    assert one.log_evidence == pytest.approx(dual.log_evidence, abs=tolerance)
    assert one.readout_second_moment == pytest.approx(dual.readout_second_moment, abs=10 * tolerance)


@pytest.mark.parametrize("depth", [2, 3])
def test_linear_units_are_the_closed_form_and_scatter_like_exact_networks(depth):
    result = solve_deep_adaptive(deep("linear", depth, size=3, input_ridge=0.05))
    gram, ridge = X[:3] @ X[:3].T / 2 + 0.05 * np.eye(3), 0.05
    rows = {"kernel_test_train": TEST @ X[:3].T / 2, "kernel_test": (TEST**2).sum(1) / 2 + ridge}
    closed = solve_deep_linear(DeepLinearProblem(gram, Y[:3], depth=depth, inverse_temperature=5.0, **rows))
    close(result.train_mean, closed.train_mean, 1e-9)
    close(result.test_mean, closed.test_mean, 1e-9)
    close(result.kernels[-1], closed.kernel, 1e-9)
    assert result.log_evidence == pytest.approx(closed.log_evidence, abs=1e-9)
    gaps = []
    for width in (200, 400):
        scaled = {name: value / width for name, value in rows.items()}
        exact = solve_proportional(
            ProportionalProblem(gram / width, Y[:3], [width] * depth, inverse_temperature=5.0 * width, **scaled)
        )
        spread = torch.cat([exact.train_variance, exact.test_variance]) * width
        gaps.append(spread - torch.cat([result.train_fluctuation, result.test_fluctuation]))
    # The difference is of order 1/width: halving it away leaves the square.
    assert float(gaps[1].abs().max()) < 0.01 and float((2 * gaps[1] - gaps[0]).abs().max()) < 2e-4


def test_singular_inputs_need_no_inverse():
    result = solve_deep_adaptive(deep("linear", 2, size=4))
    rows = {"kernel_test_train": TEST @ X.T / 2, "kernel_test": (TEST**2).sum(1) / 2}
    closed = solve_deep_linear(DeepLinearProblem(X @ X.T / 2, Y, depth=2, inverse_temperature=5.0, **rows))
    close(result.test_mean, closed.test_mean, 1e-9)
    close(result.kernels[-1], closed.kernel, 1e-9)


@pytest.mark.parametrize("depth", [2, 3])
def test_without_feature_learning_it_is_the_nngp_and_leaves_it_with_the_square_of_gamma0(depth):
    lazy = solve_nngp(NNGPProblem(X[:2], Y[:2], TEST, depth=depth, inverse_temperature=5.0))
    strengths, gaps = [0.05, 0.1, 0.2, 0.4], []
    for gamma0 in strengths:
        result = solve_deep_adaptive(deep(depth=depth, gamma0=gamma0))
        gaps.append(float((result.test_mean - lazy.test_mean).norm()))
    assert gaps[0] < 2e-3
    assert_order(strengths, gaps, 1.9)
    # Not a higher power: the quotient by gamma0^2 has a limit that is not zero.
    assert gaps[0] / 0.05**2 == pytest.approx(gaps[1] / 0.1**2, rel=0.05)
    width_times_variance = 0.05**2 * solve_deep_adaptive(deep(depth=depth, gamma0=0.05)).test_fluctuation
    close(width_times_variance, lazy.test_variance, 0.02)


@pytest.mark.parametrize(("activation", "depth"), [("erf", 3), ("gelu", 2), ("tanh", 2)])
def test_a_test_input_that_is_a_training_input_predicts_and_scatters_like_it(activation, depth):
    result = solve_deep_adaptive(deep(activation, depth, test=X[:1]))
    close(result.test_mean, result.train_mean[:1], 1e-9)
    close(result.test_fluctuation, result.train_fluctuation[:1], 1e-4)


def test_order_of_samples():
    straight = solve_deep_adaptive(deep(size=3))
    order = [2, 0, 1]
    mixed = solve_deep_adaptive(DeepAdaptiveProblem(X[order], Y[order], TEST, inverse_temperature=5.0))
    close(mixed.train_mean, straight.train_mean[order], 1e-7)
    close(mixed.kernels, straight.kernels[:, order][:, :, order], 1e-7)
    close(mixed.test_fluctuation, straight.test_fluctuation, 1e-4)


def damped(problem, num_sweeps, *, kernels_too):
    """The saddle equations iterated with a damping of 0.05 from the prior: on the conjugates, or on both."""
    size, beta = len(problem.targets), problem.inverse_temperature
    one, first = torch.eye(size, dtype=torch.float64), factored(problem.kernel)
    conjugates, kernels, below = [0.0 * one] * problem.depth, [], first

    def average(below, conjugate):
        rank = below.factor.shape[1]
        box = Box(4.0 * torch.eye(rank, dtype=torch.float64), coarse=COARSE[rank])
        return tilted(box, below, problem.phi.value, conjugate)

    for conjugate in conjugates:
        kernels.append(average(below, conjugate).kernel)
        below = factored(kernels[-1])
    for _ in range(num_sweeps):
        belows, layers = [first], []
        for index, conjugate in enumerate(conjugates):
            layers.append(average(belows[-1], conjugate))
            belows.append(factored(kernels[index] if kernels_too else layers[-1].kernel))
        found = [layer.kernel for layer in layers]
        kernels = [k + 0.05 * (f - k) for k, f in zip(kernels, found, strict=True)] if kernels_too else found
        delta = torch.linalg.solve(one + beta * kernels[-1], problem.targets)
        asked = [conjugate_below(belows[i], layers[i].second) for i in range(1, problem.depth)]
        asked.append(-((beta * problem.gamma0) ** 2) * torch.outer(delta, delta))
        conjugates = [h + 0.05 * (a - h) for h, a in zip(conjugates, asked, strict=True)]
    return torch.stack(kernels), torch.stack(conjugates), problem.targets - delta


def test_plain_damping_ends_at_a_wrong_point_and_the_residual_says_so():
    problem = deep("linear", 2, test=None)
    truth = solve_deep_linear(DeepLinearProblem(X[:2] @ X[:2].T / 2, Y[:2], depth=2, inverse_temperature=5.0))
    shipped = solve_deep_adaptive(problem)
    close(shipped.train_mean, truth.train_mean, 1e-9)
    assert deep_saddle_residual(problem, shipped.kernels, shipped.conjugates) < 1e-8
    for num_sweeps in (200, 240):
        kernels, conjugates, outputs = damped(problem, num_sweeps, kernels_too=True)
        assert float((outputs - truth.train_mean).norm()) > 0.05
        assert deep_saddle_residual(problem, kernels, conjugates) > 0.1
    # Damping of the conjugates alone arrives here.
    kernels, conjugates, outputs = damped(problem, 250, kernels_too=False)
    close(outputs, truth.train_mean, 1e-5)
    assert deep_saddle_residual(problem, kernels, conjugates) < 1e-4


def test_damping_the_conjugates_alone_is_not_enough_where_units_have_no_bound():
    """From the prior straight to the full gamma0 the tilt runs away; raised in steps it does not."""
    problem = deep("relu", 2, 2.0, test=None)
    kernels, conjugates, outputs = damped(problem, 100, kernels_too=False)
    with pytest.raises(ScopeError, match="nodes"):
        deep_saddle_residual(problem, kernels, conjugates)
    shipped = solve_deep_adaptive(problem)
    assert shipped.residual < 1e-8
    assert float((outputs - shipped.train_mean).norm()) > 0.05


def test_an_own_activation_without_second_derivative():
    bare = Activation(name="bare", value=torch.tanh, derivative=lambda x: 1.0 - torch.tanh(x) ** 2)
    own, known = solve_deep_adaptive(deep(bare, test=X[:1])), solve_deep_adaptive(deep("tanh", test=X[:1]))
    close(own.test_fluctuation, known.test_fluctuation, 1e-7)


BAD = {
    "depth": (lambda: deep(depth=0), SpecError, "depth is 0"),
    "gamma0": (lambda: deep(gamma0=-1.0), SpecError, "gamma0 is -1"),
    "temperature": (
        lambda: DeepAdaptiveProblem(X, Y, inverse_temperature=0.0),
        SpecError,
        "inverse_temperature is 0",
    ),
    "targets": (lambda: DeepAdaptiveProblem(X, Y[:3]), SpecError, r"targets has shape \(3,\)"),
    "activation": (lambda: deep("step"), SpecError, "activation 'step'"),
    "zeros": (lambda: DeepAdaptiveProblem(0 * X, Y), SpecError, "all zero"),
    "samples": (
        lambda: solve_deep_adaptive(DeepAdaptiveProblem(np.eye(5), np.ones(5))),
        ScopeError,
        "5 directions.*solve_adaptive samples",
    ),
    "layers": (
        lambda: deep_saddle_residual(deep(), torch.zeros(3, 2, 2), torch.zeros(3, 2, 2)),
        SpecError,
        r"expected \(2, 2, 2\)",
    ),
    "kernels": (
        lambda: deep_saddle_residual(deep(), -torch.eye(2).repeat(2, 1, 1), torch.zeros(2, 2, 2)),
        SpecError,
        "eigenvalue -1",
    ),
    # Cubic units outgrow any Gaussian: the tilted law does not exist.
    "no saddle": (
        lambda: solve_deep_adaptive(deep(polynomial([0.0, 0.0, 0.0, 1.0]), 2, 2.0)),
        ConvergenceError,
        "lower gamma0",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(name):
    make, kind, words = BAD[name]
    with one_sentence(kind, words):
        make()
