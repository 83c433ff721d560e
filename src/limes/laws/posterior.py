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
    """Weighted draws.

    Args:
        values: (m, q), such as forecasts at q points.
        weights: (m,) summing to one.
    """

    values: Array
    weights: Array

    @property
    def effective(self) -> float:
        """Effective number of draws, 1 / sum of squared weights."""
        return _effective(self.weights)

    def quantile(self, level: float) -> Array:
        """(q,) weighted quantile of each column."""
        order = np.argsort(self.values, axis=0, kind="stable")
        cumulative = np.cumsum(self.weights[order], axis=0)
        row = np.argmax(cumulative >= level * cumulative[-1], axis=0)
        columns = np.arange(self.values.shape[1])
        return self.values[order[row, columns], columns]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Laws:
    """Weighted laws that the table leaves possible.

    Args:
        problem: Law and table.
        params: Normalized parameter name to (m,); a floor that a law does without is 0.
        weights: (m,) summing to one.
        relative_noise: (n,) deviation of each row over its target.
    """

    problem: Problem
    params: Mapping[str, Array]
    weights: Array
    relative_noise: Array

    @property
    def effective(self) -> float:
        """Effective number of laws, 1 / sum of squared weights."""
        return _effective(self.weights)

    def mean(self, points: Mapping[str, Array]) -> Draws:
        """The law itself at some points (name to (q,), user's units): values (m, q), without a new run's noise."""
        columns = self.problem.normalize(points)
        params = {name: value[:, None] for name, value in self.params.items()}
        scale = self.problem.scales[self.problem.law.target]
        return Draws(values=self.problem.law.value(params, columns) * scale, weights=self.weights)

    def parameters(self) -> dict[str, Draws]:
        """Each parameter in the user's units: values (m, 1)."""
        factors = self.problem.law.unit_factors(self.params, self.problem.scales)
        return {
            name: Draws(values=(value * factors[name])[:, None], weights=self.weights)
            for name, value in self.params.items()
        }


def posterior_laws(problem: Problem, *, noise_std: float | None = None, theta: Array, seed: int = 0) -> Laws:
    """Sums of power laws, weighted by their likelihood.

    Args:
        problem: Law and table. The law must be a sum of power laws.
        noise_std: Standard deviation of one observation in the target's units. Without it, the residuals of the
            fit together with two imagined rows of 1 % noise.
        theta: (p,) the fit, for that estimate.
        seed: Of the Sobol points and normal draws; the noise is a numerical device.

    Source: limes, docs/laws.md.
    Accuracy: Monte Carlo, about 1 / sqrt of the effective number of draws.
    """
    law = problem.law
    if noise_std is None:
        relative = np.full(problem.num_rows, _estimated_noise(problem, theta))
    else:
        relative = noise_std / (problem.target * problem.scales[law.target])
    parts = [_conditional(problem, noise=relative, drop=None, seed=seed)]
    if law.floor is not None and len(law.terms) > 1:
        parts.append(_conditional(problem, noise=relative, drop=law.floor, seed=seed + 1))
    params = {name: np.concatenate([part[0][name] for part in parts]) for name in law.names}
    logs = np.concatenate([part[1] for part in parts])
    weights = np.exp(logs - logs.max())
    return Laws(problem=problem, params=params, weights=weights / weights.sum(), relative_noise=relative)


def posterior_draws(
    problem: Problem, points: Mapping[str, Array], *, noise_std: float | None = None, theta: Array, seed: int = 0
) -> Draws:
    """Weighted forecasts of new runs by a sum of power laws, their noise included; arguments of `posterior_laws`.

    Args:
        points: Input name to (q,), in the user's units.
    """
    laws = posterior_laws(problem, noise_std=noise_std, theta=theta, seed=seed)
    mean = laws.mean(points)
    size = np.median(laws.relative_noise) * mean.values if noise_std is None else noise_std
    values = mean.values + size * np.random.default_rng(seed + 2).standard_normal(mean.values.shape)
    return Draws(values=values, weights=mean.weights)


def _effective(weights: Array) -> float:
    return float(1 / (weights**2).sum())


def _estimated_noise(problem: Problem, theta: Array) -> float:
    residual = problem.residuals(theta)
    free = max(problem.num_rows - len(problem.law.parameters), 0)
    return float(np.sqrt((PRIOR_ROWS * PRIOR_NOISE**2 + (residual**2).sum()) / (PRIOR_ROWS + free)))


def _conditional(problem: Problem, *, noise: Array, drop: str | None, seed: int) -> tuple[dict[str, Array], Array]:
    """Normalized parameters, each (m,), and the draws' log weights (m,)."""
    law = problem.law
    rng = np.random.default_rng(seed)
    terms = [term for term in law.terms if term.coefficient != drop]
    exponents = _draw_exponents(problem, rng)
    shapes = {**exponents, **{term.coefficient: np.ones((NUM_EXPONENTS, 1)) for term in terms}}
    here = np.stack([term.value(shapes, problem.columns) for term in terms], -1)
    root = np.sqrt(problem.weights) / noise
    left, singular, right = np.linalg.svd(here / problem.target[:, None] * root[:, None], full_matrices=False)
    # two terms that look the same on the table are told apart by the bounds alone
    singular = np.maximum(singular, 1e-9 * singular[:, :1])
    projected = np.einsum("snk,n->sk", left, root)
    misfit = (root**2).sum() - (projected**2).sum(1)
    drawn = rng.standard_normal((NUM_EXPONENTS, NUM_COEFFICIENTS, left.shape[-1]))
    coefficients = np.einsum("skj,srk->srj", right, (projected[:, None] + drawn) / singular[:, None])
    allowed = (coefficients >= 0).all(-1)
    params = {name: np.broadcast_to(value, allowed.shape)[allowed] for name, value in exponents.items()}
    params |= {term.coefficient: coefficients[..., k][allowed] for k, term in enumerate(terms)}
    if drop is not None:
        params[drop] = np.zeros(int(allowed.sum()))
    return params, np.broadcast_to(-0.5 * misfit[:, None], allowed.shape)[allowed]


def _draw_exponents(problem: Problem, rng: np.random.Generator) -> dict[str, Array]:
    law = problem.law
    unit = qmc.Sobol(len(law.exponents), scramble=True, rng=rng).random(NUM_EXPONENTS)
    drawn = {}
    for column, i in enumerate(law.exponents):
        low, high = law.parameters[i].start
        low = max(low, LEAST_EXPONENT) if low >= 0 else low
        drawn[law.names[i]] = (low + unit[:, column] * (high - low))[:, None]
    return drawn
