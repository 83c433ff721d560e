"""Networks before training: what depth and width do to the signal, its distribution and the likeness of inputs.

Each model is a frozen problem, a solver, and a direct simulation that shares nothing with the solver but the problem.
`INITIALIZATION_MODELS` is the table of all of them: a new model is one file and one line here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from limes.core.source import Source
from limes.theory.initialization.covariance_law import CovarianceLaw, correlation_law, variance_law
from limes.theory.initialization.covariance_sde import CovarianceProblem, CovarianceResult, solve_covariance_sde
from limes.theory.initialization.joint_limit import JointLimit, joint_limit
from limes.theory.initialization.prior import (
    PriorProblem,
    PriorResult,
    prior_log_moments,
    prior_moment,
    sample_prior,
    solve_prior,
)
from limes.theory.initialization.residual import ResidualProblem, ResidualResult, solve_residual
from limes.theory.initialization.shaped_attention import (
    ShapedAttentionProblem,
    ShapedAttentionResult,
    attention_drift,
    solve_shaped_attention,
)
from limes.theory.initialization.shapes import ShapedReLU, ShapedSmooth
from limes.theory.initialization.simulate_covariance import simulate_covariance
from limes.theory.initialization.simulate_prior import simulate_prior
from limes.theory.initialization.simulate_residual import ResidualSimulation, simulate_residual
from limes.theory.initialization.simulate_shaped_attention import simulate_shaped_attention
from limes.theory.initialization.simulate_tokens import simulate_tokens
from limes.theory.initialization.tokens import (
    TokenProblem,
    TokenResult,
    expected_query_gradient,
    mean_cosine,
    query_gradient,
    solve_tokens,
    value_gradient,
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class InitializationModel:
    """A row of `INITIALIZATION_MODELS`.

    Args:
        problem: The class of its problems.
        solve: problem, options -> frozen result.
        simulate: problem, options, generator -> what finite networks do.
        scope: What it covers, in words.
        source: Where it comes from.
        docs: Its page in docs/theory.
        example: A small problem of it.
        solve_options, simulate_options: Arguments for the example.
    """

    problem: type
    solve: Callable[..., Any]
    simulate: Callable[..., Any]
    scope: str
    source: Source
    docs: str
    example: Callable[[], Any]
    solve_options: Mapping[str, Any] = field(default_factory=dict)
    simulate_options: Mapping[str, Any] = field(default_factory=dict)


INITIALIZATION_MODELS: Mapping[str, InitializationModel] = MappingProxyType(
    {
        "prior_predictive": InitializationModel(
            problem=PriorProblem,
            solve=solve_prior,
            simulate=simulate_prior,
            scope="distribution of the output of relu and linear networks of any finite widths and depth",
            source=Source(title="Zavatone-Veth & Pehlevan, exact marginal prior distributions", arxiv="2104.11734"),
            docs="prior_predictive.md",
            example=lambda: PriorProblem((5, 3)),
            solve_options={"radii": [0.1, 1.0, 4.0]},
            simulate_options={"num_draws": 8},
        ),
        "covariance_sde": InitializationModel(
            problem=CovarianceProblem,
            solve=solve_covariance_sde,
            simulate=simulate_covariance,
            scope="covariance of several inputs in shaped networks, depth over width fixed, as a random process",
            source=Source(title="Li, Nica & Roy, the neural covariance SDE", arxiv="2206.02768"),
            docs="covariance_sde.md",
            example=lambda: CovarianceProblem([[1.0, 0.3], [0.3, 1.0]], 0.5),
            solve_options={"num_paths": 16, "num_steps": 10},
            simulate_options={"width": 8, "num_draws": 4},
        ),
        "residual_branches": InitializationModel(
            problem=ResidualProblem,
            solve=solve_residual,
            simulate=simulate_residual,
            scope="residual streams as depth and width grow in either order, for any scaling of the branches",
            source=Source(title="Hayou, on the infinite-depth limit of finite-width networks", arxiv="2210.00688"),
            docs="residual_branches.md",
            example=lambda: ResidualProblem([[1.0, 0.4], [0.4, 2.0]], "linear", depth=6, width=8),
            solve_options={"times": [0.5, 1.0]},
            simulate_options={"num_draws": 4},
        ),
        "rank_collapse": InitializationModel(
            problem=TokenProblem,
            solve=solve_tokens,
            simulate=simulate_tokens,
            scope="how alike the tokens of a transformer become with depth, for any scaling of its branches",
            source=Source(
                title="Noci et al., signal propagation in transformers and rank collapse", arxiv="2206.03126"
            ),
            docs="rank_collapse.md",
            example=lambda: TokenProblem([[1.0, 0.1, 0.0], [0.1, 1.0, 0.0], [0.0, 0.0, 1.0]], 4),
            simulate_options={"width": 8, "num_draws": 4},
        ),
        "shaped_attention": InitializationModel(
            problem=ShapedAttentionProblem,
            solve=solve_shaped_attention,
            simulate=simulate_shaped_attention,
            scope="covariance of tokens under shaped attention and shaped MLPs, depth over width fixed",
            source=Source(title="Noci et al., the shaped transformer", arxiv="2306.17759"),
            docs="shaped_attention.md",
            example=lambda: ShapedAttentionProblem([[1.0, 0.2], [0.2, 1.0]], 0.5, mlp=ShapedReLU()),
            solve_options={"num_paths": 16, "num_steps": 12},
            simulate_options={"width": 8, "num_draws": 4},
        ),
    }
)

__all__ = [
    "INITIALIZATION_MODELS",
    "CovarianceLaw",
    "CovarianceProblem",
    "CovarianceResult",
    "InitializationModel",
    "JointLimit",
    "PriorProblem",
    "PriorResult",
    "ResidualProblem",
    "ResidualResult",
    "ResidualSimulation",
    "ShapedAttentionProblem",
    "ShapedAttentionResult",
    "ShapedReLU",
    "ShapedSmooth",
    "TokenProblem",
    "TokenResult",
    "attention_drift",
    "correlation_law",
    "expected_query_gradient",
    "joint_limit",
    "mean_cosine",
    "prior_log_moments",
    "prior_moment",
    "query_gradient",
    "sample_prior",
    "simulate_covariance",
    "simulate_prior",
    "simulate_residual",
    "simulate_shaped_attention",
    "simulate_tokens",
    "solve_covariance_sde",
    "solve_prior",
    "solve_residual",
    "solve_shaped_attention",
    "solve_tokens",
    "value_gradient",
    "variance_law",
]
