"""What a picture of the gallery is made of: panels of curves, and numbers beside those that are expected.

Nothing here draws. A picture is computed by one file of this package and drawn by `limes.report.gallery`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from limes.core.source import Source
from limes.numerics.ensemble import mean_half_width
from limes.spec import StudySpec

Array = NDArray[np.float64]
Style = Literal["line", "dash", "points"]
Progress = Callable[[float], Any]
LEVEL = 0.95
# Colour of what is neither one of several things nor one of several sizes: a limit, a law, a border.
NEUTRAL = -1


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Curve:
    """One curve or one set of points.

    Attributes:
        label: In the legend and in the table.
        x: (n,).
        y: (n,); NaN leaves a gap.
        color: Number of the thing or of the size it belongs to, from 0; NEUTRAL for a law or a limit.
        style: Theory is a line, a guide a dash, a simulation points.
        low: (n,) lower end of a 95 % interval, or None.
        high: (n,) upper end.
        legend: Whether it has an entry in the legend.
    """

    label: str
    x: Array
    y: Array
    color: int = 0
    style: Style = "line"
    low: Array | None = None
    high: Array | None = None
    legend: bool = True


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Panel:
    """One pair of axes.

    Attributes:
        title: What is seen, as a sentence without its full stop.
        x_title: With its unit.
        y_title: With its unit.
        curves: In the order of the legend.
        log_x: Whether the axis is logarithmic.
        log_y: Whether the axis is logarithmic.
        ordered: Whether colours stand for sizes (a ramp) rather than for kinds.
        ticks: Places of ticks on the horizontal axis; empty for the usual ones.
        caption: A sentence below, where the title does not say enough.
    """

    title: str
    x_title: str
    y_title: str
    curves: tuple[Curve, ...]
    log_x: bool = False
    log_y: bool = False
    ordered: bool = False
    ticks: tuple[float, ...] = ()
    caption: str = ""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Reading:
    """One number of a picture beside the one that is expected.

    Attributes:
        name: What was measured.
        measured: The number.
        half_width: Of its 95 % interval; None for what is computed without noise.
        expected: The published or predicted number; None where there is none.
        source: Where the expected number comes from.
    """

    name: str
    measured: float
    half_width: float | None = None
    expected: float | None = None
    source: str = ""

    @property
    def agrees(self) -> bool | None:
        """Whether the interval holds the expected number; None without either."""
        if self.half_width is None or self.expected is None:
            return None
        return abs(self.measured - self.expected) <= self.half_width


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Picture:
    """A picture and its numbers.

    Attributes:
        question: What it answers.
        answer: Plain sentences with the main numbers.
        panels: Drawn side by side.
        readings: Numbers beside the expected ones.
        setting: Everything needed to understand what was run.
    """

    question: str
    answer: tuple[str, ...]
    panels: tuple[Panel, ...]
    readings: tuple[Reading, ...]
    setting: str

    def reading(self, name: str) -> Reading:
        """The reading of that name."""
        return next(reading for reading in self.readings if reading.name == name)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; what is not finite is null."""
        return {
            "question": self.question,
            "answer": list(self.answer),
            "setting": self.setting,
            "readings": [
                {
                    "name": reading.name,
                    "measured": plain(reading.measured),
                    "half_width": plain(reading.half_width),
                    "expected": plain(reading.expected),
                    "source": reading.source,
                }
                for reading in self.readings
            ],
            "panels": [
                {
                    "title": panel.title,
                    "x_title": panel.x_title,
                    "y_title": panel.y_title,
                    "curves": [_curve_dict(curve) for curve in panel.curves],
                }
                for panel in self.panels
            ],
        }


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GalleryPicture:
    """A row of `GALLERY`.

    Attributes:
        seen: What is seen, in one line.
        draw: (reduced, progress) -> `Picture`; with a study, (panels, reduced) -> `Picture`.
        sources: Where the claim comes from.
        theory: Pages below docs/ that explain it.
        cpu_seconds: Measured, for the whole picture.
        study: reduced -> the runs that it needs, which are trained first and go on after a kill; or None.
    """

    seen: str
    draw: Callable[..., Picture]
    sources: tuple[Source, ...]
    theory: tuple[str, ...]
    cpu_seconds: int
    study: Callable[[bool], StudySpec] | None = None


def plain(value: float | None) -> float | None:
    """The number, or None where it is not finite.

    >>> plain(1.5), plain(float("nan")), plain(None)
    (1.5, None, None)
    """
    return float(value) if value is not None and np.isfinite(value) else None


def _curve_dict(curve: Curve) -> dict[str, Any]:
    columns = {"x": curve.x, "y": curve.y, "low": curve.low, "high": curve.high}
    lists = {name: [plain(value) for value in array] for name, array in columns.items() if array is not None}
    return {"label": curve.label, "style": curve.style, **lists}


def points(label: str, x: ArrayLike, samples: ArrayLike, *, color: int = 0, legend: bool = True) -> Curve:
    """Means over independent runs, (num_runs, n), with their 95 % Student-t intervals, as points.

    >>> points("networks", [1.0], [[1.0], [3.0]]).y.tolist()
    [2.0]
    """
    runs = np.asarray(samples, dtype=float)
    mean, half = runs.mean(0), interval(runs)
    return Curve(
        label=label,
        x=np.asarray(x, dtype=float),
        y=mean,
        color=color,
        style="points",
        low=mean - half,
        high=mean + half,
        legend=legend,
    )


def interval(samples: ArrayLike) -> Array:
    """Half-widths of the 95 % intervals of means over the first axis.

    >>> round(float(interval([1.0, 3.0])), 3)
    12.706
    """
    return mean_half_width(samples, level=LEVEL)


def power_guide(
    label: str, x: ArrayLike, *, exponent: float, through: tuple[float, float], color: int = NEUTRAL
) -> Curve:
    """A dashed line y ~ x^exponent through a point.

    >>> power_guide("x^-1", [1.0, 10.0], exponent=-1.0, through=(1.0, 2.0)).y.tolist()
    [2.0, 0.2]
    """
    places = np.asarray(x, dtype=float)
    values = through[1] * (places / through[0]) ** exponent
    return Curve(label=label, x=places, y=values, color=color, style="dash")
