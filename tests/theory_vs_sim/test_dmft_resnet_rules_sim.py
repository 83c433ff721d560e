"""Residual networks and learning rules against trained networks, extrapolated in 1 / width, with mutants."""

import zlib
from functools import cache

import numpy as np
import pytest

from limes.core.errors import ConvergenceError
from limes.theory.dynamics.resnet import ResNetProblem, solve_dmft_resnet
from limes.theory.dynamics.result import DMFTResult
from limes.theory.dynamics.rules import solve_learning_rule
from support.dmft_cases import samples, small_problem
from support.finite_networks import train_by_rule, train_resnet
from support.stats import assert_limit

pytestmark = pytest.mark.sim

WIDTHS = (48, 96, 192, 384)
NUM_SEEDS = 32
TIMES = (3, 6, 9)
RULES = ("feedback_alignment", "direct_feedback_alignment", "hebbian")
RESNETS = {"depth_1": (1, 0.5), "depth_3": (3, 0.5), "depth_4_alpha_1": (4, 1.0)}


def _resnet(name: str, *, gamma0: float = 1.0, beta: float = 1.0) -> ResNetProblem:
    inputs, targets = samples(3, 5)
    depth, alpha = RESNETS[name]
    return ResNetProblem(
        inputs=inputs,
        targets=targets,
        depth=depth,
        activation="tanh",
        gamma0=gamma0,
        lr=0.4,
        num_times=10,
        alpha=alpha,
        beta=beta,
    )


def _rule_problem(**changes: float):
    return small_problem(depth=3, num_times=10, **changes)


@cache
def _losses(name: str) -> np.ndarray:
    """(num_widths, NUM_SEEDS, num_times)."""
    losses = []
    for width in WIDTHS:
        row = []
        for index in range(NUM_SEEDS):
            seed = zlib.crc32(f"{name}/{width}/{index}".encode())
            if name in RULES:
                problem = _rule_problem()
                outputs = train_by_rule(problem, name, width=width, seed=seed)
            else:
                problem = _resnet(name)
                outputs = train_resnet(problem, width=width, seed=seed)
            row.append(0.5 * ((problem.targets - outputs) ** 2).mean(-1))
        losses.append(row)
    return np.array(losses)


def _assert_agrees(name: str, result: DMFTResult) -> None:
    for t in TIMES:
        assert_limit(WIDTHS, _losses(name)[:, :, t], result.loss[t], bias=result.loss_error[t])


@pytest.mark.parametrize("name", RESNETS)
def test_residual_networks_tend_to_the_theory(name: str) -> None:
    _assert_agrees(name, solve_dmft_resnet(_resnet(name)))


# At alpha = 1 the responses are too small to be seen with this many networks.
MUTANTS = [(name, mutant) for name in RESNETS for mutant in ("gamma0", "beta", "responses")]
MUTANTS.remove(("depth_4_alpha_1", "responses"))


@pytest.mark.parametrize(("name", "mutant"), MUTANTS)
def test_residual_mutants_are_rejected(name: str, mutant: str) -> None:
    changes = {} if mutant == "responses" else {mutant: 1.2}
    result = solve_dmft_resnet(_resnet(name, **changes), responses=mutant != "responses")
    with pytest.raises(AssertionError, match="limit"):
        _assert_agrees(name, result)


@pytest.mark.parametrize("rule", RULES)
def test_rules_tend_to_the_theory(rule: str) -> None:
    _assert_agrees(rule, solve_learning_rule(_rule_problem(), rule=rule))


@pytest.mark.parametrize("rule", RULES)
def test_other_rules_are_rejected(rule: str) -> None:
    for other in {"gradient_descent", *RULES} - {rule}:
        with pytest.raises(AssertionError, match="limit"):
            _assert_agrees(rule, solve_learning_rule(_rule_problem(), rule=other))


def test_a_diverging_residual_network_is_reported_with_its_step() -> None:
    inputs, targets = samples(3, 5)
    problem = ResNetProblem(
        inputs=inputs, targets=targets, depth=2, activation="linear", gamma0=1.0, lr=50.0, num_times=30
    )
    with pytest.raises(ConvergenceError, match=r"diverge at step \d+ of 29 with lr 50"):
        solve_dmft_resnet(problem, num_particles=256)
