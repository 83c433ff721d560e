"""Solvable theories of scaling: why losses fall as powers of time, width, samples and compute, and which powers.

Each model is a frozen problem, a solver, and a direct simulation that shares nothing with the solver but the problem.
`SCALING_MODELS` is the table of all of them: a new model is one file and one line here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from limes.core.source import Source
from limes.theory.scaling.exponents import (
    PHASES,
    PhaseMap,
    ScalingExponents,
    SGDPhase,
    phase_map,
    scaling_exponents,
    sgd_phase,
    task_of,
)
from limes.theory.scaling.feature_learning import (
    FeatureLearningProblem,
    FeatureLearningResult,
    circle_task,
    solve_feature_learning,
)
from limes.theory.scaling.frontier import Bottlenecks, Frontier, bottlenecks, compute_frontier, local_exponents
from limes.theory.scaling.problem import RandomFeatureProblem, power_law_problem
from limes.theory.scaling.random_features import loss_table, solve_random_features
from limes.theory.scaling.result import RandomFeatureResult
from limes.theory.scaling.ridge import RidgeEquivalent, optimal_ridge, ridge_equivalent
from limes.theory.scaling.s_transform import Projection, STransform, Wishart
from limes.theory.scaling.simulate import RandomFeatureSimulation, simulate_random_features, train_random_features
from limes.theory.scaling.simulate_features import simulate_feature_learning
from limes.theory.scaling.simulate_ridge import RidgeSimulation, simulate_ridge
from limes.theory.scaling.terms import Allocation, PowerTerm, balance, loss_terms, resource_exponents


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ScalingModel:
    """A row of `SCALING_MODELS`.

    Args:
        problem: The class of its problems.
        solve: problem, times -> result with `times` and `test_loss`.
        simulate: problem, times, num_draws, generator -> test losses, or an object that holds them.
        scope: What it covers, in words.
        source: Where it comes from.
        docs: Its page in docs/theory.
        settings: Fields beside spectrum and target power that make an instance of it.
    """

    problem: type
    solve: Callable[..., Any]
    simulate: Callable[..., Any]
    scope: str
    source: Source
    docs: str
    settings: Mapping[str, Any]


_RANDOM = Source(title="Bordelon, Atanasov & Pehlevan, a dynamical model of neural scaling laws", arxiv="2402.01092")

SCALING_MODELS: Mapping[str, ScalingModel] = MappingProxyType(
    {
        "random_features": ScalingModel(
            problem=RandomFeatureProblem,
            solve=solve_random_features,
            simulate=simulate_random_features,
            scope="gradient flow of random features on a finite sample, in time",
            source=_RANDOM,
            docs="random_features.md",
            settings={"num_features": 40, "num_samples": 60, "noise_var": 0.1},
        ),
        "random_features_steps": ScalingModel(
            problem=RandomFeatureProblem,
            solve=solve_random_features,
            simulate=simulate_random_features,
            scope="gradient descent with momentum and weight decay, step by step",
            source=_RANDOM,
            docs="random_features.md",
            settings={
                "num_features": 40,
                "num_samples": 60,
                "noise_var": 0.1,
                "lr": 0.2,
                "momentum": 0.5,
                "ridge": 1e-3,
            },
        ),
        "random_features_sgd": ScalingModel(
            problem=RandomFeatureProblem,
            solve=solve_random_features,
            simulate=simulate_random_features,
            scope="one-pass stochastic gradient descent with batch noise",
            source=Source(title="Paquette et al., 4+3 phases of compute-optimal scaling", arxiv="2405.15074"),
            docs="random_features.md",
            settings={"num_features": 40, "noise_var": 0.1, "lr": 0.2, "batch_size": 8},
        ),
        "feature_learning": ScalingModel(
            problem=FeatureLearningProblem,
            solve=solve_feature_learning,
            simulate=simulate_feature_learning,
            scope="linear networks whose features move: exact at infinite width, a surrogate below",
            source=Source(title="Bordelon, Atanasov & Pehlevan, feature learning improves scaling", arxiv="2409.17858"),
            docs="feature_learning.md",
            settings={"gamma": 1.0},
        ),
    }
)

__all__ = [
    "PHASES",
    "SCALING_MODELS",
    "Allocation",
    "Bottlenecks",
    "FeatureLearningProblem",
    "FeatureLearningResult",
    "Frontier",
    "PhaseMap",
    "PowerTerm",
    "Projection",
    "RandomFeatureProblem",
    "RandomFeatureResult",
    "RandomFeatureSimulation",
    "RidgeEquivalent",
    "RidgeSimulation",
    "SGDPhase",
    "STransform",
    "ScalingExponents",
    "ScalingModel",
    "Wishart",
    "balance",
    "bottlenecks",
    "circle_task",
    "compute_frontier",
    "local_exponents",
    "loss_table",
    "loss_terms",
    "optimal_ridge",
    "phase_map",
    "power_law_problem",
    "resource_exponents",
    "ridge_equivalent",
    "scaling_exponents",
    "sgd_phase",
    "simulate_feature_learning",
    "simulate_random_features",
    "simulate_ridge",
    "solve_feature_learning",
    "solve_random_features",
    "task_of",
    "train_random_features",
]
