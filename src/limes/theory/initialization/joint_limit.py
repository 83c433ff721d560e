"""Depth and width to infinity together: the output is a Gaussian times a log-normal factor.

Source: Hanin & Nica, arXiv:1812.05994 (log-normal norms of products of random matrices); Li et al., arXiv:2106.04013.
Letters: b = sum_l 1 / d_l, X the logarithm of the factor, g a standard normal vector of n outputs:
f = sqrt(E |f|^2 / n) e^X g with X ~ N(-v / 4, v / 4) and v = 5 b for relu, 2 b for linear networks.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from scipy.special import polygamma, psi

from limes.core.errors import SpecError
from limes.numerics.contour import Real
from limes.numerics.quadrature import normal_nodes
from limes.theory.checks import as_floats, check_whole
from limes.theory.initialization.prior import PriorProblem, prior_log_moments, solve_prior


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class JointLimit:
    """The distribution of the joint limit at the radii asked for.

    Args:
        radii: (R,) values of |f|.
        density: (R,) density of the output vector at that length.
        below: (R,) P(|f| <= radius).
        log_mean: Mean of ln |f|^2.
        log_var: Its variance.
        error: Largest difference to the exact distribution function of the finite network over `num_checked` radii.
        problem: The finite network that it stands for.
    """

    radii: Real
    density: Real
    below: Real
    log_mean: float
    log_var: float
    error: float
    problem: PriorProblem


def joint_limit(problem: PriorProblem, radii: Any, *, num_checked: int = 25) -> JointLimit:
    """The log-normal mixture that stands for a network whose depth and width are both large, and its own error.

    Args:
        problem: The finite network; only b, the variances and the number of outputs enter the limit.
        radii: (R,) positive values of |f|.
        num_checked: Radii at which the exact solver is asked too, within 3 deviations of the mean of ln |f|.

    Returns:
        `JointLimit`.

    Raises:
        SpecError: A radius is not positive, or there is none.

    **Accuracy**: `error` is measured, not estimated; it falls like b / width at fixed b. The mixture itself: 1e-12.
    **Source**: arXiv:1812.05994, theorem 1; arXiv:2106.04013.

    >>> problem = PriorProblem((512,) * 256)
    >>> limit = joint_limit(problem, [0.1, 1.0])
    >>> limit.below.round(5).tolist(), limit.error < 1e-3
    ([0.19322, 0.83698], True)
    """
    r, num_checked = np.atleast_1d(as_floats("radii", radii)), check_whole("num_checked", num_checked, least=2)
    if r.ndim != 1 or r.size == 0 or not bool((np.isfinite(r) & (r > 0)).all()):
        raise SpecError(f"radii {r.tolist()}: expected positive, finite lengths of an output")
    mean, var = _log_factor(problem)
    chi = math.log(2.0) + float(psi(0.5 * problem.num_outputs))
    center, spread = prior_log_moments(problem)
    checked = np.exp(0.5 * (center + np.linspace(-3.0, 3.0, num_checked) * math.sqrt(spread)))
    exact = solve_prior(problem, checked).below
    return JointLimit(
        radii=r,
        density=_mixture(problem, r, density=True),
        below=_mixture(problem, r, density=False),
        log_mean=problem.log_mean_square - math.log(problem.num_outputs) + 2.0 * mean + chi,
        log_var=4.0 * var + float(polygamma(1, 0.5 * problem.num_outputs)),
        error=float(np.abs(_mixture(problem, checked, density=False) - exact).max()),
        problem=problem,
    )


def _log_factor(problem: PriorProblem) -> tuple[float, float]:
    """Mean and variance of X."""
    v = (5.0 if problem.activation == "relu" else 2.0) * problem.inverse_width_sum
    return -0.25 * v, 0.25 * v


def _mixture(problem: PriorProblem, r: Real, *, density: bool) -> Real:
    z, weights = (tensor.numpy() for tensor in normal_nodes(1024))
    mean, var = _log_factor(problem)
    n = problem.num_outputs
    scale = np.exp(0.5 * (problem.log_mean_square - math.log(n)) + mean + math.sqrt(var) * z)
    with np.errstate(over="ignore"):
        squares = (r[:, None] / scale) ** 2
    if density:
        return np.asarray((np.exp(-0.5 * squares) / (math.sqrt(2.0 * math.pi) * scale) ** n) @ weights)
    return np.asarray(stats.chi2.cdf(squares, n) @ weights)
