"""Deep linear networks from a balanced start: modes and loss in time, the wait against the start, simulated beside.

Source: arXiv:1312.6120. Letters: D layers, s strengths of the target, a learned strengths, d inputs.
"""

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from limes.compare.curves.study import Array, Curve, Numbers, Panel, TheoryStudy
from limes.compare.curves.work import Work, points_from
from limes.core.errors import SpecError
from limes.theory.solvable import (
    BalancedLinearProblem,
    learning_time,
    simulate_balanced_linear,
    solve_balanced_linear,
)

SIZES = (10, 14, 20, 28)
DEPTHS = (1, 2, 3, 5)
NUM_TIMES = 201
LONGEST_WAIT = 1e9
NUM_SIMULATED = 6
METRICS = ("test_loss", "products")
# Nearer to its end a mode is decided by the slowest of many draws: their mean says nothing about a typical one.
SATURATED = 0.98


def balanced_linear_study(
    strengths: tuple[float, ...], *, start: float, depth: int, longest: float | None, work: Work
) -> TheoryStudy:
    """Every mode in time at one depth, the loss at several, and how long the first and the last mode take.

    Args:
        strengths: Singular values of the target.
        start: Product of the layers in each mode at the start, below half of the smallest strength.
        depth: Layers of weights.
        longest: Last time; None for twice the time of the slowest mode.
        work: Solves, and simulates where it has a plan.

    Raises:
        SpecError: A number is out of range.
    """
    if not start < 0.5 * min(strengths):
        raise SpecError(f"start is {start:g}; expected less than {0.5 * min(strengths):g}, half the smallest strength")
    waits = [learning_time(s, start=start, depth=depth) for s in strengths]
    if max(waits) > LONGEST_WAIT:
        raise SpecError(f"start is {start:g}: a mode waits until time {max(waits):.3g}; give a larger start")
    last = 2.0 * max(waits) if longest is None else longest
    problem = BalancedLinearProblem(
        strengths=np.array(strengths), start=start, depth=depth, times=np.linspace(0.0, last, NUM_TIMES)
    )
    depths = sorted({*DEPTHS, depth})
    solved = work.solve(solve_balanced_linear, {one: [replace(problem, depth=one)] for one in depths})
    results = {one: found for one, (found,) in solved.items()}
    points = _simulated(problem, work)
    loss = [
        Curve(
            label=f"{one} layer{'s' * (one > 1)}",
            x=problem.times,
            y=result.test_loss,
            points=points.get("test_loss") if one == depth else None,
        )
        for one, result in results.items()
    ]
    return TheoryStudy(
        name="balanced-linear",
        title="deep linear networks from a balanced start",
        question="When does a deep linear network learn which part of its target?",
        answer=_answer(problem, waits),
        model=(
            "White inputs, gradient flow with rate 1 on half the squared error, weights aligned with the target and "
            "equally strong in all layers at the start. Simulated networks see d^3 Gaussian samples in d inputs."
        ),
        settings={key: value for key, value in asdict(problem).items() if key != "times"} | {"longest": last},
        panels=(
            _mode_panel(problem, results[depth].products, points),
            Panel(
                name="loss",
                title="Loss at several depths",
                x_title="time",
                y_title="half squared error",
                curves=tuple(loss),
                log_y=True,
            ),
        ),
        tables=(_waits(problem, depths),),
        simulation=work.plan.sentence("inputs d") if work.plan else "",
        docs="docs/theory/balanced_linear.md",
    )


def _mode_panel(problem: BalancedLinearProblem, products: Array, points: dict[str, Any]) -> Panel:
    curves = [
        Curve(
            label=f"strength {s:g}",
            x=problem.times,
            y=products[:, i],
            points=points.get(f"products/{i}"),
        )
        for i, s in enumerate(problem.strengths)
    ]
    return Panel(
        name="modes",
        title=f"Learned strength of each mode, {problem.depth} layer{'s' * (problem.depth > 1)}",
        x_title="time",
        y_title="end-to-end strength",
        curves=tuple(curves),
    )


def _waits(problem: BalancedLinearProblem, depths: list[int]) -> Numbers:
    rows = tuple(
        (float(s), *(learning_time(float(s), start=problem.start, depth=depth) for depth in depths))
        for s in problem.strengths
    )
    return Numbers(
        name="waits",
        title="Time to half the strength",
        columns=("strength", *(f"{depth} layer{'s' * (depth > 1)}" for depth in depths)),
        rows=rows,
        note=f"From a product of {problem.start:g} at the start.",
    )


def _answer(problem: BalancedLinearProblem, waits: list[float]) -> tuple[str, ...]:
    far = replace(problem, start=problem.start / 10.0)
    strongest = int(np.argmax(problem.strengths))
    later = learning_time(float(problem.strengths[strongest]), start=far.start, depth=far.depth) / waits[strongest]
    order = "; ".join(f"strength {s:g} at {t:.3g}" for s, t in zip(problem.strengths, waits, strict=True))
    return (
        f"With {problem.depth} layers half of each mode is learned at time: {order}.",
        f"A start ten times smaller makes the strongest mode take {later:.3g} times as long.",
    )


def _simulated(problem: BalancedLinearProblem, work: Work) -> dict[str, Any]:
    reach = learning_time(float(problem.strengths.min()), start=problem.start, depth=problem.depth)
    places: Array = np.linspace(0.0, min(reach, float(problem.times[-1])), NUM_SIMULATED + 1)[1:]
    asked = replace(problem, times=places)
    drawn = work.simulate(_draw, {"all": [asked]}, name="balanced_linear", cost=lambda _, size: size**2 + 500.0)
    if not drawn:
        return {}
    result, (samples,) = solve_balanced_linear(asked), drawn["all"]
    found = {"test_loss": points_from(places, result.test_loss, samples.estimates("test_loss"))}
    modes = len(problem.strengths)
    for i in range(modes):
        # Entries of (T, r) come in rows.
        estimates, predicted = samples.estimates("products")[i::modes], result.products[:, i]
        kept = np.flatnonzero(predicted < SATURATED * problem.strengths[i])
        if len(kept):
            found[f"products/{i}"] = points_from(places[kept], predicted[kept], [estimates[j] for j in kept])
    return found


def _draw(problem: Any, size: int, num_draws: int, generator: torch.Generator) -> dict[str, Array]:
    run = simulate_balanced_linear(problem, dim=size, num_draws=num_draws, generator=generator)
    return {metric: getattr(run, metric) for metric in METRICS}
