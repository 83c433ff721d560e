"""Kernels of finite networks against the infinite limit: the tangent kernel on a circle of inputs.

Source: arXiv:1806.07572, section 6.1 (inputs on the circle, two widths). Letters: P inputs, N width.
"""

import numpy as np
import torch

from limes.compare.gallery.picture import Array, Curve, Panel, Picture, Progress, points, power_guide
from limes.compare.gallery.readings import exponent_reading, limit_reading, trend_over
from limes.theory.dynamics import MLPProblem, initial_weights, train_network
from limes.theory.kernels import nngp_kernel, ntk_kernel

WIDTHS = (32, 64, 128, 256, 512)
NUM_INPUTS = 25
DEPTH = 3
KINDS = ("tangent kernel", "covariance of the outputs")
EXPONENT = "exponent in width of the distance from the limit, {}"
MEAN = "{} at an angle of pi / 2 as width grows"
CENTRAL = "central limit over neurons; that it converges: arXiv:1806.07572"
ARC_COSINE = "arXiv:1806.07572, with the arc-cosine kernels of Cho & Saul 2009"


def draw(*, reduced: bool, progress: Progress) -> Picture:
    """Measure both kernels of random networks of growing width."""
    widths = WIDTHS[:-1] if reduced else WIDTHS
    count = 16 if reduced else 32
    stated = _problem()
    limits = _limits(stated)
    generator = torch.Generator().manual_seed(0)
    found: list[tuple[Array, Array]] = []
    total = float(sum(width**2 for width in widths))
    for place, width in enumerate(widths):
        kernels = [_measured(stated, width, generator) for _ in range(count)]
        found.append((np.array([k[0] for k in kernels]), np.array([k[1] for k in kernels])))
        progress(sum(w**2 for w in widths[: place + 1]) / total)
    return _picture(widths, limits, found, count)


def _problem() -> MLPProblem:
    """A network before its first step; He initialization, so that the kernels of relu neither grow nor fade."""
    angles = np.linspace(0.0, np.pi, NUM_INPUTS)
    inputs = np.sqrt(2.0) * np.stack([np.cos(angles), np.sin(angles)], 1)
    return MLPProblem(
        inputs=inputs,
        targets=np.zeros(NUM_INPUTS),
        depth=DEPTH,
        activation="relu",
        gamma0=1.0,
        lr=0.1,
        num_times=1,
        weight_var=(2.0,) * (DEPTH + 1),
    )


def _limits(stated: MLPProblem) -> tuple[Array, Array]:
    x = torch.tensor(np.array(stated.inputs))
    tangent = ntk_kernel(x, depth=DEPTH, activation="relu", weight_var=2.0, bias_var=0.0)
    covariance = nngp_kernel(x, depth=DEPTH, activation="relu", weight_var=2.0, bias_var=0.0)
    return tangent.numpy(), covariance.numpy()


def _measured(stated: MLPProblem, width: int, generator: torch.Generator) -> tuple[Array, Array]:
    run = train_network(stated, weights=initial_weights(stated, width=width, generator=generator))
    # The kernels of the theory are those of unit weights times sqrt(2): each has one such factor more.
    return 2.0 * run.ntk(0), 2.0 * run.feature_kernel(DEPTH, 0)


def _picture(
    widths: tuple[int, ...], limits: tuple[Array, Array], found: list[tuple[Array, Array]], count: int
) -> Picture:
    distances = [
        [np.linalg.norm(group[kind] - limits[kind], axis=(1, 2)) / np.linalg.norm(limits[kind]) for group in found]
        for kind in range(2)
    ]
    trends = [trend_over(widths, rows) for rows in distances]
    middle = NUM_INPUTS // 2
    readings = [
        exponent_reading(EXPONENT.format(kind), trend, expected=-0.5, source=CENTRAL)
        for kind, trend in zip(KINDS, trends, strict=True)
    ]
    for index, kind in enumerate(KINDS):
        entries = [group[index][:, 0, middle] for group in found]
        expected = float(limits[index][0, middle])
        readings.append(limit_reading(MEAN.format(kind), widths, entries, expected=expected, source=ARC_COSINE))
    return Picture(
        question="What do all wide networks have in common before training?",
        answer=(
            "Every draw of the weights has another kernel; as the network widens they all become the same one.",
            f"The tangent kernel of one network is off by {distances[0][0].mean():.0%} at width {widths[0]} and by "
            f"{distances[0][-1].mean():.0%} at width {widths[-1]}: the distance falls as width^{trends[0].slope:.2f}.",
        ),
        panels=(_angle_panel(widths, limits[0], found), _distance_panel(widths, distances)),
        readings=tuple(readings),
        setting=(
            f"{DEPTH} hidden relu layers, weights of variance 2 / fan-in, no biases, {NUM_INPUTS} inputs on half a "
            f"circle, {count} networks for each width. The distance is relative, in the Frobenius norm."
        ),
    )


def _angle_panel(widths: tuple[int, ...], limit: Array, found: list[tuple[Array, Array]]) -> Panel:
    angles = np.linspace(0.0, np.pi, NUM_INPUTS)
    curves = []
    for color, place in enumerate((0, len(widths) - 1)):
        for index in range(6):
            label, y = f"networks of width {widths[place]}", found[place][0][index, 0]
            curves.append(Curve(label=label, x=angles, y=y, color=color, style="dash", legend=index == 0))
    curves.append(Curve(label="infinite width", x=angles, y=limit[0], color=2))
    return Panel(
        title="Tangent kernel between inputs on a circle",
        x_title="angle between the two inputs (radians)",
        y_title="tangent kernel",
        curves=tuple(curves),
        ordered=True,
    )


def _distance_panel(widths: tuple[int, ...], distances: list[list[Array]]) -> Panel:
    curves = [
        points(kind, widths, np.stack(rows, 1), color=color)
        for color, (kind, rows) in enumerate(zip(KINDS, distances, strict=True))
    ]
    curves.append(power_guide("width^-1/2", widths, exponent=-0.5, through=(widths[1], float(distances[0][1].mean()))))
    return Panel(
        title="One network's distance from the limit",
        x_title="width",
        y_title="relative distance",
        curves=tuple(curves),
        log_x=True,
        log_y=True,
        ticks=widths,
    )
