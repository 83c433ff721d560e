"""Easy and hard tasks: moving features change the power of time at which hard tasks are learned, and no other.

Source: arXiv:2409.17858, Table 1 and section 4.
"""

import numpy as np
import torch

from limes.compare.gallery.picture import Curve, Panel, Picture, Progress, Reading, points, power_guide
from limes.theory.scaling import (
    FeatureLearningProblem,
    local_exponents,
    power_law_problem,
    scaling_exponents,
    simulate_feature_learning,
    solve_feature_learning,
)

B = 2.0
TASKS = {"hard": 2.0, "easy": 3.5}
GAMMAS = {"lazy": 0.0, "rich": 1.0}
EXPONENT = "exponent of time, {} task, {}"


def draw(*, reduced: bool, progress: Progress) -> Picture:
    """Solve lazy and rich learners of a hard and an easy task to late times, and simulate finite ones."""
    longest = 1e4 if reduced else 1e6
    times = np.geomspace(1.0, longest, 49)
    panels, readings, slopes = [], [], {}
    for index, (task, a) in enumerate(TASKS.items()):
        curves = []
        for color, (kind, gamma) in enumerate(GAMMAS.items()):
            loss = solve_feature_learning(_problem(a, gamma, 1e8), times).test_loss
            law = scaling_exponents(a, B, rich=gamma > 0).time
            # The last decade, where the power is nearest to its own.
            slope = float(local_exponents(times[[-9, -1]], loss[[-9, -1]])[0])
            slopes[task, kind] = slope
            curves.append(Curve(label=kind, x=times, y=loss, color=color))
            start = (float(times[16]), float(0.6 * loss[16]))
            curves.append(power_guide(f"time^-{law:.3g}", times[16:], exponent=-law, through=start, color=color))
            readings.append(
                Reading(
                    name=EXPONENT.format(task, kind),
                    measured=slope,
                    expected=law,
                    source="arXiv:2409.17858, Table 1",
                )
            )
        panels.append(_panel(task, a, curves))
        progress((index + 1) / 3)
    panels.append(_finite_panel(15.0 if reduced else 60.0))
    progress(1.0)
    return Picture(
        question="When does learning features pay?",
        answer=(
            f"On the hard task the loss falls as time^-{slopes['hard', 'lazy']:.2f} with frozen features and as "
            f"time^-{slopes['hard', 'rich']:.2f} with trained ones.",
            f"On the easy task the power is the same ({slopes['easy', 'lazy']:.2f} and {slopes['easy', 'rich']:.2f}): "
            "features only save a constant factor.",
        ),
        panels=tuple(panels),
        readings=tuple(readings),
        setting=(
            f"Linear networks with trained features on eigenvalues k^-{B:g} and target powers k^-2 (hard: beta 0.5) or "
            "k^-3.5 (easy: beta 1.25), 1e8 modes, gradient flow, infinite width; slopes over the last decade. Finite "
            "networks: 60 modes, their features free to move within the span of their start."
        ),
    )


def _problem(a: float, gamma: float, num_modes: float, **size: float) -> FeatureLearningProblem:
    law = power_law_problem(a, B, num_modes)
    return FeatureLearningProblem(law.spectrum, law.target_power, gamma=gamma, multiplicity=law.multiplicity, **size)


def _panel(task: str, a: float, curves: list[Curve]) -> Panel:
    beta = (a - 1.0) / B
    return Panel(
        title=f"{task.capitalize()} task (beta = {beta:g})",
        x_title="time (learning rate x steps)",
        y_title="test loss",
        curves=tuple(curves),
        log_x=True,
        log_y=True,
    )


def _finite_panel(longest: float) -> Panel:
    """Networks of finite width on the hard task, over the curve of infinite width."""
    times = np.geomspace(0.5, longest, 9)
    width, draws = 400, 4
    curves = []
    for color, (kind, gamma) in enumerate(GAMMAS.items()):
        theory = solve_feature_learning(_problem(TASKS["hard"], gamma, 60), times).test_loss
        generator = torch.Generator().manual_seed(color)
        finite = _problem(TASKS["hard"], gamma, 60, num_features=float(width))
        runs = simulate_feature_learning(finite, times, num_draws=draws, generator=generator)
        curves.append(Curve(label=f"{kind}, infinite width", x=times, y=theory, color=color))
        curves.append(points(f"{kind}, width {width}", times, runs, color=color))
    return Panel(
        title="Networks of finite width, hard task with 60 modes",
        x_title="time (learning rate x steps)",
        y_title="test loss",
        curves=tuple(curves),
        log_x=True,
        log_y=True,
    )
