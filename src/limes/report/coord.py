"""The page of a coordinate check: does everything in the network scale as declared, and if not, what is to blame?"""

from pathlib import Path

import numpy as np
import plotly.graph_objects as go

from limes.compare.coord_result import CoordAxis, CoordCheck, CoordRow
from limes.report.page import Block, Card, Cards, Cell, Figure, Folded, Grid, Page, Section, Table, Text, write_page
from limes.report.style import category_color, plot_text, symbol
from limes.report.words import joined, signed

QUESTION = "Does everything in this network scale as the parametrization declares?"
_PLOTS = (
    ("change", "How far training moves each activation"),
    ("effective", "What each tensor's own update does to the output of its map"),
    ("propagating", "What the moved input does to the output of the map as it was"),
    ("init", "Size of each activation at initialization"),
    ("attention change", "How far training moves the attention logits"),
    ("attention init", "Size of the attention logits at initialization"),
    ("second order", "Second-order over first-order change of each block"),
    ("shrinkage", "What weight decay takes from each tensor per step"),
)
_TONES = {"passes": "good", "fails": "bad", "undecided": "open"}
_MAX_LINES = 8


def write_coord_report(check: CoordCheck, path: Path) -> None:
    """Write a coordinate check as one HTML file that opens offline.

    Raises:
        StoreError: The file cannot be written.
    """
    write_page(coord_page(check), path)


def coord_page(check: CoordCheck) -> Page:
    """The same page, not yet rendered."""
    settings = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in check.settings.items())
    return Page(
        title=f"limes: coordinate check of {check.parametrization}",
        question=QUESTION,
        answer=tuple(_answer(check, axis) for axis in check.axes),
        sections=(
            Section(anchor="verdict", title="Verdict", blocks=_verdict(check)),
            *(Section(anchor=axis.axis, title=f"Growing {axis.axis}", blocks=_plots(axis)) for axis in check.axes),
            Section(anchor="numbers", title="All slopes", blocks=tuple(_tables(axis) for axis in check.axes)),
        ),
        footer=f"Written by limes; {check.seeds} seeds, {settings}. This file loads nothing from the network.",
    )


def _answer(check: CoordCheck, axis: CoordAxis) -> str:
    """The verdict of one axis as an answer."""
    count = sum(len(axis.judged(word)) for word in ("passes", "fails", "undecided"))
    failed, undecided = len(axis.judged("fails")), len(axis.judged("undecided"))
    place = f"{check.parametrization} along the {axis.axis} from {axis.sizes[0]} to {axis.sizes[-1]}"
    if axis.verdict == "fails":
        blamed = joined(list(dict.fromkeys(cause.setting for cause in axis.causes)))
        return f"No, {place}: {failed} of {count} slopes lie elsewhere. To blame: {blamed}."
    if axis.verdict == "undecided":
        return f"Undecided, {place}: {undecided} of {count} slopes have too wide an interval; use more seeds."
    rest = f", {undecided} undecided" if undecided else ""
    return f"Yes, {place}: {count - undecided} of {count} slopes lie where they are declared{rest}."


def _verdict(check: CoordCheck) -> tuple[Block, ...]:
    cards = []
    for axis in check.axes:
        failed = axis.judged("fails")
        sentence = (
            f"{len(failed)} of {len(failed) + len(axis.judged('passes')) + len(axis.judged('undecided'))} slopes lie "
            "outside what is declared."
            if failed
            else "No slope lies outside what is declared."
        )
        undecided = tuple(
            f"Undecided: {row.quantity} of {row.name}, {_found(row)}." for row in axis.judged("undecided")
        )
        causes = tuple(f"{cause.sentence[0].upper()}{cause.sentence[1:]}." for cause in axis.causes)
        cards.append(
            Card(
                tone=_TONES[axis.verdict],
                badge=axis.verdict,
                title=f"{check.parametrization}, {axis.axis} {axis.sizes[0]} to {axis.sizes[-1]}",
                sentence=sentence,
                details=causes + undecided,
            )
        )
    rule = (
        f"A slope passes if its whole {check.level:.0%} interval over seeds lies within {check.tolerance:g} of the "
        "declared exponent (or below it plus that, where only growth is forbidden), fails if the whole interval lies "
        "outside, and is undecided otherwise."
    )
    return Cards(cards=tuple(cards)), Text(lines=(rule,), tone="quiet")


def _found(row: CoordRow) -> str:
    if row.slope is None or row.low is None or row.high is None:
        return "not finite or without an interval"
    bound = "at most " if row.bound == "at most" else ""
    declared = "" if row.declared is None else f", declared {bound}{signed(row.declared)}"
    return f"slope {signed(row.slope)} ({signed(row.low)} to {signed(row.high)}){declared}"


def _plots(axis: CoordAxis) -> tuple[Block, ...]:
    blocks: list[Block] = [
        Text(
            lines=(
                "Root mean squares over entries and over the layers of a template; points are seeds, lines their "
                "geometric mean, both axes logarithmic. Thick lines fail; a star in the legend marks them.",
            ),
            tone="quiet",
        )
    ]
    figures = []
    for quantity, title in _PLOTS:
        rows = [row for row in axis.rows if row.quantity == quantity and row.slope is not None]
        rows = [row for row in rows if row.verdict != "shown"] or rows
        if rows:
            figures.append(_figure(axis, quantity, title, rows))
    return (*blocks, Grid(figures=tuple(figures)))


def _figure(axis: CoordAxis, quantity: str, title: str, rows: list[CoordRow]) -> Figure:
    """One quantity; what fails first, then what lies farthest from its declaration, so that the plot stays legible."""
    ordered = sorted(rows, key=lambda row: (row.verdict != "fails", -abs(row.excess)))
    drawn = ordered[:_MAX_LINES]
    plot = go.Figure()
    for index, row in enumerate(drawn):
        _add_row(plot, axis, row, index)
    plot.update_layout(
        xaxis={
            "title": {"text": f"growth of the {axis.axis}"},
            "type": "log",
            "tickvals": list(axis.growth),
            "ticktext": [plot_text(f"{growth:g}x") for growth in axis.growth],
        },
        yaxis={"title": {"text": quantity}, "type": "log", "exponentformat": "power", "range": _range(drawn)},
        showlegend=True,
        legend={"orientation": "h", "y": -0.25, "yanchor": "top", "x": 0, "xanchor": "left", "font": {"size": 11}},
    )
    left = f" The {len(rows) - len(drawn)} others, nearest to their declaration, are in the download." * (
        len(rows) > len(drawn)
    )
    failed = sum(row.verdict == "fails" for row in rows)
    caption = (f"{failed} of {len(rows)} fail." if failed else f"None of {len(rows)} fails.") + left
    return Figure(
        title=title,
        plot=plot,
        table=_values(axis, quantity, rows),
        caption=caption,
        height=330 + 24 * len(drawn),
    )


def _range(rows: list[CoordRow]) -> list[float]:
    """Logarithms of the ends, a factor of two apart at least: what is constant shall look constant."""
    values = np.log10(np.concatenate([np.asarray(row.values).flatten() for row in rows]))
    room = max(0.08 * float(values.max() - values.min()), 0.15)
    return [float(values.min()) - room, float(values.max()) + room]


def _add_row(plot: go.Figure, axis: CoordAxis, row: CoordRow, index: int) -> None:
    table = np.asarray(row.values)
    color, fails = category_color(index), row.verdict == "fails"
    slope = "" if row.slope is None else f" {signed(row.slope)}"
    plot.add_scatter(
        x=[growth for growth in axis.growth for _ in range(table.shape[1])],
        y=table.flatten().tolist(),
        mode="markers",
        marker={"color": color, "size": 4, "symbol": symbol(index), "opacity": 0.45},
        showlegend=False,
        hoverinfo="skip",
        legendgroup=row.name,
    )
    plot.add_scatter(
        x=list(axis.growth),
        y=np.exp(np.log(table).mean(1)).tolist(),
        mode="lines",
        line={"color": color, "width": 4 if fails else 1.5, "dash": "solid" if index < 6 else "dash"},
        name=plot_text(f"{'★ ' if fails else ''}{row.name}{slope}"),
        legendgroup=row.name,
    )


def _values(axis: CoordAxis, quantity: str, rows: list[CoordRow]) -> Table:
    lines: list[tuple[Cell, ...]] = [
        (row.name, size, growth, seed, value)
        for row in rows
        for size, growth, values in zip(axis.sizes, axis.growth, row.values)
        for seed, value in enumerate(values)
    ]
    name = f"{axis.axis}-{quantity.replace(' ', '-')}"
    return Table(name=name, columns=("name", "size", "growth", "seed", quantity), rows=tuple(lines))


def _tables(axis: CoordAxis) -> Folded:
    columns = ("quantity", "tensor or module", "slope", "low", "high", "declared", "bound", "verdict")
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (row.quantity, row.name, row.slope, row.low, row.high, row.declared, row.bound, row.verdict)
        for row in axis.rows
    )
    table = Table(
        name=f"{axis.axis}-slopes", columns=columns, rows=rows, caption="Slopes that are shown are not judged."
    )
    return Folded(label=f"Every slope along the {axis.axis}", block=table)
