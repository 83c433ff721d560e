"""Which learning rates a curve has, and which it still lacks.

Points are log2 of the learning rate. All sizes of a panel share one lattice (multiples of the step off the centre),
so that losses can also be compared across sizes at a fixed learning rate.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from limes.core.status import RunStatus
from limes.numerics.vertex import Vertex, VertexStatus, fit_vertex
from limes.spec import GridSpec, ParametrizationChoice, StudySpec
from limes.store import SweepRow

_DIGITS = 9


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Curve:
    """One curve of loss against learning rate: a size and a seed of one parametrization on one axis."""

    axis: str
    parametrization: str
    size: int
    seed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Extension:
    """A point that a curve lacks. `urgent` if its optimum is not bracketed yet, else it only centres the window."""

    curve: Curve
    log2_lr: float
    urgent: bool


def initial_grid(grid: GridSpec, choice: ParametrizationChoice, *, size: int, base_size: int) -> tuple[float, ...]:
    """The points that a curve starts with, inside the bounds of `grid`, increasing.

    >>> initial_grid(GridSpec(), ParametrizationChoice(name="mup"), size=64, base_size=32)
    (-8.0, -7.0, -6.0, -5.0, -4.0)
    >>> grid = GridSpec(center_slope={"standard": -1.0})
    >>> initial_grid(grid, ParametrizationChoice(name="standard"), size=96, base_size=32)
    (-10.0, -9.0, -8.0, -7.0, -6.0)
    """
    slope = grid.center_slope.get(choice.label, grid.center_slope.get(choice.name, 0.0))
    moved = slope * math.log2(size / base_size) / grid.step
    center = grid.center + grid.step * round(moved)
    points = [center + grid.step * (i - (grid.count - 1) / 2) for i in range(grid.count)]
    return tuple(round(point, _DIGITS) for point in points if grid.low <= point <= grid.high)


def missing_points(study: StudySpec, rows: Sequence[SweepRow]) -> list[Extension]:
    """Points wanted by the curves whose runs are all finished; urgent ones first.

    A curve whose best point is the last inside the bounds asks for nothing: the analysis flags it as an edge.
    """
    grids: dict[tuple[str, str], GridSpec] = {
        (panel.axis, choice.label): panel.grid for panel in study.panels for choice in panel.parametrizations
    }
    found = []
    curves = curves_of(rows)
    for curve, members in curves.items():
        grid = grids.get((curve.axis, curve.parametrization))
        if grid is not None and all(row.status.finished for row in members):
            found += _wanted(curve, members, grid)
    for axis, label in grids:
        mine = {
            curve: members for curve, members in curves.items() if (curve.axis, curve.parametrization) == (axis, label)
        }
        found += _bridge(mine, grids[axis, label])
    return sorted(found, key=lambda item: not item.urgent)


def curves_of(rows: Iterable[SweepRow]) -> dict[Curve, list[SweepRow]]:
    """Rows grouped by curve, each in the order of the learning rate."""
    curves: dict[Curve, list[SweepRow]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.log2_lr):
        key = Curve(axis=row.axis, parametrization=row.parametrization, size=row.size, seed=row.seed)
        curves[key].append(row)
    return dict(curves)


def _bridge(curves: dict[Curve, list[SweepRow]], grid: GridSpec) -> list[Extension]:
    """Points from the largest size's grid to the smallest size's optimum, so that the regret of keeping it is measured.

    One seed, the first, is enough for a loss difference; and nothing is asked before all curves are finished.
    """
    if not curves or not all(row.status.finished for members in curves.values() for row in members):
        return []
    sizes = sorted({curve.size for curve in curves})
    optima = [_vertex(members, grid).x for curve, members in curves.items() if curve.size == sizes[0]]
    known = [optimum for optimum in optima if optimum is not None]
    if len(known) < len(optima):
        return []
    optimum = sum(known) / len(known)
    curve = min(curve for curve in curves if curve.size == sizes[-1])
    present = [row.log2_lr for row in curves[curve]]
    points = []
    while present and max(present) < optimum:
        points.append(round(max(present) + grid.step, _DIGITS))
        present.append(points[-1])
    while present and min(present) > optimum:
        points.append(round(min(present) - grid.step, _DIGITS))
        present.append(points[-1])
    return [Extension(curve=curve, log2_lr=point, urgent=False) for point in points if grid.low <= point <= grid.high]


def _vertex(members: Sequence[SweepRow], grid: GridSpec) -> Vertex:
    # A run in quarantine says nothing about the loss, unlike a diverged one.
    known = [row for row in members if row.status is not RunStatus.QUARANTINED]
    losses = [math.inf if row.loss is None else row.loss for row in known]
    return fit_vertex([row.log2_lr for row in known], losses, step=grid.step)


def _wanted(curve: Curve, members: Sequence[SweepRow], grid: GridSpec) -> list[Extension]:
    vertex = _vertex(members, grid)
    present = {round(row.log2_lr, _DIGITS) for row in members}
    points = [round(point, _DIGITS) for point in vertex.wanted if grid.low <= point <= grid.high]
    urgent = vertex.status is not VertexStatus.FOUND
    return [Extension(curve=curve, log2_lr=point, urgent=urgent) for point in points if point not in present]
