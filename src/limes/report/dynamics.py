"""Figures of learning dynamics: loss curves with bands, kernels as heat maps, densities of fields."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from limes.report.page import Cell, Figure, Table, Text
from limes.report.style import CATEGORIES, MUTED, SURFACE, plot_text, translucent

Array = NDArray[np.float64]
# Negative, zero, positive; the page swaps all three in the dark.
DIVERGING = ((0.0, CATEGORIES[1][0]), (0.5, SURFACE[0]), (1.0, CATEGORIES[0][0]))
KERNEL_NOTE = Text(
    lines=("Samples are ordered by their target. One colour scale per figure; zero has the colour of the background.",),
    tone="quiet",
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Line:
    """One curve.

    Attributes:
        label: In the legend and in the table.
        x: (n,).
        y: (n,); NaN leaves a gap.
        color: A light colour of `limes.report.style`.
        low: Lower edge of a band around it, or None.
        high: Upper edge, or None.
        dash: Of the stroke.
        markers: Points instead of a stroke, with the band as error bars.
        symbol: Of the markers.
        legend: Whether it has an entry in the legend.
    """

    label: str
    x: Array
    y: Array
    color: str
    low: Array | None = None
    high: Array | None = None
    dash: str = "solid"
    markers: bool = False
    symbol: str = "circle"
    legend: bool = True


def line_figure(
    lines: Sequence[Line],
    *,
    title: str,
    name: str,
    x_title: str,
    y_title: str,
    log_x: bool = False,
    log_y: bool = False,
    ticks: Sequence[float] = (),
    caption: str = "",
    height: int = 400,
) -> Figure:
    """Curves with bands or error bars; on a logarithmic axis, what is not positive is left out."""
    plot = go.Figure()
    for line in lines:
        if line.low is not None and not line.markers:
            _add_band(plot, line, log_y=log_y)
    for line in lines:
        _add_line(plot, line, log_y=log_y)
    horizontal: dict[str, object] = {"title": {"text": x_title}, **({"type": "log"} if log_x else {})}
    if ticks:
        horizontal |= {"tickvals": list(ticks), "ticktext": [f"{tick:g}" for tick in ticks], "minor": {"ticks": ""}}
    plot.update_layout(
        xaxis=horizontal,
        yaxis={
            "title": {"text": y_title},
            **({"type": "log", "exponentformat": "power", "nticks": 5} if log_y else {}),
        },
        showlegend=True,
    )
    return Figure(title=title, plot=plot, table=_line_table(lines, name, x_title), caption=caption, height=height)


def _add_band(plot: go.Figure, line: Line, *, log_y: bool) -> None:
    assert line.low is not None and line.high is not None
    x, low, high = line.x, line.low, line.high
    keep = np.isfinite(low) & np.isfinite(high) & ((low > 0) if log_y else True)
    x, low, high = x[keep], low[keep], high[keep]
    plot.add_scatter(
        x=np.concatenate([x, x[::-1]]).tolist(),
        y=np.concatenate([high, low[::-1]]).tolist(),
        mode="lines",
        fill="toself",
        fillcolor=translucent(line.color, 0.18),
        line={"width": 0, "color": line.color},
        hoverinfo="skip",
        showlegend=False,
    )


def _add_line(plot: go.Figure, line: Line, *, log_y: bool) -> None:
    y = [float(v) if np.isfinite(v) and (v > 0 or not log_y) else None for v in line.y]
    gaps = [None, *y, None]
    lonely = any(v is not None and gaps[i] is None and gaps[i + 2] is None for i, v in enumerate(y))
    # A stroke shows no point that has no neighbour.
    style: dict[str, object] = {
        "mode": "lines+markers" if lonely else "lines",
        "line": {"color": line.color, "width": 2.2, "dash": line.dash},
    }
    if line.markers:
        style = {"mode": "markers", "marker": {"color": line.color, "size": 8, "symbol": line.symbol}}
        if line.low is not None and line.high is not None:
            up, down = (line.high - line.y).tolist(), (line.y - line.low).tolist()
            style["error_y"] = {"type": "data", "array": up, "arrayminus": down, "thickness": 1.2, "width": 3}
    label = plot_text(line.label)
    plot.add_scatter(
        x=line.x.tolist(),
        y=y,
        name=label,
        showlegend=line.legend,
        hovertemplate=f"{label}<br>%{{x}}: %{{y:.4g}}<extra></extra>",
        **style,
    )


def _line_table(lines: Sequence[Line], name: str, x_title: str) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for line in lines:
        low = line.y * np.nan if line.low is None else line.low
        high = line.y * np.nan if line.high is None else line.high
        rows += [
            (line.label, float(x), *(float(v) if np.isfinite(v) else None for v in values))
            for x, *values in zip(line.x, line.y, low, high, strict=True)
        ]
    return Table(name=name, columns=("curve", x_title, "value", "low", "high"), rows=tuple(rows))


def kernel_figure(kernels: Sequence[tuple[str, Array]], *, title: str, name: str, caption: str = "") -> Figure:
    """Kernels (P, P) side by side on one colour scale that is symmetric about zero."""
    limit = max(float(np.abs(kernel).max()) for _, kernel in kernels) or 1.0
    labels = [plot_text(label) for label, _ in kernels]
    plot = make_subplots(rows=1, cols=len(kernels), subplot_titles=labels, horizontal_spacing=0.04)
    for column, (label, kernel) in enumerate(kernels, start=1):
        plot.add_heatmap(
            z=np.round(kernel, 6).tolist(),
            coloraxis="coloraxis",
            hovertemplate=f"{plot_text(label)}<br>samples %{{y}}, %{{x}}: %{{z:.4g}}<extra></extra>",
            row=1,
            col=column,
        )
    plot.update_xaxes(showgrid=False, showticklabels=False, ticks="", showline=False)
    plot.update_yaxes(
        showgrid=False, showticklabels=False, ticks="", showline=False, autorange="reversed", scaleanchor="x"
    )
    for column in range(1, len(kernels) + 1):
        axis = "" if column == 1 else str(column)
        plot.layout[f"yaxis{axis}"].update(scaleanchor=f"x{axis}", constrain="domain", constraintoward="top")
        plot.layout[f"xaxis{axis}"].update(constrain="domain")
    bar: dict[str, object] = {
        "orientation": "h",
        "y": -0.02,
        "yanchor": "top",
        "thickness": 8,
        "len": 0.8,
        "outlinewidth": 0,
    }
    bar |= {"tickcolor": MUTED[0], "nticks": 5}
    scale = [list(stop) for stop in DIVERGING]
    plot.update_layout(
        coloraxis={"cmin": -limit, "cmax": limit, "colorscale": scale, "colorbar": bar},
        margin={"l": 8, "r": 8, "t": 34, "b": 40},
    )
    plot.update_annotations(font={"size": 13})
    rows = tuple(
        (label, i, j, float(kernel[i, j]))
        for label, kernel in kernels
        for i in range(len(kernel))
        for j in range(i + 1)
    )
    table = Table(name=name, columns=("kernel", "sample", "other sample", "value"), rows=rows)
    # More maps side by side are smaller ones.
    return Figure(title=title, plot=plot, table=table, caption=caption, height=290 if len(kernels) < 3 else 240)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sample:
    """Numbers whose distribution is drawn: as bars where `filled`, as a line otherwise."""

    label: str
    values: Array
    color: str
    filled: bool = False
    dash: str = "solid"


def density_figure(
    samples: Sequence[Sample], *, title: str, name: str, x_title: str, num_bins: int = 36, caption: str = ""
) -> Figure:
    """Densities over common bins, so that bars and lines are smoothed alike."""
    reach = max(float(np.quantile(np.abs(sample.values), 0.999)) for sample in samples) or 1.0
    edges = np.linspace(-reach, reach, num_bins + 1)
    centres, plot, rows = (edges[1:] + edges[:-1]) / 2, go.Figure(), []
    for sample in samples:
        counts, _ = np.histogram(sample.values, edges)
        density = counts / (len(sample.values) * (edges[1] - edges[0]))
        label = plot_text(sample.label)
        if sample.filled:
            bar = {"color": translucent(sample.color, 0.45), "line": {"width": 0}}
            plot.add_bar(x=centres.tolist(), y=density.tolist(), name=label, marker=bar)
        else:
            stroke = {"color": sample.color, "width": 2.2, "dash": sample.dash}
            plot.add_scatter(x=centres.tolist(), y=density.tolist(), name=label, mode="lines", line=stroke)
        rows += [(sample.label, float(x), float(y)) for x, y in zip(centres, density, strict=True)]
    plot.update_layout(
        barmode="overlay",
        bargap=0.0,
        xaxis={"title": {"text": x_title}},
        yaxis={"title": {"text": "density"}, "rangemode": "tozero"},
        showlegend=True,
    )
    table = Table(name=name, columns=("curve", x_title, "density"), rows=tuple(rows))
    return Figure(title=title, plot=plot, table=table, caption=caption, height=290)
