"""The minimum of a noisy, roughly parabolic curve on a grid: where it is, or why it cannot be said.

Used for the best learning rate: abscissa log2(lr), ordinate validation loss; a diverged run counts as +infinity, so it
brackets the minimum from above but takes no part in the least squares.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

WINDOW = 5


class VertexStatus(StrEnum):
    """Whether the minimum was found."""

    FOUND = "found"
    EDGE_LOW = "edge_low"
    EDGE_HIGH = "edge_high"
    CLIFF = "cliff"
    FLAT = "flat"
    TOO_FEW = "too_few"

    @property
    def sentence(self) -> str:
        """What the word means, for a person."""
        return {
            "found": "The minimum lies inside the grid.",
            "edge_low": "The best point is the lowest of the grid; the minimum may lie below it.",
            "edge_high": "The best point is the highest of the grid; the minimum may lie above it.",
            "cliff": "Every point above the best one diverged; the minimum is not resolved.",
            "flat": "The points around the best one do not form a valley.",
            "too_few": f"Fewer than {WINDOW} points with a finite value.",
        }[self.value]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Vertex:
    """The minimum of one curve.

    Attributes:
        status: Whether `x` may be used.
        x: Abscissa of the minimum; None unless found.
        y: Value of the parabola there; None unless found.
        best_y: Smallest finite value on the grid; None if there is none.
        coefficients: (3,) of the parabola, highest power first, in powers of the abscissa; None unless found.
        shape: `x` less the vertex of the parabola through the best point and its two neighbours: what the choice of
            points does to the answer, 0 for a parabola. None unless found.
        misfit: Variance of the five values about the parabola (two degrees of freedom); None unless found.
        gain: Variance of `x` for independent values of unit variance, to first order; None unless found.
        wanted: Abscissae that would resolve the minimum, or centre the window on it; empty when nothing is missing.
    """

    status: VertexStatus
    x: float | None = None
    y: float | None = None
    best_y: float | None = None
    coefficients: NDArray[np.float64] | None = None
    shape: float | None = None
    misfit: float | None = None
    gain: float | None = None
    wanted: tuple[float, ...] = ()


def fit_vertex(x: ArrayLike, y: ArrayLike, *, step: float) -> Vertex:
    """Least-squares parabola through the five finite points around the best one.

    Args:
        x: (n,) distinct abscissae, any order.
        y: (n,) values; inf or nan for a point that diverged.
        step: Spacing of the grid: how far beyond an edge the next point is wanted.

    Returns:
        A `Vertex`. Its `x` is given only when the best point has finite neighbours on both sides and the parabola
        opens upward with its vertex between them.

    Accuracy: exact for a parabola; a cubic part c (x - x0)^3 shifts the vertex by O(c step^2 / curvature).

    >>> fit_vertex([-8, -7, -6, -5, -4], [4.25, 1.25, 0.25, 1.25, 4.25], step=1.0).x
    -6.0
    >>> fit_vertex([-8, -7, -6, -5, -4], [1, 2, 3, 4, 5], step=1.0).status.value
    'edge_low'
    """
    order = np.argsort(np.asarray(x, dtype=float))
    grid = np.asarray(x, dtype=float)[order]
    values = np.where(np.isfinite(values := np.asarray(y, dtype=float)[order]), values, np.inf)
    finite = np.flatnonzero(np.isfinite(values))
    if len(finite) == 0:
        low = (float(grid[0] - step),) if len(grid) else ()
        return Vertex(status=VertexStatus.TOO_FEW, wanted=low)
    best = int(np.argmin(values))
    best_y = float(values[best])
    place = int(np.searchsorted(finite, best))
    wanted = _wanted(grid, finite, place, step=step)
    if best == 0:
        return Vertex(status=VertexStatus.EDGE_LOW, best_y=best_y, wanted=wanted)
    if best == len(grid) - 1:
        return Vertex(status=VertexStatus.EDGE_HIGH, best_y=best_y, wanted=wanted)
    if place in (0, len(finite) - 1):
        return Vertex(status=VertexStatus.CLIFF, best_y=best_y, wanted=wanted)
    if len(finite) < WINDOW:
        return Vertex(status=VertexStatus.TOO_FEW, best_y=best_y, wanted=wanted)
    start = min(max(place - WINDOW // 2, 0), len(finite) - WINDOW)
    window = finite[start : start + WINDOW]
    return _parabola(grid, values, window, finite[place - 1 : place + 2], best_y=best_y, wanted=wanted)


def _parabola(
    grid: NDArray[np.float64],
    values: NDArray[np.float64],
    window: NDArray[np.int64],
    middle_three: NDArray[np.int64],
    *,
    best_y: float,
    wanted: tuple[float, ...],
) -> Vertex:
    # Centred abscissae keep the normal equations well conditioned far from zero.
    middle = grid[window].mean()
    powers = np.vander(grid[window] - middle, 3)
    a, b, c = np.linalg.lstsq(powers, values[window], rcond=None)[0]
    left, _, right = grid[middle_three]
    if a <= 0 or not left <= middle - b / (2 * a) <= right:
        return Vertex(status=VertexStatus.FLAT, best_y=best_y, wanted=wanted)
    x = middle - b / (2 * a)
    narrow_a, narrow_b, _ = np.polyfit(grid[middle_three] - middle, values[middle_three], 2)
    slope = np.array([b / (2 * a * a), -1 / (2 * a), 0.0])
    return Vertex(
        status=VertexStatus.FOUND,
        x=float(x),
        y=float(c - b * b / (4 * a)),
        best_y=best_y,
        coefficients=np.array([a, b - 2 * a * middle, a * middle**2 - b * middle + c]),
        shape=float(x - (middle - narrow_b / (2 * narrow_a))),
        misfit=float(((values[window] - powers @ [a, b, c]) ** 2).sum() / (WINDOW - 3)),
        gain=float(slope @ np.linalg.inv(powers.T @ powers) @ slope),
        wanted=wanted,
    )


def _wanted(grid: NDArray[np.float64], finite: NDArray[np.int64], place: int, *, step: float) -> tuple[float, ...]:
    """Points still missing for two finite neighbours on each side of the best one."""
    best = finite[place]
    below = [float(grid[0] - step)] if place < WINDOW // 2 and finite[0] == 0 else []
    above = []
    if len(finite) - 1 - place < WINDOW // 2:
        top = finite[-1]
        if top == len(grid) - 1:
            above = [float(grid[-1] + step)]
        elif top == best:
            # A diverged neighbour already brackets the minimum: halve the gap, twice at the most.
            gap = float(grid[top + 1] - grid[top])
            above = [float(grid[top] + gap / 2)] if gap > step / 3 else []
    return tuple(below + above)
