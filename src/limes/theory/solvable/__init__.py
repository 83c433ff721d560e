"""Models of learning that can be solved: one frozen problem, one solver, and one direct simulation each.

`SOLVABLE_MODELS` is the table of all of them: a new model is one file and one line here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from limes.core.source import Source
from limes.theory.solvable.linear_attention import (
    LinearAttentionProblem,
    LinearAttentionResult,
    TaskDiversityCurve,
    solve_linear_attention,
    task_diversity_curve,
)
from limes.theory.solvable.simulate_attention import LinearAttentionSimulation, simulate_linear_attention


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
)

SOLVABLE_MODELS: Mapping[str, SolvableModel] = MappingProxyType({model.name: model for model in _MODELS})

__all__ = [
    "SOLVABLE_MODELS",
    "LinearAttentionProblem",
    "LinearAttentionResult",
    "LinearAttentionSimulation",
    "SolvableModel",
    "TaskDiversityCurve",
    "simulate_linear_attention",
    "solve_linear_attention",
    "task_diversity_curve",
]
