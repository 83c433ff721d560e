"""Sharpness at the edge of stability across widths: the same path for all widths under muP, a fading one when lazy.

Source: arXiv:2103.00065 (the edge), arXiv:2402.17457 (across widths).
"""

import numpy as np

from limes.compare.edge import EdgeCurve, EdgeStudy, edge_study
from limes.compare.gallery.picture import NEUTRAL, Curve, Panel, Picture, Progress, Reading

LATE = "sharpness over 2 / learning rate late in training, muP, width {}"
RISE = "rise of that ratio, NTK, widest over narrowest"


def draw(*, reduced: bool, progress: Progress) -> Picture:
    """Gradient descent on all samples at several widths, under muP and in the lazy parametrization."""
    widths = (32, 128) if reduced else (64, 256, 1024)
    steps = 600 if reduced else 1000
    study = edge_study(widths=widths, optimizers=("sgd",), num_steps=steps, every=steps // 50, progress=progress)
    mup, lazy = study.of("mup", "sgd"), study.of("ntk", "sgd")
    readings = [
        Reading(name=LATE.format(curve.width), measured=curve.late, expected=1.0, source="arXiv:2103.00065")
        for curve in mup
    ]
    readings.append(Reading(name=RISE, measured=lazy[-1].growth / lazy[0].growth))
    late = ", ".join(f"{curve.late:.2f}" for curve in mup)
    rises = ", ".join(f"{curve.growth:.2f}" for curve in lazy)
    names = ", ".join(str(width) for width in widths)
    return Picture(
        question="How sharp a valley do networks of different widths train in?",
        answer=(
            f"Under muP the sharpness rises until a step of gradient descent is just stable, and stays there: {late} "
            f"of the limit at widths {names}.",
            f"In the lazy parametrization the rise fades with width ({rises}): learning features is what sharpens.",
        ),
        panels=(
            _ratio_panel(mup, "muP: all widths end at the edge"),
            _ratio_panel(lazy, "NTK parametrization: the rise fades with width"),
            _loss_panel(mup),
        ),
        readings=tuple(readings),
        setting=_setting(study),
    )


def _ratio_panel(curves: tuple[EdgeCurve, ...], title: str) -> Panel:
    lines = [
        Curve(label=f"width {curve.width}", x=curve.steps, y=curve.ratio, color=color)
        for color, curve in enumerate(curves)
    ]
    ends = np.array([0.0, curves[0].steps[-1]])
    lines.append(Curve(label="2 / learning rate", x=ends, y=np.ones(2), color=NEUTRAL, style="dash"))
    return Panel(
        title=title, x_title="step", y_title="sharpness x learning rate / 2", curves=tuple(lines), ordered=True
    )


def _loss_panel(curves: tuple[EdgeCurve, ...]) -> Panel:
    return Panel(
        title="muP: the loss falls, with a spike at each overshoot",
        x_title="step",
        y_title="half mean squared error",
        curves=tuple(
            Curve(
                label=f"width {curve.width}",
                x=np.arange(0, len(curve.loss), 10, dtype=float),
                y=curve.loss[::10],
                color=color,
            )
            for color, curve in enumerate(curves)
        ),
        log_y=True,
        ordered=True,
    )


def _setting(study: EdgeStudy) -> str:
    return (
        f"Two-layer tanh network, base width {study.base_width}; {study.num_samples} normal inputs in 8 dimensions, "
        "target the sign of the product of the first two, half squared error of f - f(0), gradient descent on all "
        f"samples for {study.num_steps} steps, the learning rate tuned at the base only. Sharpness is the largest "
        "eigenvalue of the Hessian in the coordinates of the optimizer's steps."
    )
