"""What a solved theory is shown as: curves in panels, with points of a direct simulation laid over them.

Every theory that is put on a page fills a `TheoryStudy`; one reporter draws all of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]
Cell = str | int | float | bool | None
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Points:
    """Simulated means beside the theory's values at the same places.

    Attributes:
        x: (n,).
        predicted: (n,) by the theory.
        mean: (n,) over independent draws, or its limit as the size grows.
        error: (n,) standard error of `mean` over the draws.
        degrees_of_freedom: Of these errors, for Student's t.
    """

    x: Array
    predicted: Array
    mean: Array
    error: Array
    degrees_of_freedom: int

    @property
    def half_width(self) -> Array:
        """(n,) of the 95 % Student-t interval."""
        return np.asarray(stats.t.ppf(0.5 + LEVEL / 2, self.degrees_of_freedom) * self.error)

    @property
    def deviations(self) -> Array:
        """(n,) simulated less predicted, in standard errors; 0 where both agree exactly."""
        gap = self.mean - self.predicted
        return np.where(gap == 0.0, 0.0, gap / np.where(self.error > 0.0, self.error, np.nan))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Curve:
    """One line of a panel.

    Attributes:
        label: In the legend.
        x: (n,).
        y: (n,); NaN where the theory has no value.
        points: Simulation of the same quantity.
        dash: "solid" for the theory, another stroke for a bound, a limit or a law beside it.
    """

    label: str
    x: Array
    y: Array
    points: Points | None = None
    dash: str = "solid"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Panel:
    """One picture.

    Attributes:
        name: Short name in the tables.
        title: What is seen.
        x_title: With its unit.
        y_title: With its unit.
        curves: Drawn in this order.
        log_x: Logarithmic axis.
        log_y: Logarithmic axis.
        note: Under the picture.
    """

    name: str
    title: str
    x_title: str
    y_title: str
    curves: tuple[Curve, ...]
    log_x: bool = False
    log_y: bool = False
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Numbers:
    """A small table beside the pictures."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TheoryStudy:
    """A theory solved for one setting.

    Attributes:
        name: As on the command line.
        title: In words.
        question: What the page answers.
        answer: One plain sentence each.
        model: What is solved: conventions of loss, time and units.
        settings: As asked for.
        panels: The pictures.
        tables: Numbers that are no curve.
        simulation: How the points were made; empty without simulation.
        docs: Page of the documentation.
    """

    name: str
    title: str
    question: str
    answer: tuple[str, ...]
    model: str
    settings: Mapping[str, Any]
    panels: tuple[Panel, ...]
    tables: tuple[Numbers, ...] = ()
    simulation: str = ""
    docs: str

    @property
    def agreement(self) -> str:
        """Whether the simulation bears the theory out, in one sentence; empty without simulation."""
        points = [c.points for panel in self.panels for c in panel.curves if c.points is not None]
        if not points:
            return ""
        inside = np.concatenate([np.abs(p.mean - p.predicted) <= p.half_width for p in points])
        largest = float(np.nanmax(np.abs(np.concatenate([p.deviations for p in points]))))
        ratios = np.concatenate([np.abs(p.mean / p.predicted - 1.0) for p in points if (p.predicted != 0.0).all()])
        off = f", {np.median(ratios):.1%} of the value at the median point" if len(ratios) else ""
        return (
            f"{self.simulation}: 95% intervals hold the theory at {int(inside.sum())} of {len(inside)} points; the "
            f"largest deviation is {largest:.1f} standard errors{off}."
        )

    @property
    def lines(self) -> tuple[str, ...]:
        """The answer, and whether the simulation agrees."""
        return (*self.answer, self.agreement) if self.agreement else self.answer

    def to_rows(self) -> list[dict[str, Cell]]:
        """One row for each point of each curve, simulated ones beside the theory at the same place."""
        rows: list[dict[str, Cell]] = []
        for panel in self.panels:
            for curve in panel.curves:
                start: dict[str, Cell] = {"panel": panel.name, "curve": curve.label}
                rows += [
                    start | {"x": float(x), "theory": _number(y), "simulated": None, "standard_error": None}
                    for x, y in zip(curve.x, curve.y, strict=True)
                ]
                p = curve.points
                if p is not None:
                    rows += [
                        start | {"x": float(x), "theory": _number(y), "simulated": float(m), "standard_error": float(e)}
                        for x, y, m, e in zip(p.x, p.predicted, p.mean, p.error, strict=True)
                    ]
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; what is not finite is null."""
        return {
            "theory": self.name,
            "settings": {name: _plain(value) for name, value in self.settings.items()},
            "answer": list(self.lines),
            "simulation": self.simulation,
            "panels": [
                {
                    "name": panel.name,
                    "x": panel.x_title,
                    "y": panel.y_title,
                    "curves": [_curve_dict(curve) for curve in panel.curves],
                }
                for panel in self.panels
            ],
            "tables": {
                table.name: [{c: _plain(v) for c, v in zip(table.columns, row, strict=True)} for row in table.rows]
                for table in self.tables
            },
        }


def _curve_dict(curve: Curve) -> dict[str, Any]:
    content: dict[str, Any] = {
        "label": curve.label,
        "dash": curve.dash,
        "x": _plain(curve.x),
        "theory": _plain(curve.y),
    }
    if curve.points is not None:
        names = ("x", "predicted", "mean", "error")
        content["points"] = {name: _plain(getattr(curve.points, name)) for name in names}
        content["points"]["degrees_of_freedom"] = curve.points.degrees_of_freedom
    return content


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _plain(value: Any) -> Any:
    if isinstance(value, str | bool | int) or value is None:
        return value
    if isinstance(value, float | np.floating):
        return _number(value)
    return [_plain(item) for item in value]
