"""In-context learning by linear attention: errors against pretraining sequences, tasks and context, simulated beside.

Source: arXiv:2405.11751. Letters: d input dimension; all counts are over d, the sequences over d^2.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from limes.compare.curves.study import Array, Curve, Panel, TheoryStudy
from limes.compare.curves.work import Work, points_of
from limes.theory.solvable import LinearAttentionProblem, simulate_linear_attention, solve_linear_attention

METRICS = {"icl_error": "new tasks (ICL)", "idg_error": "tasks of pretraining (IDG)"}
# Every size times these is whole for sizes that are multiples of 4.
SIMULATED = (0.25, 0.5, 1.0, 2.0, 4.0)
SHOWN = np.geomspace(0.1, 10.0, 61)
SIZES = (12, 16, 20, 28)
UNLIMITED = 1e4
AXES = {
    "sequence_ratio": ("samples", "Error against pretraining samples", "pretraining sequences / d^2"),
    "task_ratio": ("tasks", "Error against the diversity of tasks", "distinct tasks / d"),
    "context_ratio": ("context", "Error against the length of the context", "examples in a context / d"),
}


def linear_attention_study(problem: LinearAttentionProblem, work: Work) -> TheoryStudy:
    """Three panels around one setting: sequences, tasks and context are varied one at a time.

    Args:
        problem: The setting.
        work: Solves, and simulates where it has a plan.

    Raises:
        SpecError: A size times a ratio is not whole.
    """
    grid = {name: [_at(problem, name, value) for value in SHOWN] for name in AXES}
    wide = replace(problem, context_ratio=UNLIMITED, sequence_ratio=UNLIMITED)
    grid["unlimited"] = [_at(wide, "task_ratio", value) for value in SHOWN]
    places = {name: [_at(problem, name, value) for value in SIMULATED] for name in AXES}
    solved = work.solve(solve_linear_attention, grid)
    predicted = {name: [solve_linear_attention(one) for one in asked] for name, asked in places.items()}
    samples = work.simulate(_draw, places, name="linear_attention", cost=_cost)
    points = {
        (name, metric): points_of(np.array(SIMULATED), predicted[name], drawn, metric)
        for name, drawn in samples.items()
        for metric in METRICS
    }
    panels = tuple(_panel(problem, name, solved, points) for name in AXES)
    result = solve_linear_attention(problem)
    rho = problem.noise_var
    return TheoryStudy(
        name="linear-attention",
        title="in-context learning by linear attention",
        question="When does a pretrained layer learn new tasks from their context?",
        answer=(
            f"At this setting the error is {result.icl_error:.4g} on new tasks and {result.idg_error:.4g} on those of "
            f"pretraining; the noise of a label alone is {rho:g}, and predicting 0 costs {1.0 + rho:g}.",
            _transition(problem),
        ),
        model=(
            "One layer of linear attention pretrained by ridge regression on noisy linear tasks, in the limit of many "
            "input dimensions d. Errors are squared, without 1/2, with the noise of the query's label. Labels without "
            "noise have variance 1."
        ),
        settings=asdict(problem),
        panels=panels,
        simulation=work.plan.sentence("input dimensions d") if work.plan else "",
        docs="docs/theory/linear_attention.md",
    )


def _panel(problem: LinearAttentionProblem, name: str, solved: Mapping[Any, Any], points: Mapping[Any, Any]) -> Panel:
    short, title, x_title = AXES[name]
    curves = [
        Curve(
            label=label,
            x=SHOWN,
            y=np.array([getattr(result, metric) for result in solved[name]]),
            points=points.get((name, metric)),
        )
        for metric, label in METRICS.items()
    ]
    note = f"Predicting 0 has error {1.0 + problem.noise_var:g}."
    if name == "task_ratio":
        y = np.array([result.icl_error for result in solved["unlimited"]])
        curves.append(Curve(label="new tasks, unlimited context and sequences", x=SHOWN, y=y, dash="dash"))
        note = (
            "With unlimited context and sequences the excess on new tasks is max(1 - tasks/d, 0): the transition from "
            "recall to learning in context."
        )
    if name == "sequence_ratio":
        note = "Where sequences / d^2 = 1 the layer just fits its data: a small ridge leaves a peak there."
    return Panel(
        name=short,
        title=title,
        x_title=x_title,
        y_title="squared error",
        curves=tuple(curves),
        log_x=True,
        log_y=True,
        note=note,
    )


def _at(problem: LinearAttentionProblem, name: str, value: float) -> LinearAttentionProblem:
    # Without ridge the error is infinite at one sequence for each coefficient; a grid steps over it.
    peak = name == "sequence_ratio" and problem.ridge == 0.0 and abs(value - 1.0) < 1e-9
    return replace(problem, **{name: float(value) * (1.001 if peak else 1.0)})


def _draw(problem: Any, size: int, num_draws: int, generator: torch.Generator) -> dict[str, Array]:
    run = simulate_linear_attention(problem, dim=size, num_draws=num_draws, generator=generator)
    return {metric: getattr(run, metric) for metric in METRICS}


def _cost(problem: LinearAttentionProblem, size: int) -> float:
    sequences, coefficients = problem.sequence_ratio * size**2, float(size**2)
    gram = sequences * coefficients * min(sequences, coefficients)
    return gram + 30.0 * sequences * problem.context_ratio * size**2 + 1e6


def _transition(problem: LinearAttentionProblem) -> str:
    """Where new tasks cost less than a tenth of what they cost in excess of known ones at first."""
    x = np.geomspace(0.02, 200.0, 54)
    gaps = np.array([solve_linear_attention(replace(problem, task_ratio=float(k))).generalization_gap for k in x])
    below = np.flatnonzero(gaps < 0.1 * gaps[0])
    if gaps[0] <= 0.0 or len(below) == 0:
        return "New tasks keep costing more than known ones up to 200 tasks for each input dimension."
    i = int(below[0])
    share = (np.log(gaps[i - 1]) - np.log(0.1 * gaps[0])) / (np.log(gaps[i - 1]) - np.log(max(gaps[i], 1e-300)))
    place = float(np.exp(np.log(x[i - 1]) + share * np.log(x[i] / x[i - 1])))
    return (
        "With few tasks the layer recalls them; what new tasks cost beyond known ones has fallen to a tenth at "
        f"{place:.3g} tasks for each input dimension."
    )
