"""The image of a picture, for pages that cannot run scripts; needs matplotlib (`pip install 'limes[plots]'`)."""

import io
from importlib.util import find_spec
from typing import Any

import numpy as np

from limes.compare.gallery.picture import NEUTRAL, Curve, Panel, Picture
from limes.report.style import GRID, INK, MUTED, SURFACE, category_color, ramp_color

MARKERS = ("o", "s", "D", "^", "p", "h", "v", "X")
STROKES = {"line": "-", "dash": "--"}


def curve_color(panel: Panel, curve: Curve) -> str:
    """Light colour of a curve: grey for laws, a ramp for sizes, categories otherwise."""
    if curve.color == NEUTRAL:
        return MUTED[0]
    if not panel.ordered:
        return category_color(curve.color)
    return ramp_color(curve.color, 1 + max(other.color for other in panel.curves))


def picture_svg(picture: Picture) -> bytes | None:
    """The panels side by side as SVG, the same bytes for the same picture; None without matplotlib."""
    if find_spec("matplotlib") is None:
        return None
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings: dict[Any, Any] = {
        "svg.hashsalt": "limes",
        "svg.fonttype": "none",
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.edgecolor": MUTED[0],
        "axes.labelcolor": INK[0],
        "text.color": INK[0],
        "xtick.color": MUTED[0],
        "ytick.color": MUTED[0],
    }
    with matplotlib.rc_context(settings):
        count = len(picture.panels)
        figure = Figure(figsize=(4.4 * count, 3.6), layout="constrained", facecolor=SURFACE[0])
        FigureCanvasSVG(figure)
        for axes, panel in zip(figure.subplots(1, count, squeeze=False)[0], picture.panels, strict=True):
            _draw(axes, panel)
        stream = io.BytesIO()
        figure.savefig(stream, format="svg", metadata={"Date": None}, facecolor=SURFACE[0])
    return stream.getvalue()


def _draw(axes: Any, panel: Panel) -> None:
    for curve in panel.curves:
        _draw_curve(axes, curve, curve_color(panel, curve), log_y=panel.log_y)
    axes.set_title(_wrapped(panel.title), loc="left")
    axes.set_xlabel(panel.x_title)
    axes.set_ylabel(panel.y_title)
    if panel.log_x:
        axes.set_xscale("log")
    if panel.log_y:
        axes.set_yscale("log")
    if panel.ticks:
        axes.set_xticks(panel.ticks, [f"{tick:g}" for tick in panel.ticks])
        axes.set_xticks([], minor=True)
    axes.set_facecolor(SURFACE[0])
    axes.grid(color=GRID[0], linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)


def _draw_curve(axes: Any, curve: Curve, color: str, *, log_y: bool) -> None:
    y = np.where(curve.y > 0, curve.y, np.nan) if log_y else curve.y
    label = curve.label if curve.legend else None
    if curve.style == "points":
        spread = None
        if curve.low is not None and curve.high is not None:
            low = np.maximum(curve.low, 1e-3 * np.abs(y)) if log_y else curve.low
            spread = np.stack([y - low, curve.high - y])
        marker = MARKERS[max(curve.color, 0) % len(MARKERS)]
        axes.errorbar(curve.x, y, spread, fmt=marker, color=color, markersize=4, elinewidth=0.9, capsize=2, label=label)
        return
    axes.plot(curve.x, y, STROKES[curve.style], color=color, linewidth=1.5, label=label)
    if curve.low is not None and curve.high is not None:
        axes.fill_between(curve.x, curve.low, curve.high, color=color, alpha=0.16, linewidth=0)


def _wrapped(title: str, width: int = 52) -> str:
    from textwrap import fill

    return fill(title, width)
