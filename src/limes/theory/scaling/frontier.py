"""The best loss for a given compute, measured from the solver: over width and time, or width, samples and time.

Source: arXiv:2402.01092, section 4.3; arXiv:2405.15074, section 4; docs/theory/scaling_exponents.md.
Letters: C compute, N width, P samples, t time; C = N t, or N P t where samples are paid for in every step.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.interpolate import RectBivariateSpline, make_interp_spline
from scipy.optimize import minimize, minimize_scalar

from limes.core.errors import SpecError
from limes.numerics.contour import Real
from limes.theory.checks import as_floats, check_number, check_whole
from limes.theory.scaling.checks import as_nonnegative
from limes.theory.scaling.problem import RandomFeatureProblem
from limes.theory.scaling.random_features import loss_table, solve_random_features
from limes.theory.scaling.ridge import ridge_equivalent

LIMITS = ("time", "width", "samples")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Frontier:
    """The best allocation at each compute. All arrays (C,) float64.

    Args:
        compute: As requested, increasing.
        loss: Test loss when all of it is used.
        num_features: Best width.
        num_samples: Best number of samples, or None where they were given.
        times: Training time there.
        inside: Whether the optimum lies inside the searched sizes; elsewhere it is their edge.
        num_evaluated: Losses that were computed.
        problem: What was asked.
    """

    compute: Real
    loss: Real
    num_features: Real
    num_samples: Real | None
    times: Real
    inside: np.ndarray
    num_evaluated: int
    problem: RandomFeatureProblem

    @property
    def loss_exponents(self) -> Real:
        """(C - 1,) local exponents, loss ~ compute^-exponent."""
        return local_exponents(self.compute, self.loss)

    @property
    def width_exponents(self) -> Real:
        """(C - 1,) local exponents, num_features ~ compute^exponent."""
        return -local_exponents(self.compute, self.num_features)

    @property
    def best_so_far(self) -> Real:
        """(C,) loss if compute may be left unused: with few samples, training can be too long."""
        return np.minimum.accumulate(self.loss)


def local_exponents(x: Any, y: Any) -> Real:
    """Exponents e of y ~ x^-e between neighbouring points.

    Args:
        x: (n,) positive, distinct.
        y: (n,) positive.

    Returns:
        (n - 1,).

    Raises:
        SpecError: Shapes differ, a value is not positive, or neighbouring x are equal.

    **Source**: definition. **Accuracy**: exact for a power law.

    >>> local_exponents([1.0, 10.0, 100.0], [1.0, 0.1, 0.001]).round(12).tolist()
    [1.0, 2.0]
    """
    first, second = as_floats("x", x), as_floats("y", y)
    positive = all(((values > 0) & np.isfinite(values)).all() for values in (first, second))
    if first.ndim != 1 or first.shape != second.shape or not positive:
        raise SpecError(
            f"x of shape {first.shape}, y of shape {second.shape}: expected equal lengths, all positive, finite"
        )
    if (np.diff(first) == 0).any():
        raise SpecError(f"x {first.tolist()}: expected neighbours that differ, or no slope lies between them")
    return -np.diff(np.log(second)) / np.diff(np.log(first))


def compute_frontier(
    problem: RandomFeatureProblem,
    compute: Any,
    *,
    optimize_samples: bool = False,
    num_sizes: int = 25,
    shortest_time: float = 1.0,
) -> Frontier:
    """Best width (and samples) for each compute, by a grid of sizes and a spline through its logarithms.

    Args:
        problem: Its width is not used; nor are its samples with `optimize_samples`. Gradient flow, or one-pass SGD.
        compute: (C,) increasing: width x time, or width x samples x time with `optimize_samples`.
        optimize_samples: Whether samples are bought too.
        num_sizes: Widths (and numbers of samples) on the grid, 4 or more.
        shortest_time: Times below it are not considered.

    Returns:
        `Frontier`.

    Raises:
        SpecError: Compute not increasing or too small for two widths; a problem in steps, or batch noise with samples.

    **Source**: arXiv:2402.01092, section 4.3. **Accuracy**: loss to 1e-4, size to 2 % with 25 sizes over six decades.

    >>> from limes.theory.scaling.problem import power_law_problem
    >>> best = compute_frontier(power_law_problem(1.75, 1.5, 1e6), [1e4, 1e5, 1e6])
    >>> best.loss_exponents.round(2).tolist()      # tends to 0.3
    [0.3, 0.3]
    """
    shortest_time = check_number("shortest_time", shortest_time, low=0.0, open_low=True)
    num_sizes = check_whole("num_sizes", num_sizes, least=4)
    budget = _check_compute(compute, shortest_time)
    if problem.lr is not None:
        raise SpecError(f"lr is {problem.lr:g}: a frontier is in continuous time; use batch_noise = lr / batch_size")
    if optimize_samples:
        if problem.one_pass:
            raise SpecError("optimize_samples with batch noise: one-pass SGD sees as many samples as it takes time")
        return _three(problem, budget, num_sizes, shortest_time)
    search = _search_one_pass if problem.one_pass else _search_flow
    best, count = search(problem, budget, num_sizes, shortest_time)
    chosen = np.exp([point for point, _, _ in best])
    return Frontier(
        compute=budget,
        loss=np.exp([value for _, value, _ in best]),
        num_features=chosen,
        num_samples=None,
        times=budget / chosen,
        inside=np.array([inside for *_, inside in best]),
        num_evaluated=count,
        problem=problem,
    )


def _check_compute(compute: Any, shortest_time: float) -> Real:
    budget = as_nonnegative("compute", compute)
    if not (np.diff(budget) > 0).all():
        raise SpecError(f"compute {budget.tolist()}: expected increasing values")
    if budget[0] < 16.0 * shortest_time:
        raise SpecError(
            f"compute starts at {budget[0]:g} with shortest_time {shortest_time:g}: expected at least 16 x that time, "
            "or there is no choice of width"
        )
    return budget


Minimum = tuple[float, float, bool]


def _search_flow(
    problem: RandomFeatureProblem, budget: Real, num_sizes: int, shortest_time: float
) -> tuple[list[Minimum], int]:
    """A grid of widths for each compute, and a finer one around its best."""
    low, high = np.full(len(budget), math.log(2.0)), np.log(budget / shortest_time)
    count = 0
    for size in (num_sizes, 9):
        u = low + np.linspace(0.0, 1.0, size)[:, None] * (high - low)
        losses = loss_table(problem, num_features=np.exp(u), num_samples=problem.num_samples, times=budget / np.exp(u))
        count += losses.size
        place = np.argmin(losses, axis=0)
        step = u[1] - u[0]
        best = np.take_along_axis(u, place[None], axis=0)[0]
        if size == num_sizes:
            outer = (place > 0) & (place < size - 1)
            low, high = np.maximum(low, best - step), np.minimum(high, best + step)
    found = [_minimum(u[:, j], np.log(losses[:, j])) for j in range(len(budget))]
    return [(point, value, bool(inner)) for (point, value, _), inner in zip(found, outer, strict=True)], count


def _search_one_pass(
    problem: RandomFeatureProblem, budget: Real, num_sizes: int, shortest_time: float
) -> tuple[list[Minimum], int]:
    """One grid of widths: a whole curve in time costs as much as one point of it."""
    widths = np.geomspace(2.0, budget[-1] / shortest_time, num_sizes)
    table = np.full((num_sizes, len(budget)), np.nan)
    times = budget / widths[:, None]
    valid = times >= shortest_time
    for i, width in enumerate(widths):
        narrow = replace(problem, num_features=float(width))
        table[i, valid[i]] = solve_random_features(narrow, times[i, valid[i]]).test_loss
    best = [_minimum(np.log(widths[valid[:, j]]), np.log(table[valid[:, j], j])) for j in range(len(budget))]
    return best, int(valid.sum())


def _minimum(u: Real, values: Real) -> Minimum:
    """Where the cubic spline through a curve is smallest, its value, and whether that is inside."""
    place = int(np.argmin(values))
    if place in (0, len(u) - 1) or len(u) < 4:
        return float(u[place]), float(values[place]), False
    spline = make_interp_spline(u, values, k=3)
    found = minimize_scalar(spline, bounds=(u[place - 1], u[place + 1]), method="bounded", options={"xatol": 1e-8})
    return float(found.x), float(found.fun), True


def _three(problem: RandomFeatureProblem, budget: Real, num_sizes: int, shortest_time: float) -> Frontier:
    rows, count = [], 0
    for total in budget:
        top = math.log(total / shortest_time / 2.0)
        n_axis = p_axis = np.linspace(math.log(2.0), top, num_sizes)
        inside = True
        for level in range(2):
            losses = _corner(problem, total, n_axis, p_axis, shortest_time)
            count += losses.size
            i, j = np.unravel_index(int(np.argmin(losses)), losses.shape)
            if level == 0:
                inside = bool(0 < i < num_sizes - 1 and 0 < j < num_sizes - 1)
                step = n_axis[1] - n_axis[0]
                n_axis, p_axis = (
                    np.linspace(max(n_axis[0], axis[k] - step), min(n_axis[-1], axis[k] + step), 7)
                    for axis, k in ((n_axis, i), (p_axis, j))
                )
        spline = RectBivariateSpline(n_axis, p_axis, losses)
        bounds = [(axis[0], axis[-1]) for axis in (n_axis, p_axis)]
        found = minimize(lambda v, s=spline: float(s(v[0], v[1])[0, 0]), [n_axis[i], p_axis[j]], bounds=bounds)
        rows.append((found.fun, *found.x, inside))
    loss, n_log, p_log, inside_all = (np.array(column) for column in zip(*rows, strict=True))
    return Frontier(
        compute=budget,
        loss=np.exp(loss),
        num_features=np.exp(n_log),
        num_samples=np.exp(p_log),
        times=budget / np.exp(n_log + p_log),
        inside=inside_all,
        num_evaluated=count,
        problem=problem,
    )


def _corner(problem: RandomFeatureProblem, total: float, n_axis: Real, p_axis: Real, shortest_time: float) -> Real:
    """Log losses on a grid of log sizes; beyond the corner where no time is left, large values that rise smoothly."""
    n, p = np.meshgrid(np.exp(n_axis), np.exp(p_axis), indexing="ij")
    times = total / (n * p)
    losses = loss_table(problem, num_features=n, num_samples=p, times=np.maximum(times, shortest_time))
    return np.log(losses) + np.maximum(0.0, np.log(shortest_time / times))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Bottlenecks:
    """What the loss would be if only one resource were limited; (T,) float64 each.

    Args:
        times: As requested.
        total: The test loss itself.
        time: With unlimited width and samples.
        width: At the end of training on unlimited data: the floor of this width.
        samples: At the end of training of the infinitely wide learner on these samples, noise included.
        leading: (T,) which of the three is largest.
    """

    times: Real
    total: Real
    time: Real
    width: Real
    samples: Real
    leading: np.ndarray

    @property
    def changes(self) -> list[tuple[float, str]]:
        """Times from which another resource limits the loss, with its name."""
        return [
            (float(self.times[i]), str(self.leading[i]))
            for i in range(1, len(self.times))
            if self.leading[i] != self.leading[i - 1]
        ]


def bottlenecks(problem: RandomFeatureProblem, times: Any) -> Bottlenecks:
    """Split a loss curve into what time, width and samples alone would leave.

    Args:
        problem: Any that `solve_random_features` takes, without batch noise.
        times: As there.

    Returns:
        `Bottlenecks`. The three do not add up: between them lie transients, docs/theory/scaling_exponents.md.

    Raises:
        SpecError: As `solve_random_features`, or batch noise.

    **Source**: arXiv:2402.01092, section 4.1. **Accuracy**: as `solve_random_features`.

    >>> from limes.theory.scaling.problem import power_law_problem
    >>> parts = bottlenecks(power_law_problem(1.75, 1.5, 1e6, num_features=30), [1.0, 10.0, 100.0, 1e3, 1e4])
    >>> parts.changes
    [(10.0, 'width')]
    """
    if problem.one_pass:
        raise SpecError("bottlenecks are defined without batch noise: drop batch_size and batch_noise")
    free = replace(problem, num_features=math.inf, num_samples=math.inf)
    result = solve_random_features(problem, times)
    time = solve_random_features(free, times).test_loss
    width = ridge_equivalent(replace(problem, num_samples=math.inf)).test_loss
    samples = ridge_equivalent(replace(problem, num_features=math.inf)).test_loss
    parts = np.stack([time, np.full_like(time, width), np.full_like(time, samples)])
    return Bottlenecks(
        times=result.times,
        total=result.test_loss,
        time=time,
        width=parts[1],
        samples=parts[2],
        leading=np.array(LIMITS)[np.argmax(parts, axis=0)],
    )
