"""Colours, symbols and plot themes. Every colour is a pair: one for light pages, one for dark ones.

Figures are built with the light colours; the page swaps each for its dark partner where the reader's screen is dark.
The categories are the Okabe-Ito set, darkened or lightened until lines reach a contrast of 3:1; sizes run along a ramp
whose lightness is monotone, so that their order survives any colour blindness, and carry symbols besides.
"""

import html
from collections.abc import Mapping
from typing import Any

Pair = tuple[str, str]

INK: Pair = ("#1c2430", "#e7eaf0")
MUTED: Pair = ("#5b6675", "#a3adbb")
GRID: Pair = ("#e3e7ec", "#2f3843")
SURFACE: Pair = ("#fefefe", "#171c23")
SAFE: Pair = ("#2c8c5a", "#4fc38a")

CATEGORIES: tuple[Pair, ...] = (
    ("#c44e00", "#ff8f4a"),
    ("#0072b2", "#56b4e9"),
    ("#00805f", "#2fd0a5"),
    ("#a8508a", "#e79ccb"),
    ("#8a6d00", "#e8cf4c"),
    ("#4b4bb0", "#a5a5ff"),
)
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "pentagon", "hexagon", "triangle-down", "hourglass")
DASHES = ("solid", "dash", "dot", "dashdot")
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

_ANCHORS: tuple[Pair, ...] = (("#d98200", "#ffc46b"), ("#c2326f", "#f4709f"), ("#3a1a86", "#7f69ec"))
_RAMP_STEPS = 33


def _mix(start: str, end: str, share: float) -> str:
    channels = [(int(start[i : i + 2], 16), int(end[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in channels)


def _ramp_pair(position: float) -> Pair:
    place = position * (len(_ANCHORS) - 1)
    left = min(int(place), len(_ANCHORS) - 2)
    light, dark = (_mix(a, b, place - left) for a, b in zip(_ANCHORS[left], _ANCHORS[left + 1], strict=True))
    return light, dark


RAMP: tuple[Pair, ...] = tuple(_ramp_pair(step / (_RAMP_STEPS - 1)) for step in range(_RAMP_STEPS))


def category_color(index: int) -> str:
    """Light colour of the `index`-th parametrization; they repeat after the sixth, where dashes take over."""
    return CATEGORIES[index % len(CATEGORIES)][0]


def ramp_color(index: int, count: int) -> str:
    """Light colour of the `index`-th of `count` ordered things, smallest first.

    >>> ramp_color(0, 4) == RAMP[0][0], ramp_color(3, 4) == RAMP[-1][0]
    (True, True)
    """
    return RAMP[round(index / (count - 1) * (_RAMP_STEPS - 1)) if count > 1 else 0][0]


def symbol(index: int) -> str:
    """Marker of the `index`-th thing."""
    return SYMBOLS[index % len(SYMBOLS)]


def translucent(color: str, alpha: float = 0.16) -> str:
    """The colour with an alpha channel appended, which the swap of themes leaves alone."""
    return f"{color}{round(alpha * 255):02x}"


def dark_colors() -> dict[str, str]:
    """Dark partner of every light colour that a figure may use."""
    return dict((INK, MUTED, GRID, SURFACE, SAFE, *CATEGORIES, *RAMP))


def _template(shade: int) -> dict[str, Any]:
    axis = {
        "gridcolor": GRID[shade],
        "linecolor": MUTED[shade],
        "tickcolor": MUTED[shade],
        "zeroline": False,
        "showline": True,
        "ticks": "outside",
        "ticklen": 4,
        "automargin": True,
        "title": {"standoff": 8},
    }
    return {
        "layout": {
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": FONT, "size": 13, "color": INK[shade]},
            "colorway": [pair[shade] for pair in CATEGORIES],
            "xaxis": axis,
            "yaxis": axis,
            "legend": {
                "orientation": "h",
                "x": 0,
                "xanchor": "left",
                "y": 1.02,
                "yanchor": "bottom",
                "font": {"size": 12},
            },
            "hoverlabel": {"bgcolor": SURFACE[shade], "bordercolor": MUTED[shade], "font": {"color": INK[shade]}},
            "margin": {"l": 56, "r": 14, "t": 10, "b": 44},
            "hovermode": "closest",
        }
    }


TEMPLATES: Mapping[str, dict[str, Any]] = {"light": _template(0), "dark": _template(1)}


def plot_text(text: object) -> str:
    """Text that the plots show literally: they would read angle brackets as markup and `%{` as a place holder.

    >>> plot_text("<b>mup</b> %{x}")
    '&lt;b&gt;mup&lt;/b&gt; %&#123;x}'
    """
    return html.escape(str(text), quote=False).replace("%{", "%&#123;")
