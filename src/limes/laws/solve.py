"""Find the global optimum of a fitting problem, for one table or for thousands of resamples of it.

Starts of a sum of power laws are *profiled*: exponents on a grid, coefficients by non-negative least squares on the
relative residual. A curve is scanned at Sobol points of its start box and continued from the best. Then damped Newton
from all of them at once.

Letters: S starts, B resamples, n rows, p parameters.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls
from scipy.stats import qmc

from limes.laws.form import Array, Index, Law
from limes.laws.objective import make_evaluate, objective_value
from limes.laws.problem import Problem
from limes.numerics.minimize import BatchMinimum, Evaluate, Evaluation, minimize_batch

NUM_STARTS = 144
SCAN = 4096
CHUNK = 250
AGREEMENT = 1e-6
TRIAL_STEPS, TRIAL_GAP = 3, 1.05
MAX_ITERATIONS, RESAMPLE_ITERATIONS = 300, 200


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Solution:
    """The best of all starts.

    Args:
        theta: (p,) normalized.
        value: Objective there, normalized.
        gradient, hessian: (p,), (p, p) there.
        converged: The best start met the tolerance.
        agreement: Share of starts that ended within 1e-6 (relative) of the best value.
        num_starts: How many there were.
        minima: (m, p) the best and up to two more distinct local minima, for warm starts of resamples.
    """

    theta: Array
    value: float
    gradient: Array
    hessian: Array
    converged: bool
    agreement: float
    num_starts: int
    minima: Array


def solve(
    problem: Problem, *, num_starts: int = NUM_STARTS, extra: Array | None = None, max_iterations: int = MAX_ITERATIONS
) -> Solution:
    """The optimum over all starts.

    Args:
        problem: Law, table and objective.
        num_starts: Starts to run.
        extra: (m, p) further starts, such as the optimum on a smaller table.
        max_iterations: Steps from each start.
    """
    starts = make_starts(problem, num_starts)
    if extra is not None:
        starts = np.concatenate([extra, starts])
    low, high = problem.law.bounds()
    end = minimize_batch(
        make_evaluate(problem),
        starts,
        low=low,
        high=high,
        absolute=_absolute(problem),
        tolerance=1e-13,
        max_iterations=max_iterations,
    )
    order = np.argsort(end.value, kind="stable")
    best = order[0]
    gap = AGREEMENT * end.value[best] + _absolute(problem)
    return Solution(
        theta=end.point[best],
        value=float(end.value[best]),
        gradient=end.gradient[best],
        hessian=end.hessian[best],
        converged=bool(end.converged[best]),
        agreement=float(np.mean(end.value <= end.value[best] + gap)),
        num_starts=len(starts),
        minima=_distinct(end, order),
    )


def resolve(
    problem: Problem,
    starts: Array,
    *,
    weights: Array | None = None,
    target: Array | None = None,
    low: Array | None = None,
    high: Array | None = None,
    max_iterations: int = RESAMPLE_ITERATIONS,
) -> tuple[Array, Array]:
    """Optima of many variants of one problem, each continued from every start; the best of them.

    Args:
        problem: Law, table and objective.
        starts: (m, p) starts for all variants.
        weights: (B, n) weights per variant.
        target: (B, n) normalized targets per variant.
        low, high: (B, p) bounds per variant, in place of the law's.
        max_iterations: Steps of each variant from each start.

    Returns:
        (B, p) theta, (B,) objective, normalized.
    """
    variants = [array for array in (weights, target, low) if array is not None]
    count = len(variants[0])
    bottom, top = problem.law.bounds()
    bounds = (bottom, top) if low is None or high is None else (low, high)
    thetas, values = np.empty((count, len(bottom))), np.empty(count)
    for first in range(0, count, CHUNK):
        rows = np.arange(first, min(first + CHUNK, count))
        evaluate = make_evaluate(
            problem,
            weights=None if weights is None else weights[rows],
            target=None if target is None else target[rows],
        )
        box = [limit if limit.ndim == 1 else limit[rows] for limit in bounds]
        thetas[rows], values[rows] = _continue_all(
            evaluate, starts, len(rows), box, absolute=_absolute(problem), max_iterations=max_iterations
        )
    return thetas, values


def _continue_all(
    evaluate: Evaluate, starts: Array, count: int, box: list[Array], *, absolute: float, max_iterations: int
) -> tuple[Array, Array]:
    """Best end over all starts; later starts are given up where a few steps show them far above the first's end."""
    point, value = np.empty((count, starts.shape[1])), np.full(count, np.inf)
    for number, start in enumerate(starts):
        rows = np.arange(count)
        begin = np.broadcast_to(start, (count, len(start)))
        if number:
            tried = minimize_batch(
                evaluate, begin, low=box[0], high=box[1], absolute=absolute, max_iterations=TRIAL_STEPS
            )
            rows = np.flatnonzero(tried.value < TRIAL_GAP * value)
            begin = tried.point[rows]
        if not len(rows):
            continue
        limits = [limit if limit.ndim == 1 else limit[rows] for limit in box]

        def some(theta: Array, index: Index, rows: Index = rows) -> Evaluation:
            return evaluate(theta, rows[index])

        end = minimize_batch(
            some, begin, low=limits[0], high=limits[1], absolute=absolute, max_iterations=max_iterations
        )
        better = end.value < value[rows]
        point[rows[better]], value[rows[better]] = end.point[better], end.value[better]
    return point, value


def make_starts(problem: Problem, num_starts: int) -> Array:
    """(S, p) starts in normalized theta; deterministic."""
    if problem.law.terms:
        return _profiled_starts(problem, num_starts)
    points = _box_points(problem.law, tuple(range(len(problem.law.parameters))), SCAN)
    values = objective_value(problem, points)
    points, values = points[np.isfinite(values)], values[np.isfinite(values)]
    return points[np.argsort(values, kind="stable")[: max(num_starts // 4, 8)]]


def _profiled_starts(problem: Problem, num_starts: int) -> Array:
    law = problem.law
    exponents = law.exponents
    coefficients = [law.names.index(term.coefficient) for term in law.terms]
    points = _box_points(law, exponents, num_starts) if exponents else np.zeros((1, len(law.parameters)))
    if len(exponents) == len(law.parameters) - 1 and len(coefficients) == 1:
        points = points[: max(num_starts // 12, 8)]  # a line in logarithms: convex for least squares
    bases = _bases(problem, points)
    root = np.sqrt(problem.weights)
    for point, basis in zip(points, bases):
        design = (basis / problem.target).T * root[:, None]
        point[coefficients] = np.log(np.maximum(nnls(design, root)[0], 1e-3))
    return points


def _bases(problem: Problem, points: Array) -> list[Array]:
    """Every term with coefficient 1, (K, n), at each of the given thetas."""
    law = problem.law
    bases = []
    for point in points:
        params = {**law.unpack(point), **{term.coefficient: 1.0 for term in law.terms}}
        bases.append(np.stack([term.value(params, problem.columns) for term in law.terms]))
    return bases


def _box_points(law: Law, free: tuple[int, ...], count: int) -> Array:
    """Points of the start box, (count, p): a square grid for one or two free parameters, else Sobol points."""
    box = np.array([law.parameters[i].start for i in free])
    positive = np.array([law.parameters[i].positive for i in free])
    box[positive] = np.log(box[positive])
    if len(free) <= 2:
        side = round(count ** (1 / len(free)))
        line = np.linspace(0, 1, side)
        unit = np.stack(np.meshgrid(*[line] * len(free), indexing="ij"), -1).reshape(-1, len(free))
    else:
        power = int(np.ceil(np.log2(count)))
        unit = qmc.Sobol(len(free), scramble=True, rng=np.random.default_rng(0)).random_base2(power)[:count]
    points = np.zeros((len(unit), len(law.parameters)))
    points[:, list(free)] = box[:, 0] + unit * (box[:, 1] - box[:, 0])
    return points


def _absolute(problem: Problem) -> float:
    # An exact table has objective zero; residuals of 1e-12 are rounding.
    return 1e-25 * float(problem.weights.sum())


def _distinct(end: BatchMinimum, order: Index) -> Array:
    kept: list[int] = []
    for i in order:
        if not np.isfinite(end.value[i]) or len(kept) == 3:
            break
        if end.value[i] > 1.3 * end.value[order[0]]:
            break
        if all(end.value[i] > end.value[j] * (1 + 1e-4) for j in kept) and (end.converged[i] or not kept):
            kept.append(int(i))
    return end.point[kept]
