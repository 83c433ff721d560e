"""Bayesian networks at the end of training: the limits of their posterior as width, or width and data, grow.

Each model is a frozen problem and a solver. `STATICS` is the table of all of them: a new model is one file and one line
here. They hold in different regimes: `adaptive_kernel`, `adaptive_deep` and `adaptive_deep_linear` keep the number of
samples fixed and let the kernel turn towards the targets (mean-field scaling); `nngp_posterior` is their limit without
feature learning; `proportional_linear` has as many samples as neurons in NTK scaling, where the kernel only rescales.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from limes.core.source import Source
from limes.theory.statics.adaptive import AdaptiveProblem, AdaptiveResult, dual_value, solve_adaptive
from limes.theory.statics.deep_adaptive import (
    DeepAdaptiveProblem,
    DeepAdaptiveResult,
    deep_saddle_residual,
    solve_deep_adaptive,
)
from limes.theory.statics.deep_linear import DeepLinearProblem, DeepLinearResult, solve_deep_linear
from limes.theory.statics.evidence import (
    HyperparameterChoice,
    choose_hyperparameters,
    evidence_slopes,
    log_evidence_at_width,
    log_evidence_without_features,
)
from limes.theory.statics.learning_curve import LearningCurve, learning_curve
from limes.theory.statics.matrix_saddle import MatrixSaddle, saddle_residual, solve_matrix_saddle
from limes.theory.statics.nngp import NNGPProblem, NNGPResult, solve_nngp
from limes.theory.statics.proportional import ProportionalProblem, ProportionalResult, solve_proportional
from limes.theory.statics.simulate_posterior import FiniteNetwork, FinitePosterior, simulate_posterior
from limes.theory.statics.weak import WeakResult, solve_weak


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StaticsModel:
    """A row of `STATICS`.

    Args:
        name: Its key.
        problem: The class of its problems.
        solve: problem -> frozen result with `train_mean`, `test_mean` and `log_evidence`.
        scope: What it covers, in words.
        source: Where it comes from.
        docs: Its page in docs/theory.
        example: A small problem of it.
    """

    name: str
    problem: type
    solve: Callable[..., Any]
    scope: str
    source: Source
    docs: str
    example: Callable[[], Any]


_ADAPTIVE = Source(title="Lauditi, Bordelon & Pehlevan, adaptive kernels", arxiv="2502.07998")

STATICS: Mapping[str, StaticsModel] = MappingProxyType(
    {
        "nngp_posterior": StaticsModel(
            name="nngp_posterior",
            problem=NNGPProblem,
            solve=solve_nngp,
            scope="networks of infinite width in NTK scaling, any depth: a Gaussian process",
            source=Source(title="Lee et al., deep neural networks as Gaussian processes", arxiv="1711.00165"),
            docs="bayesian_networks.md",
            example=lambda: NNGPProblem([[1.0, 0.5], [-0.4, 1.2]], [1.0, -0.5], [[0.3, 0.9]], depth=2),
        ),
        "proportional_linear": StaticsModel(
            name="proportional_linear",
            problem=ProportionalProblem,
            solve=solve_proportional,
            scope="deep linear networks of any widths in NTK scaling, exactly, and with samples growing like width",
            source=Source(
                title="Hanin & Zlokapa, Bayesian interpolation with deep linear networks", arxiv="2212.14457"
            ),
            docs="bayesian_networks.md",
            example=lambda: ProportionalProblem(
                [[1.0, 0.2], [0.2, 1.0]], [1.0, -0.5], [6, 8], kernel_test_train=[[0.5, 0.1]], kernel_test=[1.0]
            ),
        ),
        "adaptive_kernel": StaticsModel(
            name="adaptive_kernel",
            problem=AdaptiveProblem,
            solve=solve_adaptive,
            scope="one hidden layer that learns features (mean-field, muP), any activation, infinite width",
            source=_ADAPTIVE,
            docs="adaptive_kernels.md",
            example=lambda: AdaptiveProblem([[1.0, 0.5], [-0.4, 1.2]], [1.0, -0.5], [[0.3, 0.9]]),
        ),
        "weak_feature_learning": StaticsModel(
            name="weak_feature_learning",
            problem=AdaptiveProblem,
            solve=solve_weak,
            scope="one hidden layer, the first correction in gamma0^2 to the NNGP, any activation",
            source=_ADAPTIVE,
            docs="adaptive_kernels.md",
            example=lambda: AdaptiveProblem([[1.0, 0.5], [-0.4, 1.2]], [1.0, -0.5], [[0.3, 0.9]], gamma0=0.2),
        ),
        "adaptive_deep": StaticsModel(
            name="adaptive_deep",
            problem=DeepAdaptiveProblem,
            solve=solve_deep_adaptive,
            scope="several hidden layers that learn features (mean-field, muP), any activation, few samples",
            source=_ADAPTIVE,
            docs="deep_adaptive_kernels.md",
            example=lambda: DeepAdaptiveProblem([[1.0, 0.5], [-0.4, 1.2]], [1.0, -0.5], [[0.3, 0.9]]),
        ),
        "adaptive_deep_linear": StaticsModel(
            name="adaptive_deep_linear",
            problem=DeepLinearProblem,
            solve=solve_deep_linear,
            scope="deep linear networks that learn features, infinite width: one number in closed form",
            source=_ADAPTIVE,
            docs="adaptive_kernels.md",
            example=lambda: DeepLinearProblem(
                [[1.0, 0.2], [0.2, 1.0]], [1.0, -0.5], depth=2, kernel_test_train=[[0.5, 0.1]], kernel_test=[1.0]
            ),
        ),
    }
)

__all__ = [
    "STATICS",
    "AdaptiveProblem",
    "AdaptiveResult",
    "DeepAdaptiveProblem",
    "DeepAdaptiveResult",
    "DeepLinearProblem",
    "DeepLinearResult",
    "FiniteNetwork",
    "FinitePosterior",
    "HyperparameterChoice",
    "LearningCurve",
    "MatrixSaddle",
    "NNGPProblem",
    "NNGPResult",
    "ProportionalProblem",
    "ProportionalResult",
    "StaticsModel",
    "WeakResult",
    "choose_hyperparameters",
    "deep_saddle_residual",
    "dual_value",
    "evidence_slopes",
    "learning_curve",
    "log_evidence_at_width",
    "log_evidence_without_features",
    "saddle_residual",
    "simulate_posterior",
    "solve_adaptive",
    "solve_deep_adaptive",
    "solve_deep_linear",
    "solve_matrix_saddle",
    "solve_nngp",
    "solve_proportional",
    "solve_weak",
]
