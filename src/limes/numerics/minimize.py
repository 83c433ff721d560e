"""Damped Newton minimization of many small problems at once, with bounds.

Made for objectives with few parameters (up to about twelve) that are evaluated thousands of times: many starts of one
fit, many resamples of one table. Every problem has its own damping; problems that are done leave the batch.

Letters: B problems, p parameters, f (B,) value, g (B, p) gradient, H (B, p, p) Hessian, M (B, p, p) a positive
semidefinite majorizer of the curvature, d (B, p) step.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Evaluation = tuple[Array, Array, Array, Array]
Evaluate = Callable[[Array, NDArray[np.intp]], Evaluation]

MIN_DAMPING, MAX_DAMPING = 1e-12, 1e8


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BatchMinimum:
    """Where every problem of the batch ended.

    Args:
        point: (B, p).
        value: (B,) objective there.
        gradient: (B, p).
        hessian: (B, p, p).
        decrease: (B,) what the last Newton step promised to gain; the distance to the optimum in units of the value.
        converged: (B,) bool, whether `decrease` met the tolerance.
        iterations: (B,) evaluations used.
    """

    point: Array
    value: Array
    gradient: Array
    hessian: Array
    decrease: Array
    converged: NDArray[np.bool_]
    iterations: NDArray[np.int64]


def solve_positive(matrices: Array, vectors: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Solve many small symmetric systems by Cholesky, and say which matrices were positive definite.

    The loop runs over entries of a matrix and each step over the whole batch, which for p <= 12 is several times
    faster than a LAPACK call per matrix and does not raise when one matrix of the batch is indefinite.

    Args:
        matrices: (B, p, p) symmetric.
        vectors: (B, p).

    Returns:
        (B, p) solutions, meaningless where the flag is False; (B,) bool, True where all pivots were positive.

    Accuracy: backward stable as Cholesky is, after scaling to a unit diagonal.

    >>> solve_positive(np.array([[[4.0, 0.0], [0.0, 1.0]]]), np.array([[4.0, 0.5]]))[0].tolist()
    [[1.0, 0.5]]
    """
    size = vectors.shape[1]
    diagonal = np.einsum("bii->bi", matrices)
    scale = 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    lower = np.moveaxis(matrices * scale[:, :, None] * scale[:, None, :], 0, -1).copy()
    good = (diagonal > 0).all(1)
    for j in range(size):
        pivot = lower[j, j] - np.einsum("kb,kb->b", lower[j, :j], lower[j, :j])
        good &= pivot > 1e-14
        lower[j, j] = np.sqrt(np.where(pivot > 1e-14, pivot, 1.0))
        for i in range(j + 1, size):
            lower[i, j] = (lower[i, j] - np.einsum("kb,kb->b", lower[i, :j], lower[j, :j])) / lower[j, j]
    solution = (vectors * scale).T.copy()
    for j in range(size):
        solution[j] = (solution[j] - np.einsum("kb,kb->b", lower[j, :j], solution[:j])) / lower[j, j]
    for j in reversed(range(size)):
        solution[j] = (solution[j] - np.einsum("kb,kb->b", lower[j + 1 :, j], solution[j + 1 :])) / lower[j, j]
    return solution.T * scale, good


def minimize_batch(
    evaluate: Evaluate,
    start: Array,
    *,
    low: Array,
    high: Array,
    tolerance: float = 1e-10,
    absolute: float = 0.0,
    max_iterations: int = 200,
    max_step: float = 5.0,
) -> BatchMinimum:
    """Minimize B independent objectives within a box, each by its own damped Newton iteration.

    The step solves (H + damping * M) d = -g, or ((1 + damping) * M) d = -g where the first matrix is not positive
    definite; since M transforms like H, the iteration does not depend on the scaling of the parameters. A parameter
    at a bound with the gradient pointing outwards is held for that step. Equal bounds fix a parameter.

    Args:
        evaluate: (points (b, p), index (b,)) -> f (b,), g (b, p), H (b, p, p), M (b, p, p); `index` says which of
            the B problems the points belong to. A value that is not finite rejects the point.
        start: (B, p).
        low, high: (p,) or (B, p) bounds.
        tolerance: Stop when the step promises a decrease below `tolerance * f + absolute`.
        absolute: See `tolerance`; needed where the optimum is zero.
        max_iterations: Evaluations per problem.
        max_step: Largest change of a parameter in one step.

    Returns:
        A `BatchMinimum`.

    Accuracy: quadratic convergence; with the default tolerance the value is within about 1e-10 of the local minimum,
        relatively, wherever `converged` holds.
    """
    low, high = np.broadcast_to(low, start.shape), np.broadcast_to(high, start.shape)
    point = np.clip(start, low, high)
    f, g, H, M = (np.array(part) for part in evaluate(point, np.arange(len(point))))
    f = np.where(np.isfinite(f), f, np.inf)
    damping = np.full(len(point), 1e-2)
    decrease = np.full(len(point), np.inf)
    converged = np.zeros(len(point), bool)
    iterations = np.ones(len(point), np.int64)
    active = np.flatnonzero(np.isfinite(f))
    for _ in range(max_iterations):
        if not len(active):
            break
        step = _step(point[active], g[active], H[active], M[active], damping[active], low[active], high[active])
        trial = np.clip(point[active] + np.clip(step, -max_step, max_step), low[active], high[active])
        # of the step before it is cut to the box: a cut step may point uphill, which is no sign of an optimum
        promised = -np.einsum("bp,bp->b", g[active], step)
        decrease[active] = promised
        done = (promised <= tolerance * f[active] + absolute) | (damping[active] >= MAX_DAMPING)
        converged[active] = promised <= tolerance * f[active] + absolute
        active, trial = active[~done], trial[~done]
        if not len(active):
            break
        values = evaluate(trial, active)
        iterations[active] += 1
        better = values[0] < f[active]
        won = active[better]
        point[won] = trial[better]
        f[won], g[won], H[won], M[won] = (part[better] for part in values)
        factor = np.where(better, 0.2, 6.0)
        damping[active] = np.clip(damping[active] * factor, MIN_DAMPING, MAX_DAMPING)
    return BatchMinimum(
        point=point, value=f, gradient=g, hessian=H, decrease=decrease, converged=converged, iterations=iterations
    )


def _step(point: Array, g: Array, H: Array, M: Array, damping: Array, low: Array, high: Array) -> Array:
    held = ((point <= low) & (g > 0)) | ((point >= high) & (g < 0)) | (low == high)
    both = held[:, :, None] | held[:, None, :]
    eye = np.eye(point.shape[1])
    gradient = np.where(held, 0.0, g)
    largest = np.einsum("bii->bi", M).max(1)
    floor = (1e-14 * largest + 1e-300)[:, None, None] * eye
    majorizer = M + floor
    matrix = np.where(both, 0.0, H + damping[:, None, None] * majorizer) + held[:, :, None] * eye
    step, good = solve_positive(matrix, -gradient)
    bad = np.flatnonzero(~good | ~np.isfinite(step).all(1))
    if len(bad):
        safe = np.where(both[bad], 0.0, (1 + damping[bad, None, None]) * (majorizer[bad] + 1e3 * floor[bad]))
        step[bad], good = solve_positive(safe + held[bad][:, :, None] * eye, -gradient[bad])
        step[bad[~good]] = 0.0
    return step
