"""Forecasts from few rows: a law averaged over what the table cannot decide.

With four or five sizes the floor and the exponent trade against each other, and no resampling of rows can show it.
So the exponents are drawn from their start range, the coefficients from their Gaussian conditional given the
exponents, the law with and without its floor counts the same beforehand, and every draw is weighted by its
likelihood at the stated noise. Draws with a negative coefficient are dropped, which bounds the floor by zero.

Source: limes, docs/laws.md (importance sampling of a partially linear model).
Letters: S draws of exponents, R draws of coefficients for each, K terms, n rows, q points, m draws kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import qmc

from limes.laws.form import Array
from limes.laws.problem import Problem

NUM_EXPONENTS, NUM_COEFFICIENTS = 1024, 16
LEAST_EXPONENT = 0.02
PRIOR_NOISE, PRIOR_ROWS = 0.01, 2.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Draws:
    """Weighted forecasts.

    Args:
        values: (m, q) target in the user's units, a new observation's noise included.
        weights: (m,) summing to one.
        effective: Effective number of draws, 1 / sum of squared weights.
    """

    values: Array
    weights: Array
    effective: float

    def quantile(self, level: float) -> Array:
        """(q,) weighted quantile of each column."""
        order = np.argsort(self.values, axis=0, kind="stable")
        cumulative = np.cumsum(self.weights[order], axis=0)
        row = np.argmax(cumulative >= level * cumulative[-1], axis=0)
        columns = np.arange(self.values.shape[1])
        return self.values[order[row, columns], columns]


def posterior_draws(
    problem: Problem, points: Mapping[str, Array], *, noise_std: float | None = None, theta: Array, seed: int = 0
) -> Draws:
    """Weighted forecasts of a sum of power laws.

    Args:
        problem: Law and table. The law must be a sum of power laws.
        points: Input name to (q,), in the user's units.
        noise_std: Standard deviation of one observation in the target's units. Without it, the residuals of the
            fit together with two imagined rows of 1 % noise.
        theta: (p,) the fit, for that estimate.
        seed: Of the Sobol points and normal draws; the noise is a numerical device.

    Accuracy: Monte Carlo, about 1 / sqrt(effective).
    """
    law = problem.law
    if noise_std is None:
        relative = np.full(problem.num_rows, _estimated_noise(problem, theta))
    else:
        relative = noise_std / (problem.target * problem.scales[law.target])
    everywhere = problem.normalize(points)
    parts = [_conditional(problem, everywhere, noise=relative, drop=None, seed=seed)]
    if law.floor is not None and len(law.terms) > 1:
        parts.append(_conditional(problem, everywhere, noise=relative, drop=law.floor, seed=seed + 1))
    values = np.concatenate([part[0] for part in parts]) * problem.scales[law.target]
    logs = np.concatenate([part[1] for part in parts])
    weights = np.exp(logs - logs.max())
    weights = weights / weights.sum()
    size = np.median(relative) * values if noise_std is None else noise_std
    values = values + size * np.random.default_rng(seed + 2).standard_normal(values.shape)
    return Draws(values=values, weights=weights, effective=float(1 / (weights**2).sum()))


def _estimated_noise(problem: Problem, theta: Array) -> float:
    residual = problem.residuals(theta)
    free = max(problem.num_rows - len(problem.law.parameters), 0)
    return float(np.sqrt((PRIOR_ROWS * PRIOR_NOISE**2 + (residual**2).sum()) / (PRIOR_ROWS + free)))


def _conditional(
    problem: Problem, points: Mapping[str, Array], *, noise: Array, drop: str | None, seed: int
) -> tuple[Array, Array]:
    """Draws (m, q) of the mean curve, normalized, and their log weights (m,)."""
    law = problem.law
    rng = np.random.default_rng(seed)
    terms = [term for term in law.terms if term.coefficient != drop]
    exponents = _draw_exponents(problem, rng)
    params = {**exponents, **{term.coefficient: np.ones((NUM_EXPONENTS, 1)) for term in law.terms}}
    here = np.stack([term.value(params, problem.columns) for term in terms], -1)
    there = np.stack([term.value(params, points) for term in terms], -1)
    root = np.sqrt(problem.weights) / noise
    left, singular, right = np.linalg.svd(here / problem.target[:, None] * root[:, None], full_matrices=False)
    # two terms that look the same on the table are told apart by the bounds alone
    singular = np.maximum(singular, 1e-9 * singular[:, :1])
    projected = np.einsum("snk,n->sk", left, root)
    misfit = (root**2).sum() - (projected**2).sum(1)
    drawn = rng.standard_normal((NUM_EXPONENTS, NUM_COEFFICIENTS, left.shape[-1]))
    coefficients = np.einsum("skj,srk->srj", right, (projected[:, None] + drawn) / singular[:, None])
    allowed = (coefficients >= 0).all(-1)
    values = np.einsum("srk,sqk->srq", coefficients, there)
    return values[allowed], np.broadcast_to(-0.5 * misfit[:, None], allowed.shape)[allowed]


def _draw_exponents(problem: Problem, rng: np.random.Generator) -> dict[str, Array]:
    law = problem.law
    unit = qmc.Sobol(len(law.exponents), scramble=True, rng=rng).random(NUM_EXPONENTS)
    drawn = {}
    for column, i in enumerate(law.exponents):
        low, high = law.parameters[i].start
        low = max(low, LEAST_EXPONENT) if low >= 0 else low
        drawn[law.names[i]] = (low + unit[:, column] * (high - low))[:, None]
    return drawn
