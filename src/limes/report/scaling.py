"""What changes with size: the optimum, its drift, the loss at a fixed learning rate."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from limes.compare.result import PanelResult
from limes.report.curves import file_stem, lr_axis
from limes.report.page import Cell, Figure, Table
from limes.report.style import (
    CATEGORIES,
    DASHES,
    INK,
    MUTED,
    SAFE,
    category_color,
    plot_text,
    ramp_color,
    symbol,
    translucent,
)
from limes.report.words import improvement
from limes.spec.swept import NAMES


def size_axis(axis: str, sizes: Sequence[int]) -> dict[str, object]:
    """A logarithmic plot axis that has a tick at each size."""
    values = sorted(set(sizes))
    return {
        "title": {"text": axis},
        "type": "log",
        "tickvals": values,
        "ticktext": [str(value) for value in values],
        "minor": {"ticks": ""},
    }


def drift_figure(panels: Sequence[PanelResult], *, tolerance: float, level: float) -> Figure:
    """The drift of every panel with its interval, against the zone in which a learning rate counts as transferred."""
    plot, name = go.Figure(), (panels[0].swept if panels else NAMES["lr"])[0]
    plot.add_vrect(x0=-tolerance, x1=tolerance, fillcolor=translucent(SAFE[0], 0.18), line_width=0, layer="below")
    plot.add_vline(x=0, line={"color": MUTED[0], "width": 1, "dash": "dot"})
    colors = panel_colors(panels)
    for row, panel in enumerate(panels):
        _add_drift(plot, panel, -row, colors[panel.parametrization][0])
    plot.update_layout(
        showlegend=False,
        xaxis={"title": {"text": "drift of the optimum (octaves)"}, "range": _drift_range(panels, tolerance)},
        yaxis={"showticklabels": False, "ticks": "", "showgrid": False, "range": [0.4 - max(len(panels), 1), 0.75]},
    )
    return Figure(
        title=f"Drift of the optimum from the smallest to the largest size, with {level:.0%} intervals",
        plot=plot,
        table=_drift_table(panels, level),
        caption=f"Shaded: within ±{tolerance:g} octave the {name} counts as transferred. Ticks: single seeds.",
        height=90 + 54 * max(len(panels), 1),
    )


def _drift_range(panels: Sequence[PanelResult], tolerance: float) -> list[float]:
    """Holds every interval, and the zone with room beside it."""
    ends = [-1.2 * tolerance, 1.2 * tolerance]
    for panel in panels:
        ends += [drift for _, drift in panel.seed_drifts] + list(panel.drift_interval or ())
        ends += [] if panel.drift_octaves is None else [panel.drift_octaves]
    room = 0.04 * (max(ends) - min(ends))
    return [min(ends) - room, max(ends) + room]


def _add_drift(plot: go.Figure, panel: PanelResult, row: int, color: str) -> None:
    drift, interval = panel.drift_octaves, panel.drift_interval
    label = f"{panel.parametrization}, {panel.axis}" + (": no estimate" if drift is None else "")
    # Inside the plot, so that long names leave the scale its width on a phone.
    plot.add_annotation(
        text=plot_text(label), xref="paper", x=0, xanchor="left", y=row, yanchor="bottom", yshift=9, showarrow=False
    )
    plot.add_scatter(
        x=[value for _, value in panel.seed_drifts],
        y=[row] * len(panel.seed_drifts),
        mode="markers",
        marker={"symbol": "line-ns-open", "size": 12, "color": color, "line": {"width": 1.5}},
        hovertemplate="one seed: %{x:.2f} octaves<extra></extra>",
    )
    low, high = interval if interval and drift is not None else (drift, drift)
    plot.add_scatter(
        x=[drift],
        y=[row],
        mode="markers",
        marker={"size": 12, "color": color, "line": {"color": INK[0], "width": 1}},
        error_x={
            "type": "data",
            "array": [None if drift is None or high is None else high - drift],
            "arrayminus": [None if drift is None or low is None else drift - low],
            "color": color,
            "thickness": 2.5,
            "width": 6,
        },
        hovertemplate=f"{plot_text(label)}: %{{x:.2f}} octaves<extra></extra>",
    )


def _drift_table(panels: Sequence[PanelResult], level: float) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for panel in panels:
        low, high = panel.drift_interval or (None, None)
        rows.append(
            (
                panel.axis,
                panel.parametrization,
                panel.sizes[0],
                panel.sizes[-1],
                panel.drift_octaves,
                low,
                high,
                panel.verdict,
            )
        )
    columns = (
        "axis",
        "parametrization",
        "smallest",
        "largest",
        "drift (octaves)",
        f"low ({level:.0%})",
        f"high ({level:.0%})",
    )
    return Table(name="drift", columns=(*columns, "verdict"), rows=tuple(rows))


def panel_colors(panels: Sequence[PanelResult]) -> Mapping[str, tuple[str, str, str]]:
    """Colour, dash and symbol of each parametrization, the same all over the page."""
    names = dict.fromkeys(panel.parametrization for panel in panels)
    return {
        name: (category_color(index), DASHES[index // len(CATEGORIES) % len(DASHES)], symbol(index))
        for index, name in enumerate(names)
    }


def optimum_figure(
    panels: Sequence[PanelResult], colors: Mapping[str, tuple[str, str, str]], *, level: float
) -> Figure:
    """The best learning rate of every size, all parametrizations of one axis, with bands."""
    plot = go.Figure()
    for panel in panels:
        color, dash, shape = colors[panel.parametrization]
        for start, stop in _runs(panel):
            _add_band(plot, panel, start, stop, color)
        plot.add_scatter(
            x=list(panel.sizes),
            y=list(panel.log2_optimal_lr),
            mode="lines+markers",
            name=plot_text(panel.parametrization),
            line={"color": color, "width": 2.4, "dash": dash},
            marker={"symbol": shape, "size": 9},
            hovertemplate=f"{plot_text(panel.parametrization)}<br>{panel.axis} %{{x}}: 2^%{{y:.2f}}<extra></extra>",
        )
    axis = panels[0].axis
    ends = [end for panel in panels for interval in panel.intervals if interval for end in interval]
    if all(place is None for panel in panels for place in panel.log2_optimal_lr):
        plot.add_annotation(text="no optimum was found", showarrow=False, xref="paper", yref="paper", x=0.5, y=0.5)
    plot.update_layout(
        xaxis=size_axis(axis, [size for panel in panels for size in panel.sizes]),
        yaxis=lr_axis(ends, f"best {panels[0].swept[0]}"),
    )
    return Figure(
        title=f"The best {panels[0].swept[0]} against {axis}: level where it transfers, sloped where it moves",
        plot=plot,
        table=optimum_table(panels, level=level),
        caption=f"Bands: {level:.0%} intervals. A gap is an optimum that was not found.",
        height=420,
    )


def _runs(panel: PanelResult) -> list[tuple[int, int]]:
    """Half-open ranges of neighbouring sizes that all have an interval."""
    runs: list[tuple[int, int]] = []
    for index, interval in enumerate(panel.intervals):
        if interval is None:
            continue
        if runs and runs[-1][1] == index:
            runs[-1] = (runs[-1][0], index + 1)
        else:
            runs.append((index, index + 1))
    return runs


def _add_band(plot: go.Figure, panel: PanelResult, start: int, stop: int, color: str) -> None:
    sizes = panel.sizes[start:stop]
    intervals = [interval for interval in panel.intervals[start:stop] if interval]
    lows, highs = zip(*intervals, strict=True)
    plot.add_scatter(
        x=[*sizes, *sizes[::-1]],
        y=[*lows, *highs[::-1]],
        mode="lines",
        fill="toself",
        fillcolor=translucent(color),
        # A lone size has no area: its band is drawn as a bar.
        line={"color": translucent(color, 0.5), "width": 0 if len(sizes) > 1 else 4},
        hoverinfo="skip",
        showlegend=False,
    )


def optimum_table(panels: Sequence[PanelResult], *, level: float) -> Table:
    """Optimum, interval and best loss of every size."""
    rows: list[tuple[Cell, ...]] = []
    for panel in panels:
        for index, size in enumerate(panel.sizes):
            low, high = panel.intervals[index] or (None, None)
            optimum = panel.log2_optimal_lr[index]
            rows.append(
                (panel.parametrization, size, panel.num_params[index], optimum, low, high, panel.best_loss[index])
            )
    columns = ("parametrization", panels[0].axis, "parameters", f"log2 best {panels[0].swept[0]}", f"low ({level:.0%})")
    return Table(
        name=f"{panels[0].axis}-optimum", columns=(*columns, f"high ({level:.0%})", "best loss"), rows=tuple(rows)
    )


def fixed_lr_figures(panels: Sequence[PanelResult], *, loss_label: str) -> tuple[Figure, ...]:
    """Loss against size, one line for each learning rate that all sizes share; one figure per parametrization."""
    return tuple(_fixed_lr_figure(panel, loss_label) for panel in panels)


def _fixed_lr_figure(panel: PanelResult, loss_label: str) -> Figure:
    plot, name = go.Figure(), panel.swept[0]
    rows: list[tuple[Cell, ...]] = []
    for index, row in enumerate(panel.fixed_lr):
        color, words = ramp_color(index, len(panel.fixed_lr)), {True: "falls", False: "not always", None: "unknown"}
        plot.add_scatter(
            x=list(panel.sizes),
            y=list(row.loss),
            mode="lines+markers",
            name=f"2<sup>{row.log2_lr:g}</sup>",
            line={"color": color, "width": 2, "dash": "solid" if row.improves else "dash"},
            marker={"symbol": symbol(index), "size": 7},
            hovertemplate=f"{name} 2^{row.log2_lr:g}<br>{panel.axis} %{{x}}<br>loss %{{y:.4f}}<extra></extra>",
        )
        rows += [
            (row.log2_lr, size, loss, words[row.improves]) for size, loss in zip(panel.sizes, row.loss, strict=True)
        ]
    if not panel.fixed_lr:
        plot.add_annotation(
            text=f"no {name} is shared by all sizes",
            showarrow=False,
            xref="paper",
            yref="paper",
            x=0.5,
            y=0.5,
        )
    plot.update_layout(
        xaxis=size_axis(panel.axis, panel.sizes), yaxis={"title": {"text": loss_label}}, showlegend=bool(panel.fixed_lr)
    )
    return Figure(
        title=f"{panel.parametrization}: {improvement(panel).lower()}",
        plot=plot,
        table=Table(
            name=f"{panel.axis}-{file_stem(panel.parametrization)}-fixed-lr",
            columns=(f"log2 {name}", panel.axis, loss_label, "with size"),
            rows=tuple(rows),
        ),
        caption="Solid: the loss falls at every step. Dashed: it does not, or a run diverged.",
    )
