"""L(t, N, P): the loss of a learner runs into one of three walls, and falls as another power along each.

Source: arXiv:2402.01092, sections 3 and 4. Letters: t time, N features, P samples; target power k^-a, eigenvalues k^-b.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from limes.compare.gallery.picture import Array, Curve, Panel, Picture, Progress, Reading, points, power_guide
from limes.theory.scaling import (
    local_exponents,
    power_law_problem,
    scaling_exponents,
    simulate_random_features,
    solve_random_features,
)

A, B, NUM_MODES = 1.75, 1.5, 1e9
SIZES = (32, 128, 512, 2048)
EXPONENT = "exponent of {}, the others unlimited"
PUBLISHED = "arXiv:2402.01092, section 4"


def draw(*, reduced: bool, progress: Progress) -> Picture:
    """Curves in time for several widths, the floors of width and samples, and simulated learners."""
    laws = scaling_exponents(A, B)
    times = np.geomspace(1.0, 1e6, 49)
    free = solve_random_features(power_law_problem(A, B, NUM_MODES), times).test_loss
    progress(0.1)
    sizes = np.geomspace(16, 16384, 11)
    floors = {
        "width": _floors(sizes, "num_features"),
        "samples": _floors(sizes, "num_samples"),
    }
    progress(0.3)
    measured = {
        "time": float(local_exponents(times[[-9, -1]], free[[-9, -1]])[0]),
        **{name: float(local_exponents(sizes[[-4, -1]], loss[[-4, -1]])[0]) for name, loss in floors.items()},
    }
    expected = {"time": laws.time, "width": laws.width, "samples": laws.samples}
    readings = tuple(
        Reading(name=EXPONENT.format(name), measured=value, expected=expected[name], source=PUBLISHED)
        for name, value in measured.items()
    )
    simulated = _simulated_panel(8 if reduced else 40)
    progress(1.0)
    return Picture(
        question="More time, a wider network, or more data: which of them is missing?",
        answer=(
            f"Unlimited otherwise, the loss falls as time^-{measured['time']:.2f}, width^-{measured['width']:.2f} and "
            f"samples^-{measured['samples']:.2f}.",
            "Together, the curve in time follows the first law until it meets the floor of what is scarcest.",
        ),
        panels=(_time_panel(times, free, laws.time), _floor_panel(sizes, floors, expected), simulated),
        readings=readings,
        setting=(
            f"Linear learners on random features, target power k^-{A:g}, eigenvalues k^-{B:g}, 1e9 modes, gradient "
            "flow; exponents over the last decade. Simulated: 400 modes, 200 samples, "
            f"{8 if reduced else 40} draws of features and data."
        ),
    )


def _floors(sizes: Array, field: str) -> Array:
    """Loss at the end of training, one resource limited."""
    problems = [replace(power_law_problem(A, B, NUM_MODES), **{field: float(size)}) for size in sizes]
    return np.array([solve_random_features(problem, [math.inf]).test_loss[0] for problem in problems])


def _time_panel(times: Array, free: Array, exponent: float) -> Panel:
    curves = [Curve(label="unlimited width", x=times, y=free, color=len(SIZES))]
    for color, size in enumerate(SIZES):
        problem = power_law_problem(A, B, NUM_MODES, num_features=float(size))
        loss = solve_random_features(problem, times).test_loss
        curves.append(Curve(label=f"width {size}", x=times, y=loss, color=color))
    through = (1e2, float(0.6 * np.interp(1e2, times, free)))
    curves.append(power_guide(f"time^-{exponent:.3g}", times[16:], exponent=-exponent, through=through))
    return Panel(
        title="In time, until the floor of the width",
        x_title="time (learning rate x steps)",
        y_title="test loss",
        curves=tuple(curves),
        log_x=True,
        log_y=True,
        ordered=True,
    )


def _floor_panel(sizes: Array, floors: dict[str, Array], expected: dict[str, float]) -> Panel:
    curves = []
    for color, (name, loss) in enumerate(floors.items()):
        curves.append(Curve(label=f"{name}, the other unlimited", x=sizes, y=loss, color=color))
        law = expected[name]
        guide = power_guide(
            f"{name}^-{law:.3g}", sizes[3:], exponent=-law, through=(sizes[3], 0.6 * loss[3]), color=color
        )
        curves.append(guide)
    return Panel(
        title="The floors, at the end of training",
        x_title="width or number of samples",
        y_title="test loss",
        curves=tuple(curves),
        log_x=True,
        log_y=True,
    )


def _simulated_panel(num_draws: int) -> Panel:
    times = np.geomspace(1.0, 1e4, 13)
    curves = []
    for color, width in enumerate((20, 50, 100)):
        settings: dict[str, Any] = {"num_features": width, "num_samples": 200, "num_exact": 400}
        problem = power_law_problem(A, B, 400, **settings)
        generator = torch.Generator().manual_seed(color)
        runs = simulate_random_features(problem, times, num_draws=num_draws, generator=generator).test_loss
        theory = solve_random_features(problem, times).test_loss
        curves.append(Curve(label=f"theory, width {width}", x=times, y=theory, color=color))
        curves.append(points("simulated", times, runs, color=color, legend=color == 0))
    return Panel(
        title="Simulated learners, 200 samples",
        x_title="time (learning rate x steps)",
        y_title="test loss",
        curves=tuple(curves),
        log_x=True,
        log_y=True,
        ordered=True,
    )
