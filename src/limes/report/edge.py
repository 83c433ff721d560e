"""The page of `limes edge`: sharpness in units of the optimizer's steps, at several widths."""

from pathlib import Path

import numpy as np

from limes.compare.edge import NEAR, EdgeCurve, EdgeStudy
from limes.report.dynamics import Line, line_figure
from limes.report.page import Block, Figure, Grid, Page, Section, Table, Text, quiet, write_page
from limes.report.style import MUTED, ramp_color

OPTIMIZERS = {"sgd": "gradient descent", "adam": "Adam"}


def write_edge_report(study: EdgeStudy, path: Path) -> None:
    """Write the study as one HTML file that opens offline.

    Raises:
        StoreError: The file cannot be written.
    """
    write_page(edge_page(study), path)


def answer_lines(study: EdgeStudy) -> tuple[str, ...]:
    """What the study says, one sentence for each parametrization and optimizer."""
    return tuple(_sentence(study, name, kind) for kind, name in _cases(study))


def edge_page(study: EdgeStudy) -> Page:
    """The same page, not yet rendered."""
    sections = [
        Section(anchor=kind, title=OPTIMIZERS.get(kind, kind).capitalize(), blocks=_blocks(study, kind))
        for kind in dict.fromkeys(curve.optimizer for curve in study.curves)
    ]
    return Page(
        title="limes: the edge of stability across widths",
        question="Do networks of all widths train at the same sharpness?",
        answer=answer_lines(study),
        sections=(*sections, Section(anchor="numbers", title="Numbers", blocks=(_table(study), _setting(study)))),
    )


def _cases(study: EdgeStudy) -> list[tuple[str, str]]:
    return list(dict.fromkeys((curve.optimizer, curve.parametrization) for curve in study.curves))


def _sentence(study: EdgeStudy, name: str, kind: str) -> str:
    curves = study.of(name, kind)
    late = ", ".join(f"{curve.late:.2f}" for curve in curves)
    widths = ", ".join(str(curve.width) for curve in curves)
    if study.at_the_edge(name, kind):
        found = f"every width ends at the edge of stability (ratio {late} at widths {widths})"
    elif study.fades(name, kind):
        rises = ", ".join(f"{curve.growth:.2f}" for curve in curves)
        found = f"sharpening fades with width (the ratio rises by {rises} at widths {widths})"
    elif max(curve.late for curve in curves) - min(curve.late for curve in curves) > NEAR:
        found = f"widths differ (ratio {late} at widths {widths})"
    else:
        found = f"all widths are alike, away from the edge (ratio {late} at widths {widths}); more steps may tell"
    ratio, loss = study.spread(name, kind)
    apart = f"on average the ratio of the widths is {ratio:.2f} apart, their loss {loss:.2f} of the first"
    return f"{name} with {OPTIMIZERS.get(kind, kind)}: {found}; {apart}."


def _blocks(study: EdgeStudy, kind: str) -> tuple[Block, ...]:
    names = [name for optimizer, name in _cases(study) if optimizer == kind]
    limit = study.of(names[0], kind)[0].limit
    text = quiet(
        "Sharpness here is the largest eigenvalue of the Hessian, scaled by the step that the optimizer makes in "
        f"each direction; above {limit:g} a step overshoots so far that it grows. At the edge the ratio is 1."
    )
    ratio = [_ratio_figure(study.of(name, kind), name, kind) for name in names]
    loss = [_loss_figure(study.of(name, kind), name, kind) for name in names]
    return text, Grid(figures=tuple(ratio)), Grid(figures=tuple(loss))


def _ratio_figure(curves: tuple[EdgeCurve, ...], name: str, kind: str) -> Figure:
    lines = [
        Line(label=f"width {curve.width}", x=curve.steps, y=curve.ratio, color=ramp_color(index, len(curves)))
        for index, curve in enumerate(curves)
    ]
    ends = np.array([0.0, curves[0].steps[-1]])
    lines.append(Line(label="limit", x=ends, y=np.ones(2), color=MUTED[0], dash="dash"))
    return line_figure(
        lines,
        title=f"{name}: sharpness over its limit",
        name=f"{kind}-{name}-sharpness",
        x_title="step",
        y_title="sharpness / limit",
    )


def _loss_figure(curves: tuple[EdgeCurve, ...], name: str, kind: str) -> Figure:
    lines = [
        Line(
            label=f"width {curve.width}",
            x=np.arange(len(curve.loss), dtype=float),
            y=curve.loss,
            color=ramp_color(index, len(curves)),
        )
        for index, curve in enumerate(curves)
    ]
    return line_figure(
        lines,
        title=f"{name}: training loss",
        name=f"{kind}-{name}-loss",
        x_title="step",
        y_title="half mean squared error",
        log_y=True,
    )


def _table(study: EdgeStudy) -> Table:
    rows = tuple(
        (c.optimizer, c.parametrization, c.width, c.limit, c.late, c.growth, float(c.loss[-1])) for c in study.curves
    )
    columns = ("optimizer", "parametrization", "width", "limit", "late ratio", "rise of the ratio", "final loss")
    return Table(
        name="edge",
        columns=columns,
        rows=rows,
        title="Every network",
        caption="Late: mean over the last third. Rise: largest ratio less the first.",
    )


def _setting(study: EdgeStudy) -> Text:
    return quiet(
        f"Two-layer tanh network, base width {study.base_width}; {study.num_samples} normal inputs in 8 "
        "dimensions, target the sign of the product of the first two, half squared error of f - f(0); "
        f"{study.num_steps} steps on all samples, the learning rate tuned at the base; seed {study.seed}, float64."
    )
