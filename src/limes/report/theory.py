"""The page of a solved theory, the same for all: curves as lines, direct simulation as points with error bars."""

import csv
import io
import json
from pathlib import Path

from limes.compare.curves import Curve, Panel, TheoryStudy
from limes.report.dynamics import Line, line_figure
from limes.report.page import Block, Figure, Folded, Grid, Page, Section, Table, Text, write_page
from limes.report.style import MUTED, category_color, symbol
from limes.report.tables import flat_table
from limes.store.files import write_atomically


def write_theory_report(study: TheoryStudy, folder: Path) -> Path:
    """Write the study into a folder: a table, the same with everything else as JSON, and one page.

    Args:
        study: Solved, and simulated if asked for.
        folder: Made if it is not there; files of the same names are replaced.

    Returns:
        The page.

    Raises:
        StoreError: A file cannot be written.
    """
    rows = study.to_rows()
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(folder / f"{study.name}.csv", text.getvalue().encode())
    write_atomically(folder / f"{study.name}.json", (json.dumps(study.to_dict(), indent=1) + "\n").encode())
    page = folder / f"{study.name}.html"
    write_page(theory_page(study), page)
    return page


def theory_page(study: TheoryStudy) -> Page:
    """The same page, not yet rendered."""
    figures = [_figure(panel) for panel in study.panels]
    blocks: list[Block] = [Grid(figures=tuple(figures[i : i + 2])) for i in range(0, len(figures), 2)]
    caption = "Lines: theory. Points: means of direct simulation, with 95% intervals." if study.simulation else ""
    blocks.append(Text(lines=(study.model, *((caption,) if caption else ())), tone="quiet"))
    numbers: list[Block] = [
        Table(name=table.name, columns=table.columns, rows=table.rows, title=table.title, caption=table.note)
        for table in study.tables
    ]
    settings = flat_table("settings", study.to_dict()["settings"])
    numbers.append(Folded(label="settings", block=settings))
    return Page(
        title=f"limes: {study.title}",
        question=study.question,
        answer=study.lines,
        sections=(
            Section(
                anchor="curves", title="Theory and simulation" if study.simulation else "Theory", blocks=tuple(blocks)
            ),
            Section(anchor="numbers", title="Numbers", blocks=tuple(numbers)),
        ),
        footer=f"Theory: {study.docs}. Written by limes. This file loads nothing from the network.",
    )


def _figure(panel: Panel) -> Figure:
    lines, theory = [], 0
    for curve in panel.curves:
        color = MUTED[0]
        if curve.dash == "solid" or curve.points is not None:
            color, theory = category_color(theory), theory + 1
        lines += _lines(curve, color, symbol(theory - 1))
    return line_figure(
        lines,
        title=panel.title,
        name=panel.name,
        x_title=panel.x_title,
        y_title=panel.y_title,
        log_x=panel.log_x,
        log_y=panel.log_y,
        caption=panel.note,
    )


def _lines(curve: Curve, color: str, shape: str) -> list[Line]:
    lines = [Line(label=curve.label, x=curve.x, y=curve.y, color=color, dash=curve.dash)]
    points = curve.points
    if points is not None:
        half = points.half_width
        lines.append(
            Line(
                label=f"{curve.label}, simulated",
                x=points.x,
                y=points.mean,
                color=color,
                low=points.mean - half,
                high=points.mean + half,
                markers=True,
                symbol=shape,
                legend=False,
            )
        )
    return lines
