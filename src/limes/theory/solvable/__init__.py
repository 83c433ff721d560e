"""Models of learning that can be solved: one frozen problem, one solver, and one direct simulation each.

`SOLVABLE_MODELS` is the table of all of them: a new model is one file and one line here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from limes.core.source import Source
from limes.theory.solvable.balanced_linear import (
    BalancedLinearProblem,
    BalancedLinearResult,
    learning_time,
    solve_balanced_linear,
)
from limes.theory.solvable.gaussian_mixture import (
    GaussianMixtureProblem,
    GaussianMixtureResult,
    best_error,
    ridge_path,
    solve_gaussian_mixture,
)
from limes.theory.solvable.linear_attention import (
    LinearAttentionProblem,
    LinearAttentionResult,
    TaskDiversityCurve,
    solve_linear_attention,
    task_diversity_curve,
)
from limes.theory.solvable.quadratic_landscape import HessianLevel, hessian_levels, minimum_loss
from limes.theory.solvable.quadratic_network import (
    QuadraticNetworkProblem,
    QuadraticNetworkResult,
    conserved_quantity,
    escape_rate,
    escape_time,
    final_weights_polar,
    plateau_loss,
    solve_quadratic_network,
)
from limes.theory.solvable.simulate_attention import LinearAttentionSimulation, simulate_linear_attention
from limes.theory.solvable.simulate_balanced import BalancedLinearSimulation, simulate_balanced_linear
from limes.theory.solvable.simulate_mixture import GaussianMixtureSimulation, simulate_gaussian_mixture
from limes.theory.solvable.simulate_quadratic import QuadraticNetworkSimulation, simulate_quadratic_network


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SolvableModel:
    """A row of `SOLVABLE_MODELS`.

    Args:
        name: Its key in the table.
        problem: The class of its problems.
        solve: problem -> result.
        simulate: problem, dim, num_draws, generator -> an object with the same metrics, one entry per draw first.
        metrics: Names of the numbers that result and simulation share.
        scope: What it covers, in words.
        source: Where it comes from.
        docs: Its page in docs/theory.
        settings: Fields that make an instance of the problem.
    """

    name: str
    problem: type
    solve: Callable[..., Any]
    simulate: Callable[..., Any]
    metrics: tuple[str, ...]
    scope: str
    source: Source
    docs: str
    settings: Mapping[str, Any]


_THREE_CLASSES: dict[str, Any] = {
    "class_weights": (0.5, 0.3, 0.2),
    "means_gram": np.eye(3),
    "sample_ratio": 2.0,
    "within_var": 0.3,
    "ridge": 0.1,
}
_MIXTURES = Source(
    title="Loureiro et al., learning Gaussian mixtures with generalised linear models", arxiv="2106.03791"
)

_MODELS = (
    SolvableModel(
        name="linear_attention",
        problem=LinearAttentionProblem,
        solve=solve_linear_attention,
        simulate=simulate_linear_attention,
        metrics=("icl_error", "idg_error"),
        scope="in-context learning of linear regression by linear attention, on new and on known tasks",
        source=Source(title="Lu, Letey, Zavatone-Veth, Maiti & Pehlevan, in-context learning", arxiv="2405.11751"),
        docs="linear_attention.md",
        settings={
            "context_ratio": 2.0,
            "task_ratio": 1.5,
            "sequence_ratio": 0.5,
            "noise_var": 0.1,
            "ridge": 0.05,
        },
    ),
    SolvableModel(
        name="gaussian_mixture_logistic",
        problem=GaussianMixtureProblem,
        solve=solve_gaussian_mixture,
        simulate=simulate_gaussian_mixture,
        metrics=("test_error", "train_loss"),
        scope="softmax regression on a mixture of up to four Gaussian classes",
        source=_MIXTURES,
        docs="gaussian_mixture.md",
        settings=_THREE_CLASSES | {"loss": "logistic"},
    ),
    SolvableModel(
        name="gaussian_mixture_square",
        problem=GaussianMixtureProblem,
        solve=solve_gaussian_mixture,
        simulate=simulate_gaussian_mixture,
        metrics=("test_error", "train_loss"),
        scope="least squares on one-hot labels of a mixture of up to four Gaussian classes",
        source=_MIXTURES,
        docs="gaussian_mixture.md",
        settings=_THREE_CLASSES | {"loss": "square"},
    ),
    SolvableModel(
        name="quadratic_network",
        problem=QuadraticNetworkProblem,
        solve=solve_quadratic_network,
        simulate=simulate_quadratic_network,
        metrics=("test_loss", "signal", "norm"),
        scope="one-pass SGD of two-layer networks with quadratic units: plateau, escape, where it ends",
        source=Source(title="one-pass SGD of quadratic networks", arxiv="2604.03068"),
        docs="quadratic_network.md",
        settings={
            "student_overlap": np.eye(3),
            "cross_overlap": 0.2 * np.eye(3, 2),
            "teacher_overlap": np.eye(2),
            "lr": 0.1,
            "times": (0.0, 1.0, 5.0),
            "noise_var": 0.1,
        },
    ),
    SolvableModel(
        name="balanced_linear",
        problem=BalancedLinearProblem,
        solve=solve_balanced_linear,
        simulate=simulate_balanced_linear,
        metrics=("test_loss", "products"),
        scope="deep linear networks on white inputs from a balanced start: each singular mode in time, at any depth",
        source=Source(title="Saxe, McClelland & Ganguli, exact solutions of deep linear learning", arxiv="1312.6120"),
        docs="balanced_linear.md",
        settings={"strengths": (2.0, 1.0, 0.5), "start": 0.05, "depth": 3, "times": (0.5, 1.0, 2.0)},
    ),
)

SOLVABLE_MODELS: Mapping[str, SolvableModel] = MappingProxyType({model.name: model for model in _MODELS})

__all__ = [
    "SOLVABLE_MODELS",
    "BalancedLinearProblem",
    "BalancedLinearResult",
    "BalancedLinearSimulation",
    "GaussianMixtureProblem",
    "GaussianMixtureResult",
    "GaussianMixtureSimulation",
    "HessianLevel",
    "LinearAttentionProblem",
    "LinearAttentionResult",
    "LinearAttentionSimulation",
    "QuadraticNetworkProblem",
    "QuadraticNetworkResult",
    "QuadraticNetworkSimulation",
    "SolvableModel",
    "TaskDiversityCurve",
    "best_error",
    "conserved_quantity",
    "escape_rate",
    "escape_time",
    "final_weights_polar",
    "hessian_levels",
    "learning_time",
    "minimum_loss",
    "plateau_loss",
    "ridge_path",
    "simulate_balanced_linear",
    "simulate_gaussian_mixture",
    "simulate_linear_attention",
    "simulate_quadratic_network",
    "solve_balanced_linear",
    "solve_gaussian_mixture",
    "solve_linear_attention",
    "solve_quadratic_network",
    "task_diversity_curve",
]
