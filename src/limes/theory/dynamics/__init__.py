"""Dynamical mean field theory: what an infinitely wide network does while it learns features.

Each solver takes a frozen problem and returns a `DMFTResult`. `SOLVERS` is the table of all of them: a new
solver is one file and one line here, and the contract tests run over the table.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from limes.core.source import Source
from limes.theory.dynamics.alternating import solve_dmft_alternating
from limes.theory.dynamics.cost import Cost, predict_cost
from limes.theory.dynamics.finite_width import finite_width_bias, finite_width_covariance
from limes.theory.dynamics.gradient_independence import solve_gradient_independence
from limes.theory.dynamics.linear import solve_dmft_linear
from limes.theory.dynamics.mlp import solve_dmft_mlp
from limes.theory.dynamics.network import initial_weights, train_network
from limes.theory.dynamics.observable import Observable
from limes.theory.dynamics.problem import MLPProblem
from limes.theory.dynamics.propagator import two_layer_output_covariance
from limes.theory.dynamics.resnet import DepthLimit, ResNetProblem, extrapolate_depth, solve_dmft_resnet
from limes.theory.dynamics.result import DMFTResult
from limes.theory.dynamics.rules import solve_learning_rule
from limes.theory.dynamics.small_gamma0 import solve_small_gamma0
from limes.theory.dynamics.spin_glass import (
    SpinGlassProblem,
    SpinGlassResult,
    solve_spin_glass,
    spin_glass_closed_form,
    spin_glass_flow_overlap,
)
from limes.theory.dynamics.static_ntk import solve_static_ntk
from limes.theory.dynamics.two_layer import solve_dmft_two_layer


@dataclass(frozen=True, kw_only=True, slots=True)
class DynamicsSolver:
    """One row of the table of solvers.

    Args:
        solve: problem -> `DMFTResult`.
        problem: Class of the problem.
        scope: What it covers, for a person.
        source: Where its equations come from.
        docs: Its page under docs/theory.
        exact: Solves the mean field equations; otherwise a named approximation.
        requires: Fields of the problem that the solver needs to have these values.
        options: Arguments that the table's own solver call needs.
        hopeless: Arguments under which it cannot succeed, where it has a tolerance at all.
    """

    solve: Callable[..., DMFTResult]
    problem: type
    scope: str
    source: Source
    docs: str
    exact: bool = True
    requires: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    hopeless: Mapping[str, Any] | None = None


_LIMIT = Source(title="Bordelon & Pehlevan, self-consistent dynamical field theory", arxiv="2205.09653")
_TOO_FEW = {"num_particles": 16, "tolerance": 1e-14}

SOLVERS: Mapping[str, DynamicsSolver] = MappingProxyType(
    {
        "mlp": DynamicsSolver(
            solve=solve_dmft_mlp,
            problem=MLPProblem,
            scope="multilayer perceptrons of any depth and activation, every optimizer of the problem",
            source=_LIMIT,
            docs="dmft.md",
            hopeless=_TOO_FEW,
        ),
        "linear": DynamicsSolver(
            solve=solve_dmft_linear,
            problem=MLPProblem,
            scope="deep linear networks, one output, plain gradient descent",
            source=_LIMIT,
            docs="dmft_linear.md",
            requires={"activation": "linear"},
        ),
        "two_layer": DynamicsSolver(
            solve=solve_dmft_two_layer,
            problem=MLPProblem,
            scope="one hidden layer, one output, plain gradient descent",
            source=Source(title="Mei, Montanari & Nguyen, mean field view of two-layer networks", arxiv="1804.06561"),
            docs="dmft_two_layer.md",
            requires={"depth": 1},
        ),
        "resnet": DynamicsSolver(
            solve=solve_dmft_resnet,
            problem=ResNetProblem,
            scope="residual networks of any finite depth, one matrix per block",
            source=Source(title="Bordelon et al., depthwise transfer in residual networks", arxiv="2309.16620"),
            docs="dmft_resnet.md",
            hopeless=_TOO_FEW,
        ),
        "feedback_alignment": DynamicsSolver(
            solve=solve_learning_rule,
            problem=MLPProblem,
            scope="learning rules: feedback alignment, direct feedback alignment, error-modulated Hebb",
            source=Source(title="Bordelon & Pehlevan, influence of learning rule", arxiv="2210.02157"),
            docs="dmft_rules.md",
            exact=False,
            options={"rule": "feedback_alignment"},
            hopeless=_TOO_FEW,
        ),
        "alternating": DynamicsSolver(
            solve=solve_dmft_alternating,
            problem=MLPProblem,
            scope="small problems with a smooth activation: a slow independent check",
            source=_LIMIT,
            docs="dmft_alternating.md",
            hopeless={"tolerance": 1e-14, "max_sweeps": 2},
        ),
        "static_ntk": DynamicsSolver(
            solve=solve_static_ntk,
            problem=MLPProblem,
            scope="the lazy limit; an approximation at finite gamma0",
            source=Source(title="Jacot, Gabriel & Hongler, neural tangent kernel", arxiv="1806.07572"),
            docs="dmft_approximations.md",
            exact=False,
        ),
        "gradient_independence": DynamicsSolver(
            solve=solve_gradient_independence,
            problem=MLPProblem,
            scope="an approximation: forward and backward matrices independent",
            source=Source(title="Schoenholz et al., deep information propagation", arxiv="1611.01232"),
            docs="dmft_approximations.md",
            exact=False,
            hopeless=_TOO_FEW,
        ),
        "small_gamma0": DynamicsSolver(
            solve=solve_small_gamma0,
            problem=MLPProblem,
            scope="kernels of deep linear networks to second order in gamma0",
            source=Source(title="limes, small-gamma0 expansion", where="docs/theory/dmft_small_gamma0.md"),
            docs="dmft_small_gamma0.md",
            exact=False,
            requires={"activation": "linear"},
        ),
    }
)

__all__ = [
    "SOLVERS",
    "Cost",
    "DMFTResult",
    "DepthLimit",
    "DynamicsSolver",
    "MLPProblem",
    "Observable",
    "ResNetProblem",
    "SpinGlassProblem",
    "SpinGlassResult",
    "extrapolate_depth",
    "finite_width_bias",
    "finite_width_covariance",
    "initial_weights",
    "predict_cost",
    "solve_dmft_alternating",
    "solve_dmft_linear",
    "solve_dmft_mlp",
    "solve_dmft_resnet",
    "solve_dmft_two_layer",
    "solve_gradient_independence",
    "solve_learning_rule",
    "solve_small_gamma0",
    "solve_spin_glass",
    "solve_static_ntk",
    "spin_glass_closed_form",
    "spin_glass_flow_overlap",
    "train_network",
    "two_layer_output_covariance",
]
