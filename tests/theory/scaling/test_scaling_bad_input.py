"""Bad input to the theories of scaling: one sentence that has the value and what was expected."""

import math

import numpy as np
import pytest
import torch

from limes.core.errors import LimesError, ScopeError, SpecError
from limes.theory.scaling import (
    FeatureLearningProblem,
    Projection,
    RandomFeatureProblem,
    Wishart,
    balance,
    bottlenecks,
    circle_task,
    compute_frontier,
    local_exponents,
    loss_table,
    loss_terms,
    power_law_problem,
    ridge_equivalent,
    scaling_exponents,
    sgd_phase,
    simulate_feature_learning,
    simulate_random_features,
    solve_feature_learning,
    solve_random_features,
)

ONE = RandomFeatureProblem([1.0, 0.5], [1.0, 0.2], num_features=4, num_samples=6)
LAW = power_law_problem(1.5, 1.25, 100)
RICH = FeatureLearningProblem([1.0, 0.5], [1.0, 0.2], gamma=1.0)
NARROW = FeatureLearningProblem([1.0, 0.5], [1.0, 0.2], gamma=1.0, num_features=5)
SEED = torch.Generator()

CASES = {
    "spectrum not summable": (lambda: power_law_problem(1.5, 0.9, 100), "b is 0.9.*above 1"),
    "target not summable": (lambda: power_law_problem(1.0, 1.5, 100), "a is 1.*above 1"),
    "no modes": (lambda: power_law_problem(1.5, 1.5, 0), "num_modes is 0"),
    "too many modes": (lambda: power_law_problem(1.5, 1.5, math.inf), "num_modes is inf.*1e15"),
    "coarse bins": (lambda: power_law_problem(1.5, 1.5, 100, nodes_per_octave=3), "nodes_per_octave 3"),
    "negative power": (lambda: RandomFeatureProblem([1.0, 0.5], [1.0, -0.2]), r"target_power\[1\] is -0.2"),
    "negative eigenvalue": (lambda: RandomFeatureProblem([-1.0], [1.0]), r"spectrum\[0\] is -1"),
    "nan": (lambda: RandomFeatureProblem([math.nan], [1.0]), r"spectrum\[0\] is nan"),
    "no spectrum": (lambda: RandomFeatureProblem([0.0], [1.0]), "all zero"),
    "lengths": (lambda: RandomFeatureProblem([1.0, 0.5], [1.0]), r"target_power has shape \(1,\).*\(2,\)"),
    "words": (lambda: RandomFeatureProblem(["a"], [1.0]), "spectrum: expected an array of numbers"),
    "no width": (lambda: RandomFeatureProblem([1.0], [1.0], num_features=0), "num_features is 0"),
    "negative samples": (lambda: RandomFeatureProblem([1.0], [1.0], num_samples=-3), "num_samples is -3"),
    "width in words": (lambda: RandomFeatureProblem([1.0], [1.0], num_features="many"), "num_features is 'many'"),
    "negative noise": (lambda: RandomFeatureProblem([1.0], [1.0], noise_var=-0.1), "noise_var is -0.1"),
    "momentum": (lambda: RandomFeatureProblem([1.0], [1.0], lr=0.1, momentum=1.0), "momentum is 1.0"),
    "momentum without lr": (lambda: RandomFeatureProblem([1.0], [1.0], momentum=0.5), "momentum 0.5 without lr"),
    "inertia with lr": (lambda: RandomFeatureProblem([1.0], [1.0], lr=0.1, inertia=1.0), "inertia 1 with lr"),
    "batch without lr": (lambda: RandomFeatureProblem([1.0], [1.0], batch_size=4), "batch_size 4 without lr"),
    "two noises": (lambda: RandomFeatureProblem([1.0], [1.0], lr=0.1, batch_noise=0.1), "batch_noise 0.1 with lr"),
    "multi-pass": (lambda: RandomFeatureProblem([1.0], [1.0], num_samples=9, lr=0.1, batch_size=4), "one-pass"),
    "noise and ridge": (lambda: RandomFeatureProblem([1.0], [1.0], batch_noise=0.1, ridge=0.1), "ridge 0.1"),
    "decreasing times": (lambda: solve_random_features(ONE, [2.0, 1.0]), r"times\[1\] is 1 after 2"),
    "negative times": (lambda: solve_random_features(ONE, [-1.0]), "times"),
    "fractional steps": (lambda: solve_random_features(RandomFeatureProblem([1.0], [1.0], lr=0.1), [0.5]), "whole"),
    "unstable lr": (
        lambda: solve_random_features(RandomFeatureProblem([1.0], [1.0], num_samples=2, lr=1.0), [1]),
        "lr is 1.*diverges.*below 0.6863",
    ),
    "unstable sgd": (
        lambda: solve_random_features(RandomFeatureProblem([1.0], [1.0], lr=2.5, batch_size=4), [1]),
        "lr is 2.5: SGD diverges",
    ),
    "small batch": (
        lambda: solve_random_features(RandomFeatureProblem(np.ones(9), np.ones(9), lr=0.5, batch_size=2), [1]),
        "noise feeds back 1.5 times",
    ),
    "batch noise": (
        lambda: solve_random_features(RandomFeatureProblem([1.0], [1.0], batch_noise=3.0), [1.0]),
        "batch_noise is 3.*below 2",
    ),
    "too many steps": (
        lambda: solve_random_features(RandomFeatureProblem([1.0], [1.0], lr=0.1, batch_size=4), [10_000_000]),
        "10000000 steps",
    ),
    "nodes": (lambda: solve_random_features(ONE, [1.0], num_nodes=7), "num_nodes is 7"),
    "endless inertia": (
        lambda: solve_random_features(RandomFeatureProblem([1.0], [1.0], inertia=1e4), [1e5]),
        "modes still oscillate",
    ),
    "ensemble of none": (lambda: solve_random_features(ONE, [1.0]).ensemble_loss(0.5), "num_members is 0.5"),
    "ensemble of copies": (
        lambda: solve_random_features(ONE, [1.0]).ensemble_loss(2, own_features=False),
        "members with the same features",
    ),
    "variance of sgd": (
        lambda: solve_random_features(power_law_problem(1.5, 1.25, 10, batch_noise=0.1), [1.0]).bias,
        "not split into parts",
    ),
    "table of steps": (
        lambda: loss_table(RandomFeatureProblem([1.0], [1.0], lr=0.1), num_features=1, num_samples=1, times=1),
        "loss_table is for gradient flow",
    ),
    "table of nothing": (lambda: loss_table(ONE, num_features=0, num_samples=1, times=1), "num_features"),
    "table at infinity": (lambda: loss_table(ONE, num_features=1, num_samples=1, times=math.inf), "ridge_equivalent"),
    "no rows": (lambda: Wishart(0.0), "num_rows is 0"),
    "empty layer": (lambda: ridge_equivalent(ONE, layers=[Projection(0.0, 5.0)]), "num_rows is 0"),
    "wide projection": (lambda: Projection(12.0, 6.0), "num_rows 12 is above num_modes 6"),
    "a below 1": (lambda: scaling_exponents(0.9, 1.5), "a is 0.9"),
    "b below 1": (lambda: loss_terms(1.5, 1.0), "b is 1.0"),
    "noise without samples": (lambda: loss_terms(1.5, 1.5, label_noise=True), "without finite_samples"),
    "unknown resource": (lambda: balance(loss_terms(1.5, 1.5), {"money": 1.0}), "money"),
    "a boundary": (lambda: sgd_phase(2.5, 1.5), "boundary"),
    "falling compute": (lambda: compute_frontier(LAW, [1e6, 1e5]), "increasing"),
    "little compute": (lambda: compute_frontier(LAW, [3.0]), "starts at 3"),
    "frontier in steps": (lambda: compute_frontier(power_law_problem(1.5, 1.25, 9, lr=0.1), [1e5]), "lr is 0.1"),
    "frontier of samples": (
        lambda: compute_frontier(power_law_problem(1.5, 1.25, 9, batch_noise=0.1), [1e5], optimize_samples=True),
        "optimize_samples with batch noise",
    ),
    "bottlenecks of sgd": (lambda: bottlenecks(power_law_problem(1.5, 1.25, 9, batch_noise=0.1), [1.0]), "batch noise"),
    "slopes": (lambda: local_exponents([1.0, 2.0], [1.0, -1.0]), "positive"),
    "negative gamma": (lambda: FeatureLearningProblem([1.0], [1.0], gamma=-1.0), "gamma is -1.0"),
    "finite width, exact": (
        lambda: solve_feature_learning(FeatureLearningProblem([1.0], [1.0], gamma=1.0, num_features=5), [1.0]),
        "method='surrogate'",
    ),
    "unknown method": (lambda: solve_feature_learning(RICH, [1.0], method="guess"), "'guess'"),
    "infinite time twice": (lambda: solve_random_features(ONE, [math.inf, math.inf]), "times"),
    "infinite time": (lambda: solve_feature_learning(RICH, [math.inf]), "infinity"),
    "few steps": (lambda: solve_feature_learning(RICH, [1.0], steps_per_fold=2), "steps_per_fold is 2"),
    "steps in words": (lambda: solve_feature_learning(RICH, [1.0], steps_per_fold="many"), "steps_per_fold is 'many'"),
    "no draws of features": (
        lambda: simulate_feature_learning(NARROW, [1.0], num_draws=0, generator=SEED),
        "num_draws is 0",
    ),
    "tolerance": (
        lambda: simulate_feature_learning(NARROW, [1.0], num_draws=1, generator=SEED, tolerance=math.nan),
        "tolerance is nan",
    ),
    "few sizes": (lambda: compute_frontier(LAW, [1e5], num_sizes=3), "num_sizes is 3.*at least 4"),
    "shortest time": (lambda: compute_frontier(LAW, [1e5], shortest_time="now"), "shortest_time is 'now'"),
    "no terms": (lambda: balance([], {"time": 1.0}), "terms is empty"),
    "endless cost": (lambda: balance(loss_terms(1.5, 1.25), {"time": math.inf}), r"cost\['time'\] is inf"),
    "slope of no step": (lambda: local_exponents([1.0, 1.0], [1.0, 2.0]), "neighbours that differ"),
    "circle": (lambda: circle_task(0.5), "target_decay is 0.5"),
    "simulated width": (
        lambda: simulate_random_features(LAW, [1.0], num_draws=1, generator=SEED),
        "num_features is inf",
    ),
    "no draws": (lambda: simulate_random_features(ONE, [1.0], num_draws=0, generator=SEED), "num_draws is 0"),
    "fractions of modes": (
        lambda: simulate_random_features(
            power_law_problem(1.5, 1.25, 1e6, num_features=4, num_samples=5), [1.0], num_draws=1, generator=SEED
        ),
        "multiplicity holds fractions",
    ),
    "simulated features": (
        lambda: simulate_feature_learning(RICH, [1.0], num_draws=1, generator=SEED),
        "num_features is inf",
    ),
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_bad_input_is_one_sentence(name):
    call, match = CASES[name]
    with pytest.raises((SpecError, ScopeError), match=match) as caught:
        call()
    message = str(caught.value)
    assert isinstance(caught.value, LimesError) and "\n" not in message and len(message) < 320


def test_problems_keep_a_copy_and_cannot_be_changed():
    values = np.array([1.0, 0.5])
    problem = RandomFeatureProblem(values, torch.tensor([1.0, 0.2]))
    values[0] = 7.0
    assert problem.spectrum[0] == 1.0 and problem.target_power.dtype == np.float64
    with pytest.raises(ValueError, match="read-only"):
        problem.spectrum[0] = 2.0
