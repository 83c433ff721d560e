"""Exact relations between the solvers, and recorded numbers of those that sample nothing."""

import tomllib

import numpy as np
import pytest

from limes.core.errors import ScopeError, SpecError
from limes.theory.dynamics import (
    MLPProblem,
    Observable,
    ResNetProblem,
    SpinGlassProblem,
    extrapolate_depth,
    finite_width_covariance,
    solve_dmft_alternating,
    solve_dmft_linear,
    solve_dmft_mlp,
    solve_dmft_resnet,
    solve_dmft_two_layer,
    solve_learning_rule,
    solve_small_gamma0,
    solve_spin_glass,
    solve_static_ntk,
    spin_glass_closed_form,
    spin_glass_flow_overlap,
    two_layer_output_covariance,
)
from support.dmft_cases import GOLDEN, golden_cases, loss_samples, problem_fields, samples, small_problem
from support.stats import assert_golden, assert_mean, assert_order

LINEAR = golden_cases("linear_mlp")


@pytest.mark.parametrize("name", LINEAR)
def test_linear_networks_reproduce_the_record(name: str) -> None:
    case = LINEAR[name]
    result = solve_dmft_linear(MLPProblem(**problem_fields(case)))
    loss = result.loss[case["times"]]
    np.testing.assert_allclose(loss, case["value"], rtol=case["tolerance"])
    last = case["num_times"] - 1
    for layer, (diagonal, gradient) in enumerate(
        zip(case["final_feature_diagonal"], case["final_gradient"], strict=True), start=1
    ):
        np.testing.assert_allclose(np.diag(result.feature_kernel(layer, last)), diagonal, rtol=1e-11)
        np.testing.assert_allclose(result.gradient_kernel(layer, last), gradient, rtol=1e-11)
    if "forward_response" in case:
        assert result.responses["forward_1"][10, 0, 5] == pytest.approx(case["forward_response"], rel=1e-10)
        assert result.responses["backward_1"][10, 5, 0] == pytest.approx(case["backward_response"], rel=1e-10)


@pytest.mark.parametrize("name", golden_cases("lazy"))
def test_the_lazy_limit_reproduces_the_record(name: str) -> None:
    case = golden_cases("lazy")[name]
    result = solve_static_ntk(MLPProblem(**(problem_fields(case) | {"gamma0": 1.0})))
    np.testing.assert_allclose(result.loss[case["times"]], case["value"], rtol=case["tolerance"])
    np.testing.assert_allclose(result.ntk(0), case["ntk"], rtol=0, atol=case["tolerance"])


def test_one_hidden_layer_has_two_solvers() -> None:
    problem = small_problem(
        depth=1, activation="erf", lr_scale=[0.5, 1.5], weight_var=[2.0, 1.0], batches=[[0, 1]] * 11
    )
    general = solve_dmft_mlp(problem, num_particles=512)
    special = solve_dmft_two_layer(problem, num_particles=512)
    np.testing.assert_allclose(special.outputs, general.outputs, atol=1e-12)
    np.testing.assert_allclose(special.feature_kernel(1, 11, 3), general.feature_kernel(1, 11, 3), atol=1e-12)
    np.testing.assert_allclose(special.preactivations(1, 11), general.preactivations(1, 11), atol=1e-10)


def test_particles_solve_the_linear_equations_with_scales_batches_and_held_out_inputs() -> None:
    fields = {
        "activation": "linear",
        "depth": 3,
        "lr": 0.15,
        "weight_var": [1.5, 0.7, 1.2, 1.0],
        "lr_scale": [0.5, 1.0, 1.5, 0.7],
        "batches": [[0, 1], [2]] * 5 + [[1, 1]],
        "lr_schedule": list(np.linspace(1.0, 0.5, 11)),
        "test_inputs": samples(5, 5)[0][3:],
    }
    exact = solve_dmft_linear(small_problem(**fields))
    particles = solve_dmft_mlp(small_problem(**fields), num_particles=1024, num_scrambles=16)
    for t in (3, 7, 11):
        assert_mean(loss_samples(particles)[:, t], exact.loss[t])
        outputs = np.array([run.outputs[t, 4, 0] for run in particles.trajectories])
        assert_mean(outputs, exact.test_outputs[t, 1])
    with pytest.raises(AssertionError, match="mean"):
        other = solve_dmft_mlp(small_problem(**fields, gamma0=1.1), num_particles=1024, num_scrambles=16)
        assert_mean(loss_samples(other)[:, 11], exact.loss[11])


def test_responses_act_as_those_of_the_linear_equations() -> None:
    problem = small_problem(activation="linear", lr=0.2)
    exact = solve_dmft_linear(problem)
    t, times = 9, range(9)
    gradient = np.array([[exact.gradient_kernel(2, s, r)[0, 0] for r in times] for s in times])
    expected = exact.responses["forward_1"][t, :, :t] @ gradient
    acted = []
    for seed in range(16):
        result = solve_dmft_mlp(problem, num_particles=1024, num_scrambles=1, seed=seed)
        own = np.array([[result.gradient_kernel(2, s, r)[0, 0] for r in times] for s in times])
        acted.append(result.forward_response(1, t).sum(-1) @ own)
    for mu in range(3):
        assert_mean(np.array(acted)[:, mu, 4], expected[mu, 4])
        with pytest.raises(AssertionError, match="mean"):
            assert_mean(np.array(acted)[:, mu, 4], 1.1 * expected[mu, 4])
    backward = solve_dmft_mlp(problem, num_particles=1024).backward_response(1, t)
    assert backward.shape == (3, t + 1, 3)


def test_the_alternating_solver_agrees_and_sees_the_responses() -> None:
    problem = small_problem(inputs=samples(2, 5)[0], targets=[1.0, -1.0], num_times=8, lr=0.6)
    alternating = solve_dmft_alternating(problem, num_paths=500, num_tangents=100, num_scrambles=16, tolerance=1e-3)
    exact = solve_dmft_mlp(problem, num_particles=4096)
    for t in (3, 7):
        assert_mean(loss_samples(alternating)[:, t], exact.loss[t], bias=exact.loss_error[t])
        dropped = solve_dmft_mlp(problem, num_particles=4096, responses=False)
        with pytest.raises(AssertionError, match="mean"):
            assert_mean(loss_samples(alternating)[:, t], dropped.loss[t], bias=dropped.loss_error[t])


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_the_expansion_in_gamma0_is_right_to_fourth_order(depth: int) -> None:
    gammas, errors = np.array([0.1, 0.05, 0.025, 0.0125]), []
    for gamma0 in gammas:
        problem = small_problem(activation="linear", depth=depth, gamma0=gamma0, lr=0.2)
        exact, expansion = solve_dmft_linear(problem), solve_small_gamma0(problem)
        errors.append(
            max(
                np.abs(getattr(exact, kind)(layer, 11, 7) - getattr(expansion, kind)(layer, 11, 7)).max()
                for kind in ("feature_kernel", "gradient_kernel")
                for layer in range(1, depth + 1)
            )
        )
    assert_order(gammas, np.array(errors), 3.9)


def test_multiple_outputs_that_repeat_one_output_train_like_it() -> None:
    """Two equal targets: each readout sees its own error, and hidden layers are driven by both."""
    single = small_problem()
    both = small_problem(targets=np.stack([single.targets, 0 * single.targets], axis=1))
    result = solve_dmft_mlp(both, num_particles=1024, num_scrambles=16)
    assert result.outputs.shape == (12, 3, 2)
    assert result.gradient_kernel(1, 3).shape == (3, 2, 3, 2)
    assert result.ntk(3).shape == (3, 2, 3, 2)
    # By symmetry the silent readout stays silent in the mean, and the other follows the single-output network.
    silent = np.array([run.outputs[11, 0, 1] for run in result.trajectories])
    assert_mean(silent, 0.0)
    one = solve_dmft_mlp(single, num_particles=4096)
    spoken = np.array([run.outputs[11, 0, 0] for run in result.trajectories])
    assert_mean(spoken, one.outputs[11, 0], bias=one.outputs_error[11, 0])


def test_gradient_descent_is_one_of_the_rules() -> None:
    problem = small_problem()
    rule = solve_learning_rule(problem, rule="gradient_descent", num_particles=512)
    np.testing.assert_array_equal(rule.loss, solve_dmft_mlp(problem, num_particles=512).loss)


@pytest.mark.parametrize("name", golden_cases("learning_rule"))
def test_learning_rules_reproduce_the_record(name: str) -> None:
    case = golden_cases("learning_rule")[name]
    rule = {"fa": "feedback_alignment", "hebb": "hebbian"}[case["rule"]]
    result = solve_learning_rule(MLPProblem(**problem_fields(case)), rule=rule, num_particles=1024, num_scrambles=16)
    for index, t in enumerate(case["times"]):
        assert_mean(loss_samples(result)[:, t], case["value"][index], bias=case["errors"][index])


@pytest.mark.parametrize("name", ["resnet_L1", "resnet_L2"])
def test_residual_networks_reproduce_the_record(name: str) -> None:
    case = golden_cases("resnet")[name]
    result = solve_dmft_resnet(ResNetProblem(**problem_fields(case)), num_particles=1024, num_scrambles=16)
    for index, t in enumerate(case["times"]):
        assert_mean(loss_samples(result)[:, t], case["value"][index], bias=case["errors"][index])


def test_residual_networks_converge_with_depth() -> None:
    inputs, targets = samples(3, 5)
    fields = {"inputs": inputs, "targets": targets, "activation": "tanh", "gamma0": 1.0, "lr": 0.3, "num_times": 8}
    settings = {"num_particles": 1024, "num_scrambles": 4}
    results = [solve_dmft_resnet(ResNetProblem(depth=d, **fields), **settings) for d in (2, 4, 8)]
    limit = extrapolate_depth(results)
    gaps = [abs(result.loss[7] - limit.loss[7]) for result in results]
    assert gaps[0] > gaps[1] > gaps[2]
    assert limit.slope[7] > 0
    with pytest.raises(SpecError, match="at least two"):
        extrapolate_depth(results[:1])


def test_spin_glass_recursion_equals_its_closed_form() -> None:
    problem = SpinGlassProblem(eta=0.3, num_times=41)
    recursion, closed = solve_spin_glass(problem), spin_glass_closed_form(problem)
    np.testing.assert_allclose(recursion.correlation, closed.correlation, rtol=1e-13)
    np.testing.assert_allclose(recursion.response, closed.response, rtol=1e-13)
    with GOLDEN.open("rb") as file:
        golden = tomllib.load(file)
    result = solve_spin_glass(SpinGlassProblem(eta=0.1, num_times=41))
    for t, s in ((40, 40), (40, 0)):
        assert_golden(result.correlation[t, s], golden[f"spin_glass_C_{t}_{s}"])
        assert_golden(result.response[t, s], golden[f"spin_glass_R_{t}_{s}"])
        assert_golden(result.overlap[t, s], golden[f"spin_glass_overlap_{t}_{s}"])


def test_spin_glass_tends_to_gradient_flow() -> None:
    steps = np.array([0.2, 0.1, 0.05, 0.025])
    errors = []
    for eta in steps:
        num = round(2.0 / eta)
        overlap = solve_spin_glass(SpinGlassProblem(eta=eta, num_times=num + 1)).overlap[num, num // 2]
        errors.append(abs(overlap - spin_glass_flow_overlap(2.0, 1.0)))
    assert_order(steps, np.array(errors), 0.9)


def test_influence_functions_reproduce_the_propagator_and_the_record() -> None:
    case = golden_cases("covariance")["covariance_two_layer_g1"]
    problem = MLPProblem(**problem_fields(case))
    times = (5, 10, 19)
    watched = [Observable(kind="output", time=t, sample=mu) for t in times for mu in range(4)]
    influence = finite_width_covariance(problem, watched, num_particles=512, num_scrambles=4)
    propagator = two_layer_output_covariance(problem, num_particles=512, num_scrambles=2)
    index = np.ix_(times, range(4), times, range(4))
    recorded = np.array(case["value"])
    scale = np.linalg.norm(recorded)
    # The stated accuracy of both is 2 % of the Frobenius norm.
    assert np.linalg.norm(influence - recorded) < 0.02 * scale + case["tolerance"]
    assert np.linalg.norm(propagator[index].reshape(12, 12) - recorded) < 0.02 * scale + case["tolerance"]


@pytest.mark.parametrize("depth", [1, 2])
def test_influence_functions_reproduce_the_record_at_any_depth(depth: int) -> None:
    case = golden_cases("covariance")[f"covariance_influence_L{depth}"]
    watched = [Observable(kind="output", time=t, sample=0) for t in (3, 6, 11)]
    watched.append(Observable(kind="output", time=6, sample=1))
    watched += [Observable(kind="feature", layer=depth, time=11, sample=0, other=other) for other in (0, 1)]
    covariance = finite_width_covariance(MLPProblem(**problem_fields(case)), watched, num_particles=1024)
    recorded = np.array(case["value"])
    assert np.linalg.norm(covariance - recorded) < 0.02 * np.linalg.norm(recorded) + case["tolerance"]


@pytest.mark.parametrize(
    ("solve", "changes"),
    [
        (solve_dmft_linear, {}),
        (solve_dmft_linear, {"activation": "linear", "momentum": 0.5}),
        (solve_dmft_two_layer, {}),
        (solve_small_gamma0, {}),
        (solve_static_ntk, {"weight_decay": 0.1}),
        (solve_dmft_alternating, {"activation": "relu"}),
        (solve_dmft_alternating, {"momentum": 0.5}),
        (two_layer_output_covariance, {}),
    ],
)
def test_what_a_solver_does_not_cover_is_a_scope_error(solve, changes: dict) -> None:
    with pytest.raises(ScopeError, match=r"solve_|static|tangent|derivative"):
        solve(small_problem(**changes))
