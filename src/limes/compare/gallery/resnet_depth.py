"""Residual networks converging in depth: loss curves of 1, 2, 4, ... blocks approach one curve.

Source: arXiv:2309.16620. Letters: L blocks, branches scaled by L^-alpha.
"""

import math

import numpy as np
import torch

from limes.compare.gallery.picture import NEUTRAL, Array, Curve, Panel, Picture, Progress, Reading, power_guide
from limes.theory.dynamics import DepthLimit, DMFTResult, ResNetProblem, extrapolate_depth, solve_dmft_resnet
from limes.theory.kernels import residual_ntk_kernel

DEPTHS = (1, 2, 4, 8, 16)
KERNEL_DEPTHS = (1, 2, 4, 8, 16, 32, 64, 128)
ALPHAS = {"alpha 0": 0.0, "alpha 1/2": 0.5, "alpha 1": 1.0}
LOSS = "exponent in depth of the loss curve's distance from its limit, alpha 1/2"
KERNEL = "exponent in depth of the tangent kernel's distance from its limit, {}"
SOURCE = "1 / depth: docs/theory/dmft_resnet.md; that it converges: arXiv:2309.16620"


def draw(*, reduced: bool, progress: Progress) -> Picture:
    """Infinitely wide networks of growing depth while they learn, and their kernels before."""
    results = []
    num_particles, num_scrambles = (2048, 4) if reduced else (4096, 16)
    total = float(sum(DEPTHS))
    for index, depth in enumerate(DEPTHS):
        found = solve_dmft_resnet(
            _problem(depth), num_particles=num_particles, num_scrambles=num_scrambles, two_time=False
        )
        results.append(found)
        progress(sum(DEPTHS[: index + 1]) / total)
    limit = extrapolate_depth(results[2:])
    distance = np.array([np.linalg.norm(r.loss - limit.loss) for r in results]) / np.linalg.norm(limit.loss)
    kernels = {label: _kernels(alpha) for label, alpha in ALPHAS.items()}
    far = {label: _distances(kernels[label], alpha) for label, alpha in ALPHAS.items() if alpha > 0}
    # The deepest stands too near the extrapolated limit, of which it is a part.
    slope = float(np.polyfit(np.log(DEPTHS[:-1]), np.log(distance[:-1]), 1)[0])
    readings = [Reading(name=LOSS, measured=slope, expected=-1.0, source=SOURCE)]
    for label, values in far.items():
        measured = float(np.log2(values[-1] / values[-2]))
        readings.append(Reading(name=KERNEL.format(label), measured=measured, expected=-1.0, source=SOURCE))
    growth = [values[-1][0, 0] / values[0][0, 0] for values in kernels.values()]
    return Picture(
        question="Do deeper and deeper residual networks become one network?",
        answer=(
            f"With branches scaled by depth^-1/2 they do: the loss curve of one block is {distance[0]:.1%} from the "
            f"limit, that of {DEPTHS[-2]} blocks {distance[-2]:.1%}; the distance falls as depth^{slope:.2f}.",
            f"Without the scaling the tangent kernel grows by a factor {growth[0]:.2g} from 1 to {KERNEL_DEPTHS[-1]} "
            f"blocks; with it, by {growth[1]:.2f}.",
        ),
        panels=(_loss_panel(results, limit), _distance_panel(distance, far), _kernel_panel(kernels)),
        readings=tuple(readings),
        setting=(
            "Infinitely wide residual networks, one matrix in each block. Learning: tanh, 3 samples of 10 inputs, "
            f"gamma0 1, 16 steps at 0.3, {num_scrambles} randomizations of {num_particles} particles; the limit is "
            "a + b / depth through the three largest depths. Kernels: erf."
        ),
    )


def _inputs() -> Array:
    return np.random.default_rng(0).standard_normal((4, 10))[:3]


def _problem(depth: int) -> ResNetProblem:
    targets = [-1.0, 1.0, 1.0]
    return ResNetProblem(
        inputs=_inputs(), targets=targets, depth=depth, activation="tanh", gamma0=1.0, lr=0.3, num_times=17
    )


def _kernel(depth: float, alpha: float) -> Array:
    kernel = residual_ntk_kernel(
        torch.tensor(_inputs()),
        depth=depth,
        activation="erf",
        weight_var=1.0,
        bias_var=0.0,
        branch_exponent=alpha,
        scale_block_lr=alpha > 0,
    )
    return np.asarray(kernel.numpy())


def _kernels(alpha: float) -> list[Array]:
    return [_kernel(depth, alpha) for depth in KERNEL_DEPTHS]


def _distances(kernels: list[Array], alpha: float) -> Array:
    limit = _kernel(math.inf, alpha)
    return np.array([np.linalg.norm(kernel - limit) for kernel in kernels]) / np.linalg.norm(limit)


def _loss_panel(results: list[DMFTResult], limit: DepthLimit) -> Panel:
    steps = np.arange(len(limit.loss), dtype=float)
    curves = [
        Curve(label=f"{depth} block{'s' if depth > 1 else ''}", x=steps, y=result.loss, color=color)
        for color, (depth, result) in enumerate(zip(DEPTHS, results, strict=True))
    ]
    curves.append(Curve(label="limit", x=steps, y=limit.loss, color=NEUTRAL, style="dash"))
    return Panel(
        title="Loss curves approach one curve (alpha 1/2)",
        x_title="step",
        y_title="half mean squared error",
        curves=tuple(curves),
        log_y=True,
        ordered=True,
    )


def _distance_panel(loss: Array, kernels: dict[str, Array]) -> Panel:
    depths = np.array(KERNEL_DEPTHS, dtype=float)
    curves = [
        Curve(label="loss curve, alpha 1/2", x=depths[: len(loss) - 1], y=loss[:-1], color=0, style="points"),
    ]
    for color, (label, values) in enumerate(kernels.items(), start=1):
        curves.append(Curve(label=f"tangent kernel, {label}", x=depths, y=values, color=color))
    curves.append(power_guide("1 / depth", depths, exponent=-1.0, through=(1.0, 0.6 * float(loss[0]))))
    return Panel(
        title="Distance from infinite depth",
        x_title="blocks",
        y_title="relative distance",
        curves=tuple(curves),
        log_x=True,
        log_y=True,
        ticks=KERNEL_DEPTHS,
    )


def _kernel_panel(kernels: dict[str, list[Array]]) -> Panel:
    depths = np.array(KERNEL_DEPTHS, dtype=float)
    return Panel(
        title="Without a scaling there is no limit",
        x_title="blocks",
        y_title="tangent kernel of one input",
        curves=tuple(
            Curve(label=label, x=depths, y=np.array([kernel[0, 0] for kernel in values]), color=color)
            for color, (label, values) in enumerate(kernels.items())
        ),
        log_x=True,
        log_y=True,
        ticks=KERNEL_DEPTHS,
    )
