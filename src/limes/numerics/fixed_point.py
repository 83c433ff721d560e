"""Fixed points of maps of one nonnegative number, by iteration with guarded extrapolation.

Source: Aitken's delta-squared process, textbook. Letters: q the iterate, F the map, r = (F(F(q)) - F(q)) / (F(q) - q).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from limes.core.errors import ConvergenceError
from limes.core.status import SolveStatus


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FixedPoint:
    """Where an iteration ended.

    Args:
        value: The last iterate; a fixed point where the status is CONVERGED.
        status: How it ended.
        num_iterations: Evaluations of the map.
    """

    value: float
    status: SolveStatus
    num_iterations: int


def fixed_point(
    function: Callable[[float], float],
    start: float,
    *,
    tolerance: float = 1e-13,
    max_iterations: int = 20_000,
    throw: bool = True,
) -> FixedPoint:
    """A stable fixed point of a map of [0, inf) into itself, as reached from `start` by iteration.

    Args:
        function: The map.
        start: Where to begin, nonnegative.
        tolerance: Relative change of one application that counts as none.
        max_iterations: Limit on applications.
        throw: Raise unless converged; otherwise return the status.

    Returns:
        `FixedPoint`.

    Raises:
        ConvergenceError: Not converged, and `throw`.

    **Accuracy**: tolerance / (1 - slope of the map at the fixed point), relative.

    >>> round(fixed_point(lambda q: 0.5 * q + 1.0, 0.0).value, 12)
    2.0
    """
    q, status, count = float(start), SolveStatus.MAX_ITERATIONS, 0
    while count < max_iterations:
        first = function(q)
        second = function(first) if math.isfinite(first) else math.nan
        count += 2
        if not math.isfinite(second) or abs(second) > 1e15:
            q, status = second, SolveStatus.DIVERGED
            break
        if abs(first - q) <= tolerance * abs(first) or first == q:
            q, status = first, SolveStatus.CONVERGED
            break
        ratio = (second - first) / (first - q)
        # A ratio of 1 or more means that the iteration leaves; to jump then would land on a point that repels.
        jump = first + (second - first) / (1.0 - ratio) if ratio < 1.0 - 1e-12 else second
        if jump >= 0.0 and abs(ratio) < 1.0 and abs(function(jump) - jump) < abs(second - first):
            second = jump
        count += 1
        q = second
    result = FixedPoint(value=q, status=status, num_iterations=count)
    if throw and status is not SolveStatus.CONVERGED:
        raise ConvergenceError(f"fixed point from {start:g}: {status.sentence} Last value {q:.6g}.", result=result)
    return result
