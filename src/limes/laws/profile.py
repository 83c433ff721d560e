"""Profile likelihood: one parameter held at a grid of values, all others refitted.

Source: Venzon and Moolgavkar 1988. The residual scale comes from the fit; for Huber's loss the profile is turned into a
likelihood by the ratio of the mean curvature to the variance of the score, as for any M-estimate (Huber 1981, 6.3).
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from limes.core.errors import SpecError
from limes.laws.form import Array
from limes.laws.problem import Problem
from limes.laws.solve import Solution, resolve

REACH = 4.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Profile:
    """The profile of one parameter.

    Args:
        name: Which.
        values: (num,) where it was held, in the table's units at the optimum's scale.
        deviance: (num,) twice the loss of log likelihood against the optimum.
        low, high: Interval at `level`; infinite or zero on a side where the profile never rises high enough.
        level: Of the interval.
        open_below, open_above: That the interval ran into the end of the range on that side.
    """

    name: str
    values: Array
    deviance: Array
    low: float
    high: float
    level: float
    open_below: bool
    open_above: bool


def profile_parameter(problem: Problem, solution: Solution, name: str, *, level: float = 0.9, num: int = 41) -> Profile:
    """Profile one parameter over the range where a flat direction would show.

    Args:
        problem, solution: A fit.
        name: Parameter.
        level: Of the interval.
        num: Grid points on each side.

    Raises:
        SpecError: no such parameter.
    """
    law = problem.law
    if name not in law.names:
        raise SpecError(f"{law.name} has no parameter {name!r}; it has {', '.join(law.names)}")
    j = law.names.index(name)
    low, high = law.bounds()
    center = solution.theta[j]
    # one unit of a logarithm, or of an exponent, is wide; steps grow geometrically away from the optimum
    steps = np.geomspace(1e-3, REACH, num)
    held = np.unique(np.clip(np.concatenate([center - steps, [center], center + steps]), low[j], high[j]))
    bottom, top = np.tile(low, (len(held), 1)), np.tile(high, (len(held), 1))
    bottom[:, j] = top[:, j] = held
    weights = np.tile(problem.weights, (len(held), 1))
    _, value = resolve(problem, solution.minima, weights=weights, low=bottom, high=top)
    deviance = np.maximum(value - solution.value, 0.0) / _unit(problem, solution)
    limit = chi2.ppf(level, 1)
    below, open_below = _crossing(held[held <= center][::-1], deviance[held <= center][::-1], limit)
    above, open_above = _crossing(held[held >= center], deviance[held >= center], limit)
    ends = np.tile(solution.theta, (2, 1))
    ends[:, j] = below, above
    at_optimum = np.tile(solution.theta, (len(held), 1))
    at_optimum[:, j] = held
    return Profile(
        name=name,
        values=problem.params(at_optimum)[name],
        deviance=deviance,
        low=float(problem.params(ends)[name][0]),
        high=float(problem.params(ends)[name][1]),
        level=level,
        open_below=open_below,
        open_above=open_above,
    )


def _unit(problem: Problem, solution: Solution) -> float:
    """Objective that counts as one unit of deviance."""
    r = problem.residuals(solution.theta)
    free = max(problem.num_rows - len(problem.law.parameters), 1)
    psi = np.clip(r, -problem.width, problem.width)
    score = (problem.weights * psi**2).sum() / free
    # mean curvature from the spread of residuals near delta; a Gaussian kernel keeps it positive for tiny delta
    spread = max(float(np.sqrt((r**2).mean())), 1e-12)
    if np.isinf(problem.width):
        return float(max(score / 2, 1e-300))
    reach = max(problem.width, 0.3 * spread)
    curvature = (np.abs(r) <= reach).mean() * problem.width / reach
    return float(max(score / max(2 * curvature, 1e-12), 1e-300))


def _crossing(values: Array, deviance: Array, limit: float) -> tuple[float, bool]:
    over = np.flatnonzero(deviance > limit)
    if not len(over):
        return float(values[-1]), True
    k = over[0]
    share = (limit - deviance[k - 1]) / (deviance[k] - deviance[k - 1])
    return float(values[k - 1] + share * (values[k] - values[k - 1])), False
