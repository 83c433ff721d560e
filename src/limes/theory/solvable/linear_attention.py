"""In-context learning of linear regression by linear attention, in the limit of many input dimensions.

The attention layer is a ridge regression of the query's label on query (x) context statistics, pretrained on n
sequences of l labelled examples whose tasks come from k fixed ones. As d grows with l/d, k/d and n/d^2 fixed, the
task covariance has Marchenko-Pastur eigenvalues r, and with K = r + x, x = (1 + rho)/alpha:

    xi (1 - E[K/(K + xi)]/tau) = lambda,    df2 = E[K^2/(K + xi)^2],    G = r/(K + xi)
    V = (xi^2 E[r^2/(K (K + xi)^2)] + rho + E[r - r^2/K]) / (tau - df2)
    error = 1 + rho - 2 E[G c] + E[G^2 Kt] + V E[Kt K/(K + xi)^2]

with c = 1, Kt = 1 + x for tasks never seen (in-context learning) and c = r, Kt = K for the tasks of pretraining.

Source: Lu, Letey, Zavatone-Veth, Maiti & Pehlevan, arXiv:2405.11751; any ridge: docs/theory/linear_attention.md.
Letters: alpha, kappa, tau the ratios of context, tasks and sequences; rho noise, lambda ridge, xi renormalised ridge.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.optimize import brentq

from limes.core.errors import ScopeError
from limes.theory.checks import check_number
from limes.theory.solvable.checks import Real, check_array

NUM_NODES = 200


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LinearAttentionProblem:
    """Pretraining of one linear-attention layer on linear regression.

    Args:
        context_ratio: Labelled examples in a context, over the input dimension.
        task_ratio: Distinct tasks of pretraining over the input dimension; math.inf draws a new one each time.
        sequence_ratio: Pretraining sequences over the squared input dimension.
        noise_var: Variance of the label noise; a clean label has variance 1.
        ridge: Penalty, in units of sequences over input dimension, on a sum of squares.
    """

    context_ratio: float
    task_ratio: float
    sequence_ratio: float
    noise_var: float = 0.0
    ridge: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            SpecError: A ratio is not positive, or noise or ridge is negative.
            ScopeError: At the interpolation peak without ridge, where the error is infinite.
        """
        for name in ("context_ratio", "task_ratio", "sequence_ratio"):
            value = check_number(name, getattr(self, name), low=0.0, open_low=True, allow_inf=name == "task_ratio")
            object.__setattr__(self, name, value)
        for name in ("noise_var", "ridge"):
            object.__setattr__(self, name, check_number(name, getattr(self, name), low=0.0))
        if self.ridge == 0.0 and self.sequence_ratio == 1.0:
            raise ScopeError("sequence_ratio is 1 with ridge 0: the error is infinite there; set a ridge or move away")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LinearAttentionResult:
    """Squared errors of a query's label, its noise included, without the factor 1/2.

    Args:
        icl_error: On tasks never seen.
        idg_error: On the tasks of pretraining.
        renormalised_ridge: xi: directions of the context statistics above it are used.
        degrees_of_freedom: df2, over the squared input dimension; below sequence_ratio.
        problem: What was asked.
    """

    icl_error: float
    idg_error: float
    renormalised_ridge: float
    degrees_of_freedom: float
    problem: LinearAttentionProblem

    @property
    def generalization_gap(self) -> float:
        """What new tasks cost over known ones; near 0 once the layer learns in context rather than recalls."""
        return self.icl_error - self.idg_error


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TaskDiversityCurve:
    """Errors against the number of tasks.

    Args:
        task_ratios: (T,) tasks over input dimension.
        icl_error: (T,) on tasks never seen.
        idg_error: (T,) on the tasks of pretraining.
    """

    task_ratios: Real
    icl_error: Real
    idg_error: Real


def solve_linear_attention(problem: LinearAttentionProblem) -> LinearAttentionResult:
    """Errors on new and on known tasks.

    Args:
        problem: `LinearAttentionProblem`.

    Returns:
        `LinearAttentionResult`.

    **Source**: arXiv:2405.11751, results for the ridgeless case; docs/theory/linear_attention.md for any ridge.
    **Accuracy**: 1e-9 relative for context ratios up to 100; the average over r is a 200-point rule graded to the edge.

    >>> problem = LinearAttentionProblem(context_ratio=2.0, task_ratio=2.0, sequence_ratio=2.0, noise_var=0.25)
    >>> result = solve_linear_attention(problem)
    >>> print(f"{result.icl_error:.6f} {result.idg_error:.6f}")
    1.406290 1.173660
    """
    rho, tau = problem.noise_var, problem.sequence_ratio
    x = (1.0 + rho) / problem.context_ratio
    r, weight = _task_spectrum(problem.task_ratio)
    k = r + x
    xi = _renormalised_ridge(k, weight, tau, problem.ridge)
    shrunk = 1.0 / (k + xi)
    df2 = float(weight @ (k * shrunk) ** 2)
    noise = rho + float(weight @ (r * x / k))
    gain = r * shrunk
    variance = (xi**2 * float(weight @ (gain**2 / k)) + noise) / (tau - df2)

    def error(overlap: Any, second: Any) -> float:
        inner = -2.0 * gain * overlap + gain**2 * second + variance * second * k * shrunk**2
        return 1.0 + rho + float(weight @ inner)

    return LinearAttentionResult(
        icl_error=error(1.0, 1.0 + x),
        idg_error=error(r, k),
        renormalised_ridge=xi,
        degrees_of_freedom=df2,
        problem=problem,
    )


def task_diversity_curve(problem: LinearAttentionProblem, task_ratios: Any) -> TaskDiversityCurve:
    """Both errors as tasks are added: recall below one task per input dimension, in-context learning above.

    With long contexts and many sequences the excess error on new tasks tends to max(1 - task_ratio, 0): a phase
    transition at one task per input dimension, rounded by what is finite.

    Args:
        problem: All but its `task_ratio`.
        task_ratios: (T,) positive.

    Returns:
        `TaskDiversityCurve`.

    **Source**: arXiv:2405.11751, section on task diversity. **Accuracy**: as `solve_linear_attention`.

    >>> long = LinearAttentionProblem(context_ratio=1e4, task_ratio=1.0, sequence_ratio=1e4)
    >>> task_diversity_curve(long, [0.25, 0.5, 2.0]).icl_error.round(2).tolist()
    [0.75, 0.5, 0.0]
    """
    ratios = check_array("task_ratios", task_ratios)
    results = [solve_linear_attention(replace(problem, task_ratio=float(ratio))) for ratio in ratios]
    return TaskDiversityCurve(
        task_ratios=ratios,
        icl_error=np.array([result.icl_error for result in results]),
        idg_error=np.array([result.idg_error for result in results]),
    )


@lru_cache(maxsize=64)
def _task_spectrum(task_ratio: float) -> tuple[Real, Real]:
    """Eigenvalues of the covariance of the tasks and their weights, which sum to 1."""
    c = 1.0 / task_ratio
    if c == 0.0:
        return np.ones(1), np.ones(1)
    # The edge of the spectrum puts a pole at distance `gap` from angle 0: nodes are spread evenly in its logarithm.
    gap = min(1.0, max(abs(1.0 - np.sqrt(c)) / c**0.25, 1e-8))
    end = np.arcsinh(np.pi / gap)
    node, share = np.polynomial.legendre.leggauss(NUM_NODES)
    u = 0.5 * end * (node + 1.0)
    theta = gap * np.sinh(u)
    # (1 - sqrt c)^2 is added apart: 1 + c - half cos(theta) would lose its digits where c is near 1.
    half = 2.0 * np.sqrt(c)
    r = (1.0 - np.sqrt(c)) ** 2 + half * 2.0 * np.sin(0.5 * theta) ** 2
    weight = 0.5 * end * share * gap * np.cosh(u) * (half * np.sin(theta)) ** 2 / (2.0 * np.pi * c * r)
    if c > 1.0:
        return np.append(r, 0.0), np.append(weight, 1.0 - task_ratio)
    return r, weight


def _renormalised_ridge(k: Real, weight: Real, tau: float, ridge: float) -> float:
    """The largest xi with xi (1 - E[K/(K+xi)]/tau) = ridge; above the zero of the bracket the left side increases."""
    if ridge == 0.0 and tau > 1.0:
        return 0.0

    def gap(log_xi: float) -> float:
        xi = np.exp(log_xi)
        left = 1.0 - float(weight @ (k / (k + xi))) / tau
        return left - ridge / xi

    low = max(ridge, float(k.min()) * (1.0 / tau - 1.0)) * (1.0 - 1e-9)
    high = (ridge + float(weight @ k) / tau) * (1.0 + 1e-9)
    return float(np.exp(brentq(gap, np.log(low), np.log(high), xtol=1e-14, rtol=1e-14)))
