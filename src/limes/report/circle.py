"""The page of `limes theory circle`: loss and local exponents of ReLU networks on the circle, lazy and rich."""

from pathlib import Path

import numpy as np

from limes.compare.circle import CircleRun, CircleStudy
from limes.report.dynamics import Line, line_figure
from limes.report.page import Figure, Grid, Page, Section, Table, quiet, write_page
from limes.report.style import CATEGORIES, MUTED

TASKS = ("hard", "easy")


def write_circle_report(study: CircleStudy, path: Path) -> None:
    """Write the study as one HTML file that opens offline.

    Raises:
        StoreError: The file cannot be written.
    """
    write_page(circle_page(study), path)


def answer_lines(study: CircleStudy) -> tuple[str, ...]:
    """What was measured beside what the theory says, a sentence for each run and one for each task."""
    lines = []
    for task in TASKS:
        runs = [study.of(task, rich=rich) for rich in (False, True)]
        lines.append(f"{task.capitalize()} task: {'; '.join(_measured(run) for run in runs)}. {_gain(study, task)}")
    late = study.of("hard", rich=True).transition
    if late is not None:
        lines.append(f"On the hard task the rich networks fall faster than any lazy one from time {late:.3g} on.")
    return tuple(lines)


def _measured(run: CircleRun) -> str:
    low, high = run.interval
    kind = "rich" if run.rich else "lazy"
    holds = "inside" if low <= run.law <= high else "outside"
    text = f"{kind} t^-{run.exponent:.2f} ({low:.2f} to {high:.2f}), the law's {run.law:.2f} {holds}"
    return text if run.rich else f"{text}, the sum over modes of these points {run.lazy_exponent:.2f}"


def _gain(study: CircleStudy, task: str) -> str:
    gain, (low, high) = study.gain(task)
    expected = study.of(task, rich=True).law - study.of(task, rich=False).law
    words = "faster" if low > 0 else ("slower" if high < 0 else "not told apart from lazy")
    return f"Features that move are {words}: {gain:+.2f} ({low:+.2f} to {high:+.2f}), by the laws {expected:+.2f}."


def circle_page(study: CircleStudy) -> Page:
    """The same page, not yet rendered."""
    setting = quiet(
        f"ReLU networks of one hidden layer and width {study.width}, {study.num_seeds} seeds, {study.num_points} "
        "points on the circle, target sum k^-q cos(k theta) of mean square 1; gradient flow, time in units of the "
        "inverse largest eigenvalue of the infinitely wide network's kernel. Bands: all seeds."
    )
    local = quiet(
        "Exponents over half a decade each. Early, all networks fall with their first modes; the rich ones "
        "leave the lazy curve as their features align. Dotted: the laws, which hold late and for many modes."
    )
    return Page(
        title="limes: ReLU networks on the circle",
        question="Does feature learning change the law?",
        answer=answer_lines(study),
        sections=(
            Section(
                anchor="loss",
                title="Loss in time",
                blocks=(setting, Grid(figures=tuple(_losses(study, task) for task in TASKS))),
            ),
            Section(
                anchor="local",
                title="From one regime to the other",
                blocks=(local, Grid(figures=tuple(_local(study, task) for task in TASKS))),
            ),
            Section(anchor="numbers", title="Numbers", blocks=(_table(study),)),
        ),
    )


def _losses(study: CircleStudy, task: str) -> Figure:
    lines = []
    for rich, color in ((False, CATEGORIES[0][0]), (True, CATEGORIES[1][0])):
        run = study.of(task, rich=rich)
        label = f"{'rich' if rich else 'lazy'}, gamma0 {run.gamma0:g}"
        low, high = run.loss.min(0), run.loss.max(0)
        lines.append(Line(label=label, x=run.times, y=run.loss.mean(0), low=low, high=high, color=color))
        inside = (run.times >= study.window[0]) & (run.times <= study.window[1])
        guide = run.loss.mean(0)[inside][0] * (run.times[inside] / run.times[inside][0]) ** -run.law
        lines.append(Line(label=f"t^-{run.law:.2f}", x=run.times[inside], y=guide, color=color, dash="dot"))
    run = study.of(task, rich=False)
    lines.append(Line(label="lazy, infinite width", x=run.times, y=run.lazy_loss, color=MUTED[0], dash="dash"))
    return line_figure(
        lines,
        title=f"{task.capitalize()} task, q = {run.target_decay:g}",
        name=f"circle-{task}-loss",
        x_title="time",
        y_title="mean squared error",
        log_x=True,
        log_y=True,
    )


def _local(study: CircleStudy, task: str) -> Figure:
    lines = []
    for rich, color in ((False, CATEGORIES[0][0]), (True, CATEGORIES[1][0])):
        run = study.of(task, rich=rich)
        times, slopes = run.local
        lines.append(Line(label="rich" if rich else "lazy", x=times, y=slopes, color=color))
        same = study.of(task, rich=True).law == study.of(task, rich=False).law
        if rich or not same:
            label = f"{'' if same else 'rich ' if rich else 'lazy '}law {run.law:.2f}"
            lines.append(Line(label=label, x=times, y=np.full(len(times), run.law), color=color, dash="dot"))
    return line_figure(
        lines,
        title=f"{task.capitalize()} task: local exponent",
        name=f"circle-{task}-local",
        x_title="time",
        y_title="-d ln loss / d ln t",
        log_x=True,
    )


def _table(study: CircleStudy) -> Table:
    rows = tuple(
        (
            run.task,
            "rich" if run.rich else "lazy",
            run.target_decay,
            run.gamma0,
            run.exponent,
            *run.interval,
            run.law,
            run.lazy_exponent,
            run.transition if run.rich else None,
            float(run.loss[:, -1].mean()),
        )
        for run in study.runs
    )
    return Table(
        name="circle",
        columns=(
            "task",
            "regime",
            "q",
            "gamma0",
            "exponent",
            "low",
            "high",
            "law",
            "lazy sum over modes",
            "faster than lazy from",
            "last loss",
        ),
        rows=rows,
        caption=f"Exponents over times {study.window[0]:g} to {study.window[1]:g}; 95 % intervals over seeds.",
    )
