"""Bayesian networks against recorded rows, closed forms, and each other where two theories meet."""

import math

import numpy as np
import pytest
import torch
from scipy.special import kve

from limes.core.errors import ConvergenceError, ScopeError, SpecError
from limes.theory.kernels import nngp_kernel
from limes.theory.statics import (
    AdaptiveProblem,
    DeepLinearProblem,
    NNGPProblem,
    ProportionalProblem,
    dual_value,
    saddle_residual,
    solve_adaptive,
    solve_deep_linear,
    solve_matrix_saddle,
    solve_nngp,
    solve_proportional,
)
from limes.theory.statics.neuron import Grid, directions_of
from support.plane import TEST, X, Y
from support.refusals import one_sentence
from support.stats import assert_golden, load_golden

GOLDEN = load_golden("statics")
KERNEL = X @ X.T / 2 + 0.05 * np.eye(4)


def adaptive(activation="erf", gamma0=1.0, **changes):
    return AdaptiveProblem(X, Y, TEST, activation=activation, gamma0=gamma0, inverse_temperature=5.0, **changes)


def deep_linear(depth, gamma0=1.0, **changes):
    return DeepLinearProblem(KERNEL, Y, depth=depth, gamma0=gamma0, inverse_temperature=5.0, **changes)


@pytest.mark.parametrize("row", GOLDEN["nngp"])
def test_nngp_rows(row):
    problem = NNGPProblem(row["input_scale"] * X, Y, TEST, depth=row["depth"], inverse_temperature=5.0)
    result = solve_nngp(problem)
    assert_golden(result.train_mean, row["train"])
    assert_golden(result.kernel.diagonal(), row["diagonal"])


def test_nngp_is_the_conditional_gaussian_and_interpolates_at_zero_temperature():
    problem = NNGPProblem(X, Y, TEST, inverse_temperature=5.0)
    result = solve_nngp(problem)
    whole = torch.cat([problem.inputs, problem.test_inputs])
    joint = nngp_kernel(whole, depth=1, activation="erf", weight_var=1.0, bias_var=0.0)
    noisy = joint[:4, :4] + 0.2 * torch.eye(4, dtype=torch.float64)
    gain = joint[4:, :4] @ torch.linalg.inv(noisy)
    torch.testing.assert_close(result.test_mean, gain @ problem.targets, rtol=1e-12, atol=1e-13)
    left = (joint[4:, 4:] - gain @ joint[:4, 4:]).diagonal()
    torch.testing.assert_close(result.test_variance, left, rtol=1e-12, atol=1e-13)
    normal = torch.distributions.MultivariateNormal(torch.zeros(4, dtype=torch.float64), noisy)
    assert result.log_evidence == pytest.approx(float(normal.log_prob(problem.targets)), rel=1e-12)
    cold = solve_nngp(NNGPProblem(X, Y, TEST, inverse_temperature=math.inf))
    torch.testing.assert_close(cold.train_mean, problem.targets, rtol=0, atol=1e-10)


@pytest.mark.parametrize("row", GOLDEN["adaptive"], ids=lambda row: f"{row['activation']}-{row['gamma0']}")
def test_adaptive_rows(row):
    result = solve_adaptive(adaptive(row["activation"], row["gamma0"]))
    assert_golden(result.train_mean, row["train"])
    assert_golden(result.test_mean, row["test"])
    assert_golden(result.kernel.diagonal(), row["diagonal"])
    assert_golden(result.readout_second_moment, row["readout"])
    assert_golden(result.log_evidence, row["evidence"])
    assert result.residual < 1e-12 and result.num_iterations <= 10
    assert float(result.kernel_error.max()) < (1e-12 if row["activation"] != "relu" else 5e-6)


def test_weak_feature_learning_leaves_the_nngp_with_the_square_of_gamma0():
    lazy = solve_nngp(NNGPProblem(X, Y, TEST, inverse_temperature=5.0)).train_mean
    slopes = {g: (solve_adaptive(adaptive(gamma0=g)).train_mean - lazy) / g**2 for g in (0.025, 0.05, 0.1)}
    # What is left goes as gamma0^2 and gamma0^4: two extrapolations take them away.
    once = [(4 * slopes[g] - slopes[2 * g]) / 3 for g in (0.025, 0.05)]
    assert_golden((16 * once[0] - once[1]) / 15, GOLDEN["weak"]["at_zero"])
    limit = torch.tensor(GOLDEN["weak"]["at_zero"]["value"], dtype=torch.float64)
    left = [float((slopes[g] - limit).norm()) for g in (0.05, 0.1)]
    assert left[1] / left[0] == pytest.approx(4.0, rel=0.05)


def test_gradient_and_hessian_of_the_dual_are_its_finite_differences_and_it_is_concave():
    problem = adaptive(gamma0=1.3)
    neuron = Grid(directions_of(problem.inputs), torch.erf)
    scale = problem.inverse_temperature * problem.gamma0**2
    rng = np.random.default_rng(0)
    for _ in range(3):
        delta = torch.from_numpy(rng.normal(size=4) * 0.3)
        way = torch.from_numpy(rng.normal(size=4))
        moments = neuron.moments(delta, problem.strength)
        gradient = scale * (problem.targets - delta - problem.inverse_temperature * moments.kernel @ delta)
        h = 1e-3
        low, mid, high = (dual_value(problem, delta + t * way, neuron) for t in (-h, 0.0, h))
        assert (high - low) / (2 * h) == pytest.approx(float(gradient @ way), rel=1e-4)
        strength = problem.strength**2
        bend = scale * torch.eye(4) + strength * moments.kernel + strength**2 * moments.fourth
        assert (high - 2 * mid + low) / h**2 == pytest.approx(-float(way @ bend @ way), rel=1e-4)
        assert (high - 2 * mid + low) / h**2 < -scale * float(way @ way) * (1 - 1e-6)
    best = -solve_adaptive(problem).log_evidence
    assert best >= mid


def test_three_roads_to_the_linear_network():
    """The dual of one neuron, the number u, and (one hidden layer) the exact network at growing widths."""
    gram = X @ X.T / 2
    result = solve_adaptive(adaptive("linear"))
    rows = {"kernel_test_train": TEST @ X.T / 2, "kernel_test": (TEST**2).sum(1) / 2}
    closed = solve_deep_linear(DeepLinearProblem(gram, Y, depth=1, inverse_temperature=5.0, **rows))
    torch.testing.assert_close(result.train_mean, closed.train_mean, rtol=0, atol=1e-11)
    torch.testing.assert_close(result.test_mean, closed.test_mean, rtol=0, atol=1e-11)
    torch.testing.assert_close(result.kernel, closed.kernel, rtol=0, atol=1e-11)
    assert result.log_evidence == pytest.approx(closed.log_evidence, abs=1e-11)
    errors, spreads = [], []
    for width in (100, 200, 400):
        # gamma0 = 1: the prior of f has covariance s K / N and the likelihood the precision b N.
        scaled = {"kernel_test_train": rows["kernel_test_train"] / width, "kernel_test": rows["kernel_test"] / width}
        exact = solve_proportional(
            ProportionalProblem(gram / width, Y, [width], inverse_temperature=5.0 * width, **scaled)
        )
        errors.append(float((exact.test_mean - result.test_mean).norm()))
        spreads.append(float((width * exact.test_variance - result.test_fluctuation).norm()))
    for seen in (errors, spreads):
        assert seen[0] / seen[1] == pytest.approx(2.0, rel=0.1) and seen[1] / seen[2] == pytest.approx(2.0, rel=0.1)
    assert spreads[2] < 0.02 * float(result.test_fluctuation.norm())


@pytest.mark.parametrize("row", GOLDEN["deep_linear"], ids=lambda row: f"{row['depth']}-{row['gamma0']}")
def test_deep_linear_rows(row):
    problem = deep_linear(row["depth"], row["gamma0"])
    result = solve_deep_linear(problem)
    assert_golden(result.layer_scale, row["scale"])
    assert_golden(result.train_mean, row["train"])
    assert result.residual < 1e-14 * result.layer_scale + 1e-14


@pytest.mark.parametrize("depth", [1, 2])
def test_the_matrix_saddle_is_the_closed_form(depth):
    problem = deep_linear(depth)
    closed, matrices = solve_deep_linear(problem), solve_matrix_saddle(problem)
    assert matrices.residual < 1e-11
    torch.testing.assert_close(matrices.train_mean, closed.train_mean, rtol=0, atol=1e-10)
    torch.testing.assert_close(matrices.kernels[-1], closed.kernel, rtol=0, atol=1e-10)
    # u^L K, which predicts the same, is another kernel.
    scaled = closed.layer_scale**depth * problem.kernel
    assert float((matrices.kernels[-1] - scaled).abs().max()) > 0.5


def plain_damping(problem, num_steps, damping=0.05):
    """Kernels and conjugates damped together, each from the current law: the trap."""
    kernels = problem.kernel.repeat(2, 1, 1)
    conjugates, one = torch.zeros_like(kernels), torch.eye(4, dtype=torch.float64)
    for _ in range(num_steps):
        below = torch.stack([problem.kernel, kernels[0]])
        found = torch.linalg.solve(one + below @ conjugates, below)
        delta = torch.linalg.solve(one + 5.0 * kernels[1], problem.targets)
        inverse = torch.linalg.inv(kernels[0])
        asked = torch.stack([inverse - inverse @ found[1] @ inverse, -25.0 * torch.outer(delta, delta)])
        kernels, conjugates = kernels + damping * (found - kernels), conjugates + damping * (asked - conjugates)
    return kernels, conjugates, problem.targets - torch.linalg.solve(one + 5.0 * kernels[1], problem.targets)


def test_plain_damping_ends_at_a_wrong_point_and_the_residual_says_so():
    problem = deep_linear(2)
    truth = torch.tensor(GOLDEN["deep_linear"][2]["train"]["value"], dtype=torch.float64)
    for num_steps in (2000, 3000):
        kernels, conjugates, outputs = plain_damping(problem, num_steps)
        assert float((outputs - truth).norm()) > 0.5
        assert saddle_residual(problem, kernels, conjugates) > 1e-2
        assert float(torch.linalg.eigvalsh(kernels[1])[0]) < 0.0
    shipped = solve_matrix_saddle(problem)
    assert float((shipped.train_mean - truth).norm()) < 1e-6 and shipped.residual < 1e-11
    with pytest.raises(ConvergenceError, match="residual"):
        solve_matrix_saddle(problem, damping=1.9)


def test_exact_finite_width():
    width = 400
    result = solve_proportional(ProportionalProblem(KERNEL / width, Y, [width, width], inverse_temperature=5.0 * width))
    assert_golden(result.train_mean, GOLDEN["finite_width"]["train"])
    likelihood = solve_proportional(ProportionalProblem(np.eye(4), [math.sqrt(0.75)] * 4, [10]))
    assert_golden(math.exp(likelihood.log_evidence) * (2 * math.pi) ** 2, GOLDEN["meijer"])
    for row in GOLDEN["temperature"]:
        result = solve_proportional(ProportionalProblem(KERNEL, Y, [row["width"]], inverse_temperature=5.0))
        assert_golden(result.saddle_scale, row["saddle"])
        assert_golden(result.mean_scale, row["mean"])


@pytest.mark.parametrize("row", GOLDEN["saddle"], ids=lambda row: f"{row['depth']}-{row['ratio']}")
def test_proportional_saddle_and_the_exact_posterior_that_tends_to_it(row):
    gaps = []
    for samples in (20, 40, 80):
        width = round(samples / row["alpha"])
        problem = ProportionalProblem(np.eye(samples), [math.sqrt(row["ratio"])] * samples, [width] * row["depth"])
        result = solve_proportional(problem)
        assert_golden(result.saddle_layers, {**row["layer"], "value": [row["layer"]["value"]] * row["depth"]})
        gaps.append(result.mean_scale - result.saddle_scale)
        if row["depth"] == 1:
            # One layer at zero temperature: a generalized inverse Gaussian.
            order, root = 0.5 * (width - samples), math.sqrt(width * samples * row["ratio"])
            mean = math.sqrt(samples * row["ratio"] / width) * kve(order + 1, root) / kve(order, root)
            assert result.mean_scale == pytest.approx(mean, rel=1e-9)
    assert gaps[0] / gaps[1] == pytest.approx(2.0, rel=0.1) and gaps[1] / gaps[2] == pytest.approx(2.0, rel=0.1)


def test_rows_of_our_own():
    tanh = solve_adaptive(adaptive("tanh", 1.5))
    assert_golden(tanh.train_mean, GOLDEN["own_adaptive"]["train"])
    assert_golden(tanh.log_evidence, GOLDEN["own_adaptive"]["evidence"])
    assert_golden(solve_deep_linear(deep_linear(3)).train_mean, GOLDEN["own_deep_linear"]["train"])
    narrow = solve_proportional(ProportionalProblem(KERNEL, Y, [5, 9], inverse_temperature=5.0))
    assert_golden(narrow.log_evidence, GOLDEN["own_finite_width"]["evidence"])
    assert_golden(narrow.mean_scale, GOLDEN["own_finite_width"]["mean"])


def test_order_of_samples_and_a_singular_kernel():
    order = [2, 0, 3, 1]
    straight = solve_adaptive(adaptive())
    mixed = solve_adaptive(AdaptiveProblem(X[order], Y[order], TEST, gamma0=1.0, inverse_temperature=5.0))
    torch.testing.assert_close(mixed.train_mean, straight.train_mean[order], rtol=0, atol=1e-12)
    torch.testing.assert_close(mixed.kernel, straight.kernel[order][:, order], rtol=0, atol=1e-12)
    # X X' has rank 2 of 4: the dual does not invert it; a repeated input is no trouble either.
    again = solve_adaptive(AdaptiveProblem(np.vstack([X, X[:1]]), [*Y, Y[0]], gamma0=1.0, inverse_temperature=5.0))
    assert again.residual < 1e-12
    torch.testing.assert_close(again.train_mean[0], again.train_mean[4], rtol=0, atol=1e-12)


BAD = {
    "gamma0": (lambda: adaptive(gamma0=0.0), "gamma0 is 0"),
    "temperature": (lambda: NNGPProblem(X, Y, inverse_temperature=-1.0), "inverse_temperature is -1"),
    "targets": (lambda: AdaptiveProblem(X, Y[:3]), r"targets has shape \(3,\); expected \(4,\)"),
    "two outputs": (lambda: AdaptiveProblem(X, np.ones((4, 2))), r"targets has shape \(4, 2\)"),
    "test inputs": (lambda: NNGPProblem(X, Y, np.ones((1, 3))), r"test_inputs has shape \(1, 3\)"),
    "not finite": (lambda: NNGPProblem(X * math.nan, Y), "not finite"),
    "zeros": (lambda: AdaptiveProblem(0 * X, Y), "all zero"),
    "width": (lambda: ProportionalProblem(KERNEL, Y, [0]), r"widths\[0\] is 0"),
    "no layer": (lambda: ProportionalProblem(KERNEL, Y, []), "widths is empty"),
    "singular": (lambda: ProportionalProblem(X @ X.T, Y, [9]), "zero temperature"),
    "not psd": (lambda: DeepLinearProblem([[1.0, 2.0], [2.0, 1.0]], [1.0, 1.0]), "eigenvalue -1"),
    "half": (lambda: DeepLinearProblem(KERNEL, Y, kernel_test_train=KERNEL[:1]), "without kernel_test"),
    "variances": (
        lambda: DeepLinearProblem(KERNEL, Y, kernel_test_train=KERNEL[:1], kernel_test=[1.0, 1.0]),
        r"kernel_test has shape \(2,\)",
    ),
    "method": (lambda: solve_adaptive(adaptive(), method="guess"), "method 'guess'"),
    "replicas": (lambda: solve_adaptive(adaptive(), num_replicas=1), "num_replicas is 1"),
    "seed": (lambda: solve_adaptive(adaptive(), seed=-1), "seed is -1"),
    "inverse": (lambda: solve_matrix_saddle(DeepLinearProblem(X @ X.T, Y)), "solve_deep_linear"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(name):
    make, words = BAD[name]
    with one_sentence(SpecError, words):
        make()


def test_too_many_directions_for_a_grid():
    wide = AdaptiveProblem(np.eye(5), np.ones(5))
    with pytest.raises(ScopeError, match="sampling"):
        solve_adaptive(wide, method="quadrature")


def standard_scores(result, truth):
    errors = (result.train_error, result.test_error)
    gaps = (result.train_mean - truth.train_mean, result.test_mean - truth.test_mean)
    return torch.cat([gap / error for gap, error in zip(gaps, errors, strict=True)]).abs()


@pytest.mark.parametrize("activation", ["erf", "linear", "relu"])
def test_particles_agree_with_the_grid_within_their_stated_error(activation):
    problem = adaptive(activation)
    grid = solve_adaptive(problem)
    sampled = solve_adaptive(problem, method="sampling", num_particles=1024)
    # Student's t with 7 degrees of freedom: 8.0 has probability 1e-4.
    assert float(standard_scores(sampled, grid).max()) < 8.0
    assert abs(sampled.log_evidence - grid.log_evidence) < 8.0 * sampled.log_evidence_error
    assert float(sampled.train_error.max()) < 1e-3 and float(sampled.kernel_error.max()) < 0.02
    # Mutants: ten percent more feature learning, and none.
    stronger = solve_adaptive(adaptive(activation, 1.1))
    lazy = solve_nngp(NNGPProblem(X, Y, TEST, activation=activation, inverse_temperature=5.0))
    assert float(standard_scores(sampled, stronger).max()) > 8.0
    assert float(standard_scores(sampled, lazy).max()) > 8.0


def test_particles_are_the_same_twice():
    one, two = (solve_adaptive(adaptive(), method="sampling", num_particles=64, num_replicas=2) for _ in range(2))
    assert torch.equal(one.kernel, two.kernel)


def test_particles_where_no_grid_reaches():
    """Five orthogonal inputs of a linear network against the number u."""
    targets = [1.0, -0.5, 0.7, -0.9, 0.3]
    problem = AdaptiveProblem(np.eye(5) * 5**0.5, targets, activation="linear", inverse_temperature=3.0)
    sampled = solve_adaptive(problem, num_particles=1024)
    assert sampled.method == "sampling"
    exact = solve_deep_linear(DeepLinearProblem(np.eye(5), targets, inverse_temperature=3.0))
    assert float(((sampled.train_mean - exact.train_mean) / sampled.train_error).abs().max()) < 8.0
    assert float(sampled.train_error.max()) < 1e-3


def test_a_grid_whose_rim_carries_weight_is_enlarged() -> None:
    """Far from the prior the first grid loses the law, which stops Newton's method before the rim is looked at."""
    found = solve_adaptive(
        AdaptiveProblem([[1.0]], [10.0], activation="linear", gamma0=3.0, inverse_temperature=10.0), method="quadrature"
    )
    exact = solve_deep_linear(DeepLinearProblem([[1.0]], [10.0], depth=1, gamma0=3.0, inverse_temperature=10.0))
    assert found.train_mean[0] == pytest.approx(exact.train_mean[0].item(), rel=1e-7)
