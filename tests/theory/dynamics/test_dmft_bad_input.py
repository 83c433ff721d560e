"""Every mistake in a problem or a setting is one clear sentence that names what was got."""

from typing import Any

import numpy as np
import pytest

from limes.core.errors import ConvergenceError, SpecError
from limes.core.status import SolveStatus
from limes.theory.dynamics import (
    Observable,
    ResNetProblem,
    finite_width_covariance,
    predict_cost,
    solve_dmft_linear,
    solve_dmft_mlp,
    solve_dmft_two_layer,
    solve_learning_rule,
)
from support.dmft_cases import samples, small_problem
from support.refusals import one_sentence

NAN_INPUTS = samples(3, 5)[0].copy()
NAN_INPUTS[1, 2] = np.nan
PROBLEMS: list[tuple[dict[str, Any], str]] = [
    ({"inputs": NAN_INPUTS}, r"inputs has 1 values that are not finite, the first at index \(1, 2\)"),
    ({"inputs": np.zeros((3, 5))}, "inputs are all zero"),
    ({"inputs": np.zeros(5)}, r"inputs has shape \(5,\); expected a non-empty array with 2 axes"),
    ({"inputs": "text"}, "expected an array of numbers, got str"),
    ({"targets": [1.0, 2.0]}, "inputs has 3 samples, targets has 2"),
    ({"targets": [1.0, np.inf, 0.0]}, "targets has 1 values that are not finite"),
    ({"test_inputs": np.ones((2, 4))}, "test_inputs has 4 columns, inputs has 5"),
    ({"depth": 0}, "depth is 0; expected a whole number of at least 1"),
    ({"depth": 1.5}, "depth is 1.5; expected a whole number"),
    ({"activation": "swish"}, "activation 'swish': expected one of"),
    ({"gamma0": 0.0}, "gamma0 is 0.0; .* lazy limit .* solve_static_ntk"),
    ({"gamma0": -1}, "gamma0 is -1; .* solve_static_ntk"),
    ({"gamma0": np.nan}, "gamma0 is nan; expected a finite number above 0"),
    ({"lr": 0.0}, "lr is 0.0; expected a finite number above 0"),
    ({"num_times": 0}, "num_times is 0"),
    ({"momentum": 1.0}, "momentum is 1.0; expected a finite number at least 0 and below 1"),
    ({"weight_decay": 1.0}, "one update must remove less than the whole weight"),
    ({"weight_decay": [0.1, 0.1]}, "weight_decay has 2 entries; expected 3, one per weight matrix"),
    ({"decay_mode": "l2"}, "decay_mode is 'l2'; expected one of decoupled, torch_sgd"),
    ({"lr_scale": [1.0]}, "lr_scale has 1 entries; expected 3"),
    ({"weight_var": [1.0, 0.0, 1.0]}, r"weight_var\[1\] is 0.0; expected a finite number above 0"),
    ({"batches": [[0]] * 3}, "batches has 3 index lists; expected 11, one per update"),
    ({"batches": [[0]] * 10 + [[3]]}, r"batches\[10\] is \[3\]; indices must be from 0 to 2"),
    ({"batches": [[]] * 11}, r"batches\[0\] is \[\]; expected a non-empty list"),
    ({"lr_schedule": [1.0]}, r"lr_schedule has shape \(1,\); expected \(11,\)"),
]
SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"num_particles": 1000}, "num_points is 1000; Sobol points need a power of two"),
    ({"num_particles": 1}, "num_particles is 1; expected a whole number of at least 2"),
    ({"tolerance": 2.0}, "tolerance is 2.0; expected a finite number at least 0 and below 1"),
    ({"num_scrambles": 0}, "num_scrambles is 0"),
    ({"noise": "halton"}, "noise is 'halton'; expected one of sobol, independent"),
    ({"field_times": [12]}, "field_times is 12"),
    ({"memory_limit": 1e-6}, "predicted to take .* GiB .*; use fewer particles"),
    ({"time_limit": 1e-6}, r"predicted to take .* CPU seconds \(limit 1e-06\)"),
]


@pytest.mark.parametrize(("changes", "sentence"), PROBLEMS)
def test_a_bad_problem_is_refused(changes: dict, sentence: str) -> None:
    with one_sentence(SpecError, sentence):
        small_problem(**changes)


@pytest.mark.parametrize(("changes", "sentence"), SETTINGS)
def test_a_bad_setting_is_refused(changes: dict, sentence: str) -> None:
    with pytest.raises(SpecError, match=sentence):
        solve_dmft_mlp(small_problem(), **changes)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [({"alpha": 0.3}, "alpha is 0.3; expected a finite number at least 0.5"), ({"beta": 0.0}, "beta is 0.0")],
)
def test_a_bad_residual_problem_is_refused(changes: dict, sentence: str) -> None:
    inputs, targets = samples(3, 5)
    fields = {"depth": 2, "activation": "tanh", "gamma0": 1.0, "lr": 0.3, "num_times": 4}
    with pytest.raises(SpecError, match=sentence):
        ResNetProblem(inputs=inputs, targets=targets, **fields, **changes)


@pytest.mark.parametrize("solve", [solve_dmft_mlp, solve_dmft_linear, solve_dmft_two_layer])
def test_divergence_names_the_step_and_keeps_what_came_before(solve) -> None:
    depth = 1 if solve is solve_dmft_two_layer else 2
    problem = small_problem(activation="linear", depth=depth, lr=60.0)
    with pytest.raises(ConvergenceError, match=r"diverge at step \d+ of 11 with lr 60; lower lr"):
        solve(problem)
    result = solve(problem, throw=False)
    assert result.status is SolveStatus.DIVERGED
    assert np.isfinite(result.loss[0]) and np.isnan(result.loss[-1])


def test_too_few_particles_are_reported_with_the_number_to_use() -> None:
    with pytest.raises(ConvergenceError, match=r"directions were revealed with 16 particles, more than half; raise"):
        solve_dmft_mlp(small_problem(), num_particles=16, tolerance=1e-12)


def test_one_scramble_has_no_error_estimate() -> None:
    result = solve_dmft_mlp(small_problem(), num_particles=64, num_scrambles=1, tolerance=1e-3)
    assert np.isnan(result.loss_error).all()


def test_questions_outside_a_result_are_refused() -> None:
    result = solve_dmft_mlp(small_problem(), num_particles=256, num_scrambles=1, two_time=False)
    for call in (
        lambda: result.feature_kernel(3, 0),
        lambda: result.gradient_kernel(1, 12),
        lambda: result.feature_kernel(2, 5),
        lambda: result.preactivations(1, 5),
        lambda: result.forward_response(2, 5),
    ):
        with pytest.raises(SpecError):
            call()
    assert result.feature_kernel(1, 5, 3).shape == (3, 3)
    assert result.preactivations(1, 11).shape == (3, 256)
    assert result.backfields(2, 0).shape == (3, 1, 256)


@pytest.mark.parametrize(
    "fields",
    [{"kind": "weights", "time": 0}, {"kind": "output", "time": 12}, {"kind": "output", "time": 0, "sample": 3}],
)
def test_a_bad_observable_is_refused(fields: dict) -> None:
    with pytest.raises(SpecError, match="of an observable is"):
        finite_width_covariance(small_problem(), [Observable(**fields)])


def test_unknown_rule_is_refused() -> None:
    with pytest.raises(SpecError, match="rule is 'oja'; expected one of gradient_descent"):
        solve_learning_rule(small_problem(), rule="oja")


def test_relu_is_predicted_to_cost_more_than_tanh() -> None:
    costs = {
        name: predict_cost(small_problem(activation=name, num_times=50), num_particles=2048, num_scrambles=1)
        for name in ("relu", "tanh")
    }
    assert costs["relu"].rank == 150 > costs["tanh"].rank
    assert costs["relu"].seconds > costs["tanh"].seconds
