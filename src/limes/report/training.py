"""Loss against training step, at the best learning rate of each size."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from limes.compare.result import LrCurve, PanelResult
from limes.core.errors import StoreError
from limes.report.curves import file_stem
from limes.report.page import Cell, Figure, Table
from limes.report.style import MUTED, ramp_color, translucent

Curves = Callable[[str], Mapping[str, NDArray[np.float64]]]
MAX_POINTS = 400


def training_figures(panels: Sequence[PanelResult], curves: Curves, *, loss_label: str) -> tuple[Figure, ...]:
    """Training loss by step at the best learning rate of each size, lowest seed; one figure per parametrization."""
    return tuple(_training_figure(panel, curves, loss_label=loss_label) for panel in panels)


def _training_figure(panel: PanelResult, curves: Curves, *, loss_label: str) -> Figure:
    plot = go.Figure()
    rows: list[tuple[Cell, ...]] = []
    missing: list[str] = []
    for index, size in enumerate(panel.sizes):
        run = best_run([curve for curve in panel.curves if curve.size == size])
        losses = _losses(curves, run[1]) if run else None
        if run is None or losses is None:
            missing.append(str(size))
            continue
        color, label = ramp_color(index, len(panel.sizes)), f"{panel.axis} {size}, 2<sup>{run[0]:g}</sup>"
        steps, smooth = _thinned(losses)
        plot.add_scatter(
            x=steps,
            y=_thin(losses),
            mode="lines",
            line={"color": translucent(color, 0.3), "width": 1},
            hoverinfo="skip",
            showlegend=False,
        )
        plot.add_scatter(
            x=steps,
            y=smooth,
            mode="lines",
            name=label,
            line={"color": color, "width": 2},
            hovertemplate=f"{label}<br>step %{{x}}<br>loss %{{y:.4f}}<extra></extra>",
        )
        rows += [(size, run[0], step, loss) for step, loss in enumerate(losses.tolist())]
    if missing:
        plot.add_annotation(
            text=f"no curve for {panel.axis} {', '.join(missing)}",
            showarrow=False,
            xref="paper",
            yref="paper",
            x=1,
            y=1,
            xanchor="right",
            yanchor="top",
            font={"color": MUTED[0]},
        )
    plot.update_layout(xaxis={"title": {"text": "training step"}}, yaxis={"title": {"text": f"training {loss_label}"}})
    return Figure(
        title=f"{panel.parametrization}: training loss at the best {panel.swept[0]} of each size",
        plot=plot,
        table=Table(
            name=f"{panel.axis}-{file_stem(panel.parametrization)}-training",
            columns=(panel.axis, f"log2 {panel.swept[0]}", "step", f"training {loss_label}"),
            rows=tuple(rows),
        ),
    )


def best_run(curves: Sequence[LrCurve]) -> tuple[float, str] | None:
    """(log2 lr, key) of the smallest loss of the lowest seed; None when none of its runs has a loss."""
    if not curves:
        return None
    curve = min(curves, key=lambda candidate: candidate.seed)
    done = [
        (loss, place, key)
        for place, loss, key in zip(curve.log2_lr, curve.loss, curve.keys, strict=True)
        if loss is not None
    ]
    return min(done)[1:] if done else None


def _losses(curves: Curves, key: str) -> NDArray[np.float64] | None:
    try:
        losses = np.asarray(curves(key)["train_loss"], dtype=np.float64)
    except (KeyError, StoreError):
        return None
    return losses if len(losses) else None


def _thin(losses: NDArray[np.float64]) -> list[float | None]:
    return [float(loss) if math.isfinite(loss) else None for loss in losses[:: -(-len(losses) // MAX_POINTS)]]


def _thinned(losses: NDArray[np.float64]) -> tuple[list[int], list[float | None]]:
    """Steps, and the centred running mean over a twentieth of the run (less at the ends)."""
    half = len(losses) // 40
    sums = np.concatenate([[0.0], np.cumsum(losses)])
    steps = np.arange(len(losses))
    reach = np.minimum(half, np.minimum(steps, len(losses) - 1 - steps))
    means = (sums[steps + reach + 1] - sums[steps - reach]) / (2 * reach + 1)
    stride = -(-len(losses) // MAX_POINTS)
    return steps[::stride].tolist(), _thin(means)
