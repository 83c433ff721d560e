"""Lazy against rich: trained networks under the curve of their infinitely wide limit, from lazy to feature learning.

Source: arXiv:2205.09653 (the limit), arXiv:2304.03408 (networks scatter around it as width^-1/2), arXiv:1812.07956
(lazy training). Letters: N width, P samples.
"""

import numpy as np
import torch

from limes.compare.gallery.picture import NEUTRAL, Array, Curve, Panel, Picture, Progress, points, power_guide
from limes.compare.gallery.readings import exponent_reading, limit_reading, trend_over
from limes.theory.dynamics import (
    DMFTResult,
    MLPProblem,
    initial_weights,
    solve_dmft_mlp,
    solve_static_ntk,
    train_network,
)

GAMMAS = (0.1, 0.5, 2.0)
MIDDLE = 0.5
WIDTHS = (64, 128, 256, 512)
THEORY = "mean field theory, arXiv:2205.09653"
SCATTER = "exponent in width of the distance of one network's outputs from the limit, gamma0 0.5"
LIMIT = "final loss of networks as width grows, gamma0 0.5"
MOVED = "relative change of the feature kernel as width grows, gamma0 {:g}"


def draw(*, reduced: bool, progress: Progress) -> Picture:
    """Train networks of several widths at three values of gamma0, and solve the limit of each."""
    widths, count = (WIDTHS[:-1], 24) if reduced else (WIDTHS, 64)
    runs: dict[float, list[list[DMFTResult]]] = {}
    limits: dict[float, DMFTResult] = {}
    for index, gamma0 in enumerate(GAMMAS):
        stated = _problem(gamma0)
        generator = torch.Generator().manual_seed(index)
        limits[gamma0] = solve_dmft_mlp(stated, num_particles=2048 if reduced else 8192)
        runs[gamma0] = []
        for place, width in enumerate(widths):
            runs[gamma0].append(
                [
                    train_network(stated, weights=initial_weights(stated, width=width, generator=generator))
                    for _ in range(count)
                ]
            )
            progress((index + (place + 1) / len(widths)) / len(GAMMAS))
    return _picture(widths, limits, runs)


def _problem(gamma0: float) -> MLPProblem:
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((4, 10))
    targets = np.sign(rng.standard_normal(4))
    return MLPProblem(inputs=inputs, targets=targets, depth=2, activation="tanh", gamma0=gamma0, lr=0.2, num_times=31)


def _picture(
    widths: tuple[int, ...], limits: dict[float, DMFTResult], runs: dict[float, list[list[DMFTResult]]]
) -> Picture:
    distances = {gamma0: [_distances(group, limits[gamma0]) for group in runs[gamma0]] for gamma0 in GAMMAS}
    trend = trend_over(widths, distances[MIDDLE])
    final = [np.array([run.loss[-1] for run in group]) for group in runs[MIDDLE]]
    readings = [
        exponent_reading(SCATTER, trend, expected=-0.5, source="arXiv:2304.03408"),
        limit_reading(LIMIT, widths, final, expected=float(limits[MIDDLE].loss[-1]), source=THEORY),
    ]
    for gamma0 in GAMMAS:
        moved = [np.array([_moved(run) for run in group]) for group in runs[gamma0]]
        name, expected = MOVED.format(gamma0), _moved(limits[gamma0])
        readings.append(limit_reading(name, widths, moved, expected=expected, source=THEORY))
    low, high = (_moved(limits[gamma0]) for gamma0 in (GAMMAS[0], GAMMAS[-1]))
    return Picture(
        question="Does a wide network learn features, or only read out those it was born with?",
        answer=(
            "The same network, its output divided by gamma0: small gamma0 is lazy, large gamma0 is rich.",
            f"The kernel of the last hidden layer moves by {low:.1%} at gamma0 {GAMMAS[0]:g} and by {high:.0%} at "
            f"gamma0 {GAMMAS[-1]:g}; networks of width {widths[-1]} follow the theory's curve, and single ones scatter "
            f"around it as width^{trend.slope:.2f}.",
        ),
        panels=(
            _loss_panel(widths, limits, runs),
            _moved_panel(widths, limits, runs),
            _distance_panel(widths, distances, trend.at(64.0)[0]),
        ),
        readings=tuple(readings),
        setting=(
            "Two hidden tanh layers, 4 normal inputs in 10 dimensions with random signs as targets, 30 steps of full "
            f"gradient descent at 0.2 x gamma0^2 x width, {len(runs[MIDDLE][0])} networks for each width and gamma0, "
            "trained on f - f(0)."
        ),
    )


def _moved(run: DMFTResult) -> float:
    """Relative change of the last feature kernel since initialization."""
    start, end = run.feature_kernel(2, 0), run.feature_kernel(2, run.problem.num_times - 1)
    return float(np.linalg.norm(end - start) / np.linalg.norm(start))


def _distances(group: list[DMFTResult], limit: DMFTResult) -> Array:
    """Root mean square over steps and samples between each network's outputs and the limit's."""
    return np.array([np.sqrt(np.mean((run.outputs - limit.outputs) ** 2)) for run in group])


def _loss_panel(
    widths: tuple[int, ...], limits: dict[float, DMFTResult], runs: dict[float, list[list[DMFTResult]]]
) -> Panel:
    steps = np.arange(len(limits[MIDDLE].loss), dtype=float)
    lazy = solve_static_ntk(_problem(MIDDLE))
    curves = [Curve(label="lazy limit", x=steps, y=lazy.loss, color=NEUTRAL, style="dash")]
    for color, gamma0 in enumerate(GAMMAS):
        curves.append(Curve(label=f"theory, gamma0 {gamma0:g}", x=steps, y=limits[gamma0].loss, color=color))
        losses = np.array([run.loss[::3] for run in runs[gamma0][-1]])
        curves.append(points(f"networks of width {widths[-1]}", steps[::3], losses, color=color, legend=color == 2))
    return Panel(
        title="Loss of networks over their limit",
        x_title="step",
        y_title="half mean squared error",
        curves=tuple(curves),
        ordered=True,
    )


def _moved_panel(
    widths: tuple[int, ...], limits: dict[float, DMFTResult], runs: dict[float, list[list[DMFTResult]]]
) -> Panel:
    theory = np.array([_moved(limits[gamma0]) for gamma0 in GAMMAS])
    curves = [Curve(label="theory", x=np.array(GAMMAS), y=theory, color=NEUTRAL)]
    for color, (place, width) in enumerate([(0, widths[0]), (-1, widths[-1])]):
        samples = np.array([[_moved(run) for run in runs[gamma0][place]] for gamma0 in GAMMAS]).T
        curves.append(points(f"width {width}", GAMMAS, samples, color=color))
    return Panel(
        title="How far the features moved",
        x_title="gamma0",
        y_title="relative change of the kernel",
        curves=tuple(curves),
        log_x=True,
        log_y=True,
        ticks=GAMMAS,
    )


def _distance_panel(widths: tuple[int, ...], distances: dict[float, list[Array]], through: float) -> Panel:
    curves = [
        points(f"gamma0 {gamma0:g}", widths, np.stack(distances[gamma0], 1), color=color)
        for color, gamma0 in enumerate(GAMMAS)
    ]
    curves.append(power_guide("width^-1/2", widths, exponent=-0.5, through=(64.0, through)))
    return Panel(
        title="Single networks approach the limit",
        x_title="width",
        y_title="rms distance of the outputs",
        curves=tuple(curves),
        log_x=True,
        log_y=True,
        ordered=True,
        ticks=widths,
    )
