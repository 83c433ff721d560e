"""Pictures of the gallery: the page, the image, and the numbers as files."""

import csv
import io
import json
from pathlib import Path

import numpy as np

from limes.compare.gallery.picture import Panel, Picture, Reading, plain
from limes.report.dynamics import Line, line_figure
from limes.report.gallery_svg import curve_color, picture_svg
from limes.report.page import Figure, Grid, Page, Section, Table, Text, format_cell, write_page
from limes.report.style import symbol
from limes.store.files import write_atomically

COLUMNS = ("what", "measured", "± (95 %)", "expected", "source")
DASHES = {"line": "solid", "dash": "dash", "points": "solid"}


def write_picture(picture: Picture, folder: Path, *, name: str) -> tuple[Path, ...]:
    """Write NAME.html, NAME.json and NAME.csv, and NAME.svg where matplotlib is installed.

    Args:
        picture: What was computed.
        folder: Made where it does not exist.
        name: Stem of the files.

    Returns:
        The files, the page first.

    Raises:
        StoreError: A file cannot be written.
    """
    content = {"name": name} | picture.to_dict()
    written = {
        "json": json.dumps(content, indent=1).encode(),
        "csv": picture_csv(picture).encode(),
        "svg": picture_svg(picture),
    }
    page = folder / f"{name}.html"
    write_page(picture_page(picture, name=name), page)
    paths = [page]
    for suffix, data in written.items():
        if data is not None:
            paths.append(folder / f"{name}.{suffix}")
            write_atomically(paths[-1], data)
    return tuple(paths)


def picture_page(picture: Picture, *, name: str) -> Page:
    """The page, not yet rendered."""
    figures = tuple(_figure(panel, f"{name}-{index + 1}") for index, panel in enumerate(picture.panels))
    numbers = (_table(picture.readings, name), Text(lines=(picture.setting,), tone="quiet"))
    return Page(
        title=f"limes: {name}",
        question=picture.question,
        answer=picture.answer,
        sections=(
            Section(anchor="picture", title="The picture", blocks=(Grid(figures=figures),)),
            Section(anchor="numbers", title="Its numbers", blocks=numbers),
        ),
    )


def reading_cells(reading: Reading) -> tuple[str, ...]:
    """One row for a person: name, measured, half-width, expected, source."""
    numbers = (reading.measured, reading.half_width, reading.expected)
    return (reading.name, *(format_cell(plain(value)) for value in numbers), reading.source or "–")


def picture_csv(picture: Picture) -> str:
    """Every point that is drawn: panel, curve, x, y, low, high; empty where there is none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("panel", "curve", "x", "y", "low", "high"))
    for panel in picture.panels:
        for curve in panel.curves:
            gaps = np.full(len(curve.x), np.nan)
            low = gaps if curve.low is None else curve.low
            high = gaps if curve.high is None else curve.high
            for row in zip(curve.x, curve.y, low, high, strict=True):
                writer.writerow((panel.title, curve.label, *("" if plain(v) is None else repr(float(v)) for v in row)))
    return text.getvalue()


def _figure(panel: Panel, name: str) -> Figure:
    lines = [
        Line(
            label=curve.label,
            x=curve.x,
            y=curve.y,
            color=curve_color(panel, curve),
            low=curve.low,
            high=curve.high,
            dash=DASHES[curve.style],
            markers=curve.style == "points",
            symbol=symbol(max(curve.color, 0)),
            legend=curve.legend,
        )
        for curve in panel.curves
    ]
    figure = line_figure(
        lines,
        title=panel.title,
        name=name,
        x_title=panel.x_title,
        y_title=panel.y_title,
        log_x=panel.log_x,
        log_y=panel.log_y,
        ticks=panel.ticks,
        caption=panel.caption,
    )
    if panel.log_y:
        # Below two decades 2 and 5 have room for a label beside the powers of ten, but never all digits; over many
        # decades not every power has.
        values = np.concatenate([curve.y for curve in panel.curves])
        values = values[np.isfinite(values) & (values > 0)]
        decades = float(np.log10(values.max() / values.min()))
        figure.plot.update_yaxes(dtick=int(np.ceil(decades / 8)) if decades > 2 else "D2")
    return figure


def _table(readings: tuple[Reading, ...], name: str) -> Table:
    rows = tuple(
        (r.name, plain(r.measured), plain(r.half_width), plain(r.expected), r.source or None) for r in readings
    )
    return Table(
        name=f"{name}-numbers",
        columns=COLUMNS,
        rows=rows,
        title="Measured beside expected",
        caption="Expected: published where the source is a paper, otherwise what the named theory predicts.",
    )
