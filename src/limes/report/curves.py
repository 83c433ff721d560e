"""Loss against learning rate, or whatever else a study sweeps, size by size."""

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from limes.compare.result import PanelResult
from limes.report.page import Cell, Figure, Table
from limes.report.style import INK, ramp_color, symbol, translucent
from limes.report.words import movement


def lr_axis(values: Sequence[float], title: str = "learning rate") -> dict[str, object]:
    """A plot axis of log2 learning rates, written as powers of two."""
    octaves = max(values, default=0.0) - min(values, default=0.0)
    return {
        "title": {"text": title},
        "tickprefix": "2<sup>",
        "ticksuffix": "</sup>",
        "dtick": 1 if octaves <= 6 else 2 if octaves <= 13 else 4,
        "tick0": 0,
    }


def seed_mean(panel: PanelResult, size: int) -> list[tuple[float, float]]:
    """(log2 lr, loss) where every seed of the size has a finite loss, increasing."""
    curves = [curve for curve in panel.curves if curve.size == size]
    losses: dict[float, list[float]] = {}
    for curve in curves:
        for place, loss in zip(curve.log2_lr, curve.loss, strict=True):
            if loss is not None:
                losses.setdefault(place, []).append(loss)
    return [
        (place, math.fsum(found) / len(found)) for place, found in sorted(losses.items()) if len(found) == len(curves)
    ]


def _ceiling(panels: Sequence[PanelResult]) -> tuple[float, float]:
    """Vertical range shared by the panels; the few losses far above the valleys go to its upper edge."""
    losses = np.array([loss for panel in panels for curve in panel.curves for loss in curve.loss if loss is not None])
    if len(losses) == 0:
        return 0.0, 1.0
    low = float(losses.min())
    # Four times the median rise keeps valleys legible beside runs that all but diverged.
    high = min(float(losses.max()), low + 4 * float(np.median(losses - low)))
    room = max(high - low, 1e-3 * max(abs(low), 1e-9))
    return low - 0.06 * room, high + 0.16 * room


def lr_figures(panels: Sequence[PanelResult], *, loss_label: str) -> tuple[Figure, ...]:
    """Loss against learning rate, one figure for each parametrization of an axis, all on one scale."""
    limits = _ceiling(panels)
    return tuple(_lr_figure(panel, limits, loss_label=loss_label) for panel in panels)


def _lr_figure(panel: PanelResult, limits: tuple[float, float], *, loss_label: str) -> Figure:
    plot = go.Figure()
    roof = limits[1] - 0.06 * (limits[1] - limits[0])
    for index in range(len(panel.sizes)):
        _add_size(plot, panel, index, roof=roof)
    for index in range(len(panel.sizes)):
        _add_optimum(plot, panel, index)
    _add_edge_markers(plot, panel, roof)
    places = [place for curve in panel.curves for place in curve.log2_lr]
    plot.update_layout(
        xaxis=lr_axis(places, panel.swept[0]),
        showlegend=True,
        yaxis={"title": {"text": loss_label}, "range": list(limits)},
    )
    return Figure(
        title=f"{panel.parametrization}: the best {panel.swept[0]} {movement(panel)}",
        plot=plot,
        table=_lr_table(panel, loss_label),
        height=430,
    )


def _add_size(plot: go.Figure, panel: PanelResult, index: int, *, roof: float) -> None:
    size, color = panel.sizes[index], ramp_color(index, len(panel.sizes))
    curves = [curve for curve in panel.curves if curve.size == size]
    if len(curves) > 1:
        for curve in curves:
            plot.add_scatter(
                x=list(curve.log2_lr),
                y=[loss if loss is not None and loss <= roof else None for loss in curve.loss],
                mode="lines",
                line={"color": translucent(color, 0.5), "width": 1},
                hoverinfo="skip",
                showlegend=False,
            )
    mean = [(place, loss if loss <= roof else None) for place, loss in seed_mean(panel, size)]
    plot.add_scatter(
        x=[place for place, _ in mean],
        y=[loss for _, loss in mean],
        mode="lines+markers",
        name=f"{panel.axis} {size}",
        line={"color": color, "width": 2.2},
        marker={"symbol": symbol(index), "size": 7, "color": color},
        hovertemplate=f"{panel.axis} {size}<br>{panel.swept[0]} %{{x}}<br>loss %{{y:.4f}}<extra></extra>",
    )


def _add_optimum(plot: go.Figure, panel: PanelResult, index: int) -> None:
    place = panel.log2_optimal_lr[index]
    depths = [
        curve.vertex.y for curve in panel.curves if curve.size == panel.sizes[index] and curve.vertex.y is not None
    ]
    if place is None or not depths:
        return
    first = all(found is None for found in panel.log2_optimal_lr[:index])
    plot.add_scatter(
        x=[place],
        y=[math.fsum(depths) / len(depths)],
        mode="markers",
        name="optimum",
        legendgroup="optimum",
        showlegend=first,
        marker={
            "symbol": "star",
            "size": 14,
            "color": ramp_color(index, len(panel.sizes)),
            "line": {"color": INK[0], "width": 1.2},
        },
        hovertemplate=f"optimum of {panel.axis} {panel.sizes[index]}: 2^%{{x:.2f}}<extra></extra>",
    )


def _add_edge_markers(plot: go.Figure, panel: PanelResult, roof: float) -> None:
    """Diverged runs and losses above the picture, as open markers along the top."""
    spots = [
        (curve, index, "diverged" if curve.diverged[index] else "above the picture")
        for curve in panel.curves
        for index, loss in enumerate(curve.loss)
        if curve.diverged[index] or (loss is not None and loss > roof)
    ]
    for kind, shape in (("diverged", "circle-open"), ("above the picture", "triangle-up-open")):
        chosen = [(curve, index) for curve, index, found in spots if found == kind]
        if not chosen:
            continue
        colors = [ramp_color(panel.sizes.index(curve.size), len(panel.sizes)) for curve, _ in chosen]
        plot.add_scatter(
            x=[curve.log2_lr[index] for curve, index in chosen],
            y=[roof] * len(chosen),
            mode="markers",
            name=kind,
            # Markers grow with size, so that those at one learning rate stand around each other.
            marker={
                "symbol": shape,
                "size": [10 + 5 * panel.sizes.index(curve.size) for curve, _ in chosen],
                "color": colors,
                "line": {"width": 2},
            },
            customdata=[
                [f"{panel.axis} {curve.size}, seed {curve.seed}", _loss_words(curve.loss[index])]
                for curve, index in chosen
            ],
            hovertemplate=f"%{{customdata[0]}}<br>{panel.swept[0]} %{{x}}<br>%{{customdata[1]}}<extra></extra>",
        )


def _loss_words(loss: float | None) -> str:
    return "diverged" if loss is None else f"loss {loss:.4g}"


def _lr_table(panel: PanelResult, loss_label: str) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (panel.parametrization, curve.size, curve.seed, place, loss, diverged, key)
        for curve in panel.curves
        for place, loss, diverged, key in zip(curve.log2_lr, curve.loss, curve.diverged, curve.keys, strict=True)
    ]
    columns = ("parametrization", panel.axis, "seed", f"log2 {panel.swept[0]}", loss_label, "diverged", "run")
    return Table(name=f"{panel.axis}-{file_stem(panel.parametrization)}-lr", columns=columns, rows=tuple(rows))


def file_stem(label: str) -> str:
    """A label as part of a file name."""
    return "".join(letter if letter.isalnum() else "-" for letter in label).strip("-") or "unnamed"
