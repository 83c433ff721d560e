"""The mean field dynamics against trained networks of finite width, extrapolated in 1 / width, with mutants.

Every case has its own seeds, so that a chance deviation does not show in all of them at once.
"""

import zlib
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from limes.theory.dynamics import MLPProblem, initial_weights, solve_dmft_mlp, train_network
from support.dmft_cases import loss_samples, small_problem
from support.stats import assert_limit

pytestmark = pytest.mark.sim

WIDTHS = (64, 128, 256, 512)
NUM_SEEDS = 40
TIMES = (2, 5, 8, 11)
SGD = {"lr": 0.5}
MOMENTUM = {"lr": 0.08, "momentum": 0.8}
# Every pair of activation, depth, gamma0 and optimizer occurs in some case.
CASES: dict[str, dict[str, Any]] = {
    "tanh_1_2.0": {"activation": "tanh", "depth": 1, "gamma0": 2.0, **SGD},
    "tanh_2_0.1": {"activation": "tanh", "depth": 2, "gamma0": 0.1, **SGD},
    "tanh_2_1.0": {"activation": "tanh", "depth": 2, "gamma0": 1.0, **SGD},
    "tanh_3_0.1": {"activation": "tanh", "depth": 3, "gamma0": 0.1, **MOMENTUM},
    "tanh_3_2.0": {"activation": "tanh", "depth": 3, "gamma0": 2.0, **SGD},
    "erf_1_1.0": {"activation": "erf", "depth": 1, "gamma0": 1.0, **MOMENTUM},
    "erf_2_2.0": {"activation": "erf", "depth": 2, "gamma0": 2.0, **SGD},
    "erf_3_0.1": {"activation": "erf", "depth": 3, "gamma0": 0.1, **SGD},
    "relu_1_1.0": {"activation": "relu", "depth": 1, "gamma0": 1.0, **SGD},
    "relu_2_1.0": {"activation": "relu", "depth": 2, "gamma0": 1.0, **MOMENTUM},
    "relu_2_2.0": {"activation": "relu", "depth": 2, "gamma0": 2.0, **MOMENTUM},
    "relu_3_0.1": {"activation": "relu", "depth": 3, "gamma0": 0.1, **SGD},
    "linear_1_0.1": {"activation": "linear", "depth": 1, "gamma0": 0.1, "lr": 0.04, "momentum": 0.8},
    "linear_1_2.0": {"activation": "linear", "depth": 1, "gamma0": 2.0, "lr": 0.2},
    "linear_2_1.0": {"activation": "linear", "depth": 2, "gamma0": 1.0, "lr": 0.2},
    "linear_3_1.0": {"activation": "linear", "depth": 3, "gamma0": 1.0, "lr": 0.04, "momentum": 0.8},
}


@cache
def _networks(name: str) -> np.ndarray:
    """(num_widths, NUM_SEEDS, num_times): the losses of trained networks."""
    problem = small_problem(**CASES[name])
    losses = np.empty((len(WIDTHS), NUM_SEEDS, problem.num_times))
    for i, width in enumerate(WIDTHS):
        for seed in range(NUM_SEEDS):
            generator = torch.Generator().manual_seed(zlib.crc32(f"{name}/{width}/{seed}".encode()))
            weights = initial_weights(problem, width=width, generator=generator)
            losses[i, seed] = train_network(problem, weights=weights).loss
    return losses


def _theory(name: str, *, responses: bool = True, **changes: Any) -> tuple[np.ndarray, np.ndarray, Any]:
    problem = small_problem(**(CASES[name] | changes))
    result = solve_dmft_mlp(problem, num_particles=2048, num_scrambles=8, seed=5, responses=responses)
    return result.loss, result.loss_error, result


def _assert_agrees(name: str, loss: np.ndarray, error: np.ndarray) -> None:
    for t in TIMES:
        assert_limit(WIDTHS, _networks(name)[:, :, t], loss[t], bias=error[t])


@pytest.mark.parametrize("name", CASES)
def test_networks_tend_to_the_theory(name: str) -> None:
    loss, error, _ = _theory(name)
    _assert_agrees(name, loss, error)


@pytest.mark.parametrize("name", ["tanh_1_2.0", "tanh_2_1.0", "tanh_3_2.0", "erf_2_2.0", "linear_1_2.0"])
def test_a_richer_theory_is_rejected(name: str) -> None:
    loss, error, _ = _theory(name, gamma0=1.1 * CASES[name]["gamma0"])
    with pytest.raises(AssertionError, match="limit"):
        _assert_agrees(name, loss, error)


@pytest.mark.parametrize("name", [name for name in CASES if "_1_" not in name])
def test_dropped_responses_are_rejected(name: str) -> None:
    loss, error, _ = _theory(name, responses=False)
    with pytest.raises(AssertionError, match="limit"):
        _assert_agrees(name, loss, error)


def _outputs_by_the_tangent_kernel(problem: MLPProblem, result: Any) -> np.ndarray:
    """The published output update, exact for small learning rates only."""
    outputs, losses = np.zeros(problem.num_samples), []
    for t in range(problem.num_times):
        errors = problem.targets - outputs
        losses.append(0.5 * np.mean(errors**2))
        outputs = outputs + problem.lr / problem.num_samples * result.ntk(t) @ errors
    return np.array(losses)


@pytest.mark.parametrize("name", ["tanh_1_2.0", "tanh_2_1.0", "tanh_3_2.0", "erf_2_2.0"])
def test_the_output_update_of_continuous_time_is_rejected(name: str) -> None:
    _, error, result = _theory(name)
    with pytest.raises(AssertionError, match="limit"):
        _assert_agrees(name, _outputs_by_the_tangent_kernel(result.problem, result), error)


def test_independent_noise_is_a_network_of_that_width() -> None:
    """Same mean and variance of the outputs as 400 directly trained networks of width 32."""
    problem = small_problem(num_times=6)
    networks = np.array(
        [
            train_network(
                problem, weights=initial_weights(problem, width=32, generator=torch.Generator().manual_seed(seed))
            ).outputs[5]
            for seed in range(400)
        ]
    )
    settings = {"num_particles": 32, "noise": "independent", "tolerance": 1e-12, "num_scrambles": 400}
    runs = solve_dmft_mlp(problem, **settings, two_time=False)
    particles = np.stack([run.outputs[5, :, 0] for run in runs.trajectories])
    for mu in range(problem.num_samples):
        a, b = networks[:, mu], particles[:, mu]
        error = np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
        assert abs(a.mean() - b.mean()) < 3.9 * error
        # Variance of a sample variance from the fourth moments.
        spread = [np.var((x - x.mean()) ** 2) / len(x) for x in (a, b)]
        assert abs(a.var() - b.var()) < 3.9 * np.sqrt(sum(spread))
    assert loss_samples(runs).shape == (400, 6)
