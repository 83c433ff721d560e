"""The circle task: ReLU networks learn a hard target with another power of time once their features move.

Source: arXiv:2409.17858, sections 4 and 5.1. Letters: the target is sum_k k^-q cos(k theta).
"""

import numpy as np

from limes.compare.circle import CircleRun, CircleStudy, circle_study
from limes.compare.gallery.picture import NEUTRAL, Curve, Panel, Picture, Progress, Reading, points, power_guide

EXPONENT = "exponent of time, {} task, {}"
GAIN = "rich exponent less the lazy one, {} task"
KINDS = {"lazy": False, "rich": True}


def draw(*, reduced: bool, progress: Progress) -> Picture:
    """Train lazy and rich networks on a hard and an easy task."""
    width, num_points, last = (192, 128, 300.0) if reduced else (512, 256, 1000.0)
    study = circle_study(
        width=width,
        num_points=num_points,
        num_seeds=3 if reduced else 4,
        window=(100.0, last),
        progress=progress,
    )
    readings = []
    for run in study.runs:
        kind = "rich" if run.rich else "lazy"
        half = 0.5 * (run.interval[1] - run.interval[0])
        readings.append(
            Reading(
                name=EXPONENT.format(run.task, kind),
                measured=run.exponent,
                half_width=half,
                expected=run.law,
                source="arXiv:2409.17858, late times and infinitely many modes",
            )
        )
    for task in ("hard", "easy"):
        gain, interval = study.gain(task)
        expected = study.of(task, rich=True).law - study.of(task, rich=False).law
        half = 0.5 * (interval[1] - interval[0])
        name, source = GAIN.format(task), "arXiv:2409.17858"
        readings.append(Reading(name=name, measured=gain, half_width=half, expected=expected, source=source))
    hard, easy = (study.gain(task)[0] for task in ("hard", "easy"))
    return Picture(
        question="Do real networks change the power at which they learn?",
        answer=(
            f"ReLU networks that learn features fall faster on the hard task, by {hard:+.2f} in the exponent of time; "
            f"on the easy one it changes by {easy:+.2f}.",
        ),
        panels=(_panel(study, "hard"), _panel(study, "easy")),
        readings=tuple(readings),
        setting=_setting(study),
    )


def _panel(study: CircleStudy, task: str) -> Panel:
    curves = []
    for color, (kind, rich) in enumerate(KINDS.items()):
        run = study.of(task, rich=rich)
        every = slice(None, None, 4)
        curves.append(points(f"{kind} networks", run.times[every], run.loss[:, every], color=color))
        curves.append(_guide(run, study.window, color))
    lazy = study.of(task, rich=False)
    curves.append(Curve(label="lazy, infinite width", x=lazy.times, y=lazy.lazy_loss, color=NEUTRAL))
    return Panel(
        title=f"{task.capitalize()} task (q = {lazy.target_decay:g})",
        x_title="time (inverse largest eigenvalues)",
        y_title="mean squared error",
        curves=tuple(curves),
        log_x=True,
        log_y=True,
    )


def _guide(run: CircleRun, window: tuple[float, float], color: int) -> Curve:
    """The law over the window, below the points."""
    inside = run.times >= window[0]
    start = (float(run.times[inside][0]), 0.6 * float(run.loss.mean(0)[inside][0]))
    label = f"time^-{run.law:.3g}"
    return power_guide(label, np.array(run.times[inside]), exponent=-run.law, through=start, color=color)


def _setting(study: CircleStudy) -> str:
    lazy, rich = (study.of("hard", rich=rich).gamma0 for rich in (False, True))
    return (
        f"One hidden relu layer of width {study.width}, {study.num_points} points on the circle, gamma0 {lazy:g} "
        f"(lazy) and {rich:g} (rich), gradient flow, {study.num_seeds} seeds; exponents over times "
        f"{study.window[0]:g} to {study.window[1]:g}."
    )
