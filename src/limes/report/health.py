"""The page of `limes inspect`: signs judged, layer by layer, over time, and against size."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import plotly.graph_objects as go

from limes.compare.scales import Crossing, ScaleTrend
from limes.compare.sensitivity import SizeSensitivity
from limes.measure.health import SIGNS, HealthRow, Level, first_alarms
from limes.report.curves import file_stem
from limes.report.dynamics import Line, line_figure
from limes.report.page import Block, Card, Cards, Cell, Figure, Folded, Grid, Page, Section, Table, Text, write_page
from limes.report.style import CATEGORIES, MUTED, category_color, plot_text, ramp_color

Log = Sequence[tuple[int, Mapping[str, float]]]
TONES = {Level.OK: "good", Level.WATCH: "open", Level.DANGER: "bad", Level.NOTE: "open"}
MAX_LINES = 12


def write_health_report(
    path: Path,
    rows: Sequence[HealthRow],
    values: Mapping[str, float],
    *,
    subject: str,
    logs: Mapping[str, Log] | None = None,
    trends: Mapping[str, tuple[ScaleTrend, Crossing]] | None = None,
    sensitivity: Sequence[SizeSensitivity] = (),
) -> None:
    """Write one HTML page that opens offline.

    Args:
        path: The file; it is replaced whole or not at all.
        rows: Judged signs.
        values: "sign/place" -> value, from which the rows were made.
        subject: What was inspected, as the page calls it.
        logs: Measurements over time, by run.
        trends: Signs against size.
        sensitivity: Of the learning rate, by size.

    Raises:
        StoreError: The file cannot be written.
    """
    page = health_page(rows, values, subject=subject, logs=logs, trends=trends, sensitivity=sensitivity)
    write_page(page, path)


def health_page(
    rows: Sequence[HealthRow],
    values: Mapping[str, float],
    *,
    subject: str,
    logs: Mapping[str, Log] | None = None,
    trends: Mapping[str, tuple[ScaleTrend, Crossing]] | None = None,
    sensitivity: Sequence[SizeSensitivity] = (),
) -> Page:
    """The same page, not yet rendered."""
    sections = [Section(anchor="signs", title="Signs", blocks=_sign_blocks(rows))]
    if trends:
        sections.append(Section(anchor="scales", title="Across scales", blocks=_trend_blocks(trends)))
    if sensitivity:
        sections.append(
            Section(anchor="rates", title="Learning-rate sensitivity", blocks=(_sensitivity_table(sensitivity),))
        )
    if logs and any(len(log) > 1 for log in logs.values()):
        sections.append(Section(anchor="time", title="Over time", blocks=(_alarm_table(logs), _time_grid(rows, logs))))
    sections.append(Section(anchor="places", title="Where", blocks=_place_blocks(rows, values)))
    return Page(
        title=f"limes: health of {subject}",
        question="Is anything inside the network about to go wrong?",
        answer=_answer(rows),
        sections=tuple(sections),
        footer="Thresholds and their reasons: docs/diagnostics.md. Written by limes. This file loads nothing.",
    )


def _answer(rows: Sequence[HealthRow]) -> tuple[str, ...]:
    bad = {level: [row for row in rows if row.level is level] for level in (Level.DANGER, Level.WATCH)}
    if not bad[Level.DANGER] and not bad[Level.WATCH]:
        judged = sum(row.level is Level.OK for row in rows)
        return (f"No: all {judged} signs that have a threshold are in order.",)
    lines = []
    for level, found in bad.items():
        if found:
            names = ", ".join(f"{row.sign.replace('_', ' ')} {row.value:.3g}" for row in found)
            lines.append(f"{'In danger' if level is Level.DANGER else 'To be watched'}: {names}.")
    return tuple(lines)


def _sign_blocks(rows: Sequence[HealthRow]) -> tuple[Block, ...]:
    cards = tuple(
        Card(
            tone=TONES[row.level],
            badge=row.level.value,
            title=f"{row.sign.replace('_', ' ')}: {row.value:.3g}",
            sentence=f"{SIGNS[row.sign].meaning}, {row.place or 'whole model'}. {SIGNS[row.sign].threshold}.",
            details=(f"What to do: {row.advice}.", f"{row.num_bad} of {row.num_places} places are beyond the line."),
        )
        for row in rows
        if row.level in (Level.WATCH, Level.DANGER)
    )
    table = Table(
        name="signs",
        columns=("sign", "state", "worst value", "where", "places", "thresholds", "healthy", "meaning"),
        rows=tuple(
            (
                row.sign,
                row.level.value,
                row.value,
                row.place or "whole model",
                row.num_places,
                SIGNS[row.sign].threshold or "none",
                SIGNS[row.sign].null or None,
                SIGNS[row.sign].meaning,
            )
            for row in rows
        ),
    )
    return (Cards(cards=cards), table) if cards else (table,)


def _alarm_table(logs: Mapping[str, Log]) -> Table:
    rows = tuple(
        (name, sign, step, place or "whole model")
        for name, log in logs.items()
        for sign, (step, place) in first_alarms(log).items()
    )
    return Table(
        name="first-danger",
        title="First in danger" if rows else "Nothing was ever in danger",
        columns=("run", "sign", "step", "where"),
        rows=rows,
    )


def _time_grid(rows: Sequence[HealthRow], logs: Mapping[str, Log]) -> Grid:
    """The worst place of each sign over steps, one line per run."""
    figures = []
    for row in rows:
        lines = []
        for index, (name, log) in enumerate(logs.items()):
            points = [(step, worst) for step, found in log if (worst := _worst(row.sign, found)) is not None]
            if len(points) > 1:
                x, y = (np.array(column, dtype=float) for column in zip(*points))
                color = category_color(0) if len(logs) == 1 else ramp_color(index, len(logs))
                lines.append(Line(label=plot_text(name), x=x, y=y, color=color, legend=len(logs) > 1))
        # A sign that was zero all along needs no picture.
        if any(line.y.any() for line in lines):
            figures.append(_with_lines(row.sign, lines))
    return Grid(figures=tuple(figures))


def _with_lines(sign: str, lines: Sequence[Line]) -> Figure:
    watch, danger = SIGNS[sign].watch, SIGNS[sign].danger
    found = np.concatenate([line.y for line in lines])
    found = found[np.isfinite(found)]
    # Lines of danger far above everything measured would flatten the curve.
    near = [line for line in (watch, danger) if line is not None and len(found) and line < 5 * found.max() + 1e-12]
    spread = len(found) > 0 and found.min() > 0 and found.max() > 30 * found.min()
    figure = line_figure(
        lines,
        title=SIGNS[sign].meaning[:1].upper() + SIGNS[sign].meaning[1:],
        name=file_stem(sign),
        x_title="step",
        y_title=sign.replace("_", " "),
        log_y=bool(spread),
        caption=SIGNS[sign].threshold and f"Dotted: {SIGNS[sign].threshold}." if near else SIGNS[sign].threshold,
        height=300,
    )
    for place in near:
        figure.plot.add_hline(
            y=place,
            line={"color": CATEGORIES[0][0] if place == danger else MUTED[0], "width": 1.2, "dash": "dot"},
        )
    return figure


def _worst(sign: str, values: Mapping[str, float]) -> float | None:
    found = [value for name, value in values.items() if name.partition("/")[0] == sign and not math.isnan(value)]
    if not found:
        return None
    return min(found) if SIGNS[sign].falling else max(found)


def _place_blocks(rows: Sequence[HealthRow], values: Mapping[str, float]) -> tuple[Block, ...]:
    figures = []
    for row in rows:
        found = [(name.partition("/")[2], value) for name, value in values.items() if name.startswith(f"{row.sign}/")]
        if len(found) > 1 and SIGNS[row.sign].watch is not None:
            figures.append(_bars(row.sign, found))
    everything: tuple[tuple[Cell, ...], ...] = tuple(
        (sign, place or "whole model", value)
        for name, value in values.items()
        for sign, _, place in (name.partition("/"),)
    )
    table = Table(name="values", columns=("sign", "where", "value"), rows=everything)
    folded = Folded(label=f"All {len(everything)} numbers", block=table)
    return (Grid(figures=tuple(figures)), folded) if figures else (folded,)


def _bars(sign: str, found: Sequence[tuple[str, float]]) -> Figure:
    names = [plot_text(place) for place, _ in found]
    level = [SIGNS[sign].level(value) for _, value in found]
    colors = {Level.DANGER: CATEGORIES[0][0], Level.WATCH: CATEGORIES[4][0]}
    plot = go.Figure()
    plot.add_bar(
        x=[value if math.isfinite(value) else None for _, value in found],
        y=names,
        orientation="h",
        marker={"color": [colors.get(one, CATEGORIES[1][0]) for one in level]},
        hovertemplate="%{y}: %{x:.4g}<extra></extra>",
    )
    values = [value for _, value in found if math.isfinite(value) and value > 0]
    wide = bool(values) and len(values) == len(found) and max(values) > 30 * min(values)
    plot.update_layout(
        showlegend=False,
        # Where all are zero plotly would draw from -1 to 1.
        xaxis={"title": {"text": sign.replace("_", " ")}} | ({"type": "log"} if wide else {"rangemode": "tozero"}),
        # In the order of the forward pass, the first at the top.
        yaxis={"autorange": "reversed", "tickfont": {"size": 10}},
    )
    return Figure(
        title=SIGNS[sign].meaning[:1].upper() + SIGNS[sign].meaning[1:],
        plot=plot,
        table=Table(name=file_stem(sign), columns=("where", sign), rows=tuple(found)),
        caption=SIGNS[sign].threshold,
        height=110 + 20 * len(found),
    )


def _sensitivity_table(sensitivity: Sequence[SizeSensitivity]) -> Table:
    rows = tuple(
        (
            one.parametrization,
            one.axis,
            one.size,
            None if math.isnan(one.value) else one.value,
            len(one.by_seed),
            one.by_seed[0].num_runs,
            one.by_seed[0].lowest_lr,
            one.by_seed[0].highest_lr,
            one.num_diverged,
        )
        for one in sensitivity
    )
    columns = ("parametrization", "axis", "size", "sensitivity", "seeds", "rates", "lowest rate", "highest rate")
    return Table(
        name="lr-sensitivity",
        columns=(*columns, "diverged runs"),
        rows=rows,
        caption="Mean over the rates that all sizes of a panel have of min(loss, initial loss) less the best. Diverged "
        "runs count as the initial loss; a dash where a seed trained at no rate.",
    )


def _trend_blocks(trends: Mapping[str, tuple[ScaleTrend, Crossing]]) -> tuple[Block, ...]:
    sentences = tuple(f"{sign.replace('_', ' ')}: {crossing.sentence}." for sign, (_, crossing) in trends.items())
    figures = tuple(_trend_figure(sign, *found) for sign, found in list(trends.items())[:MAX_LINES])
    columns = ("sign", "slope", "slope low", "slope high", "danger", "crosses at", "crosses low", "crosses high")
    table = Table(
        name="trends",
        columns=columns,
        rows=tuple(
            (sign, t.slope, *t.interval, c.danger, c.size, c.low, None if math.isinf(c.high) else c.high)
            for sign, (t, c) in trends.items()
        ),
    )
    return (Text(lines=sentences, bullets=True), Grid(figures=figures), table)


def _trend_figure(sign: str, trend: ScaleTrend, crossing: Crossing) -> Figure:
    farthest = max(float(trend.sizes.max()), crossing.target or 0.0)
    grid = np.geomspace(float(trend.sizes.min()), farthest * 1.05, 40)
    middle, low, high = (np.array(column) for column in zip(*(trend.at(float(size)) for size in grid)))
    color = category_color(1)
    figure = line_figure(
        [
            Line(label="fit", x=grid, y=middle, low=low, high=high, color=color),
            Line(label="runs", x=trend.sizes, y=trend.values, color=category_color(0), markers=True),
        ],
        title=f"{sign.replace('_', ' ')} goes as {trend.axis}^{trend.slope:.2f}"
        if trend.log_values
        else f"{sign.replace('_', ' ')} against {trend.axis}",
        name=f"trend-{file_stem(sign)}",
        x_title=trend.axis,
        y_title=sign.replace("_", " "),
        log_x=True,
        log_y=trend.log_values,
        caption=f"Band: where one new run falls ({trend.level:.0%}). Dotted: danger.",
        height=320,
    )
    if crossing.danger < 20 * float(high.max()):
        figure.plot.add_hline(y=crossing.danger, line={"color": CATEGORIES[0][0], "width": 1.2, "dash": "dot"})
    return figure
