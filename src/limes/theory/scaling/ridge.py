"""Deterministic equivalents: what ridge regression ends at, with a kernel, with random features, or several layers.

Samples and layers of features each multiply the ridge by their S-transform (`s_transform.py`), one after another:

    ridge = kappa1 (1 - df/P),   kappa2 = kappa1 S(df),   df = sum lam / (lam + kappa2)

and the losses follow from kappa2 alone. With eps = d log kappa2 / d log kappa1 = 1 / (1 + (df - df2) dlogS/d df):

    B = kappa2^2 sum p/(lam + kappa2)^2 + (1 - eps) kappa2 sum p lam/(lam + kappa2)^2
    test + noise = (noise + B) / (1 - df2'/P),  df2' = df - eps (df - df2),  train = (1 - df/P)^2 (test + noise)

Source: Atanasov, Zavatone-Veth & Pehlevan, arXiv:2405.00592; Defilippis, Loureiro & Misiakiewicz, arXiv:2405.15699;
this form of it: docs/theory/ridge.md.
Letters: P samples, N features, df and df2 degrees of freedom, p target power, B what an infinite data set leaves.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from limes.core.errors import SpecError
from limes.theory.scaling.problem import RandomFeatureProblem
from limes.theory.scaling.s_transform import STransform, Wishart


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RidgeEquivalent:
    """Ridge regression in the limit of many modes, features and samples.

    Args:
        test_loss: E(f - y*)^2 without the noise; math.inf at the peak of double descent without ridge.
        train_loss: Mean of (f - y)^2 on the samples.
        kappa: Renormalised ridge: modes above it are learned.
        sample_kappa: The same seen from the feature space (kappa1).
        degrees_of_freedom: df, below the samples and the features.
        bias: Squared bias with respect to data: `test_loss` at P -> infinity at the same kappa1.
        problem: What was asked.
    """

    test_loss: float
    train_loss: float
    kappa: float
    sample_kappa: float
    degrees_of_freedom: float
    bias: float
    problem: RandomFeatureProblem

    @property
    def data_variance(self) -> float:
        """Test loss above `bias`: variance from samples and noise."""
        return self.test_loss - self.bias

    @property
    def cross_validation(self) -> float:
        """Test loss plus noise as a learner can estimate it: train / (1 - df/P)^2, nan where the data are fitted."""
        left = 1.0 - self.degrees_of_freedom / self.problem.num_samples
        return self.train_loss / left**2 if left > 1e-12 else math.nan


def ridge_equivalent(problem: RandomFeatureProblem, *, layers: Sequence[STransform] | None = None) -> RidgeEquivalent:
    """Losses of ridge regression, or without ridge those of the minimum-norm solution.

    Args:
        problem: Its `ridge`, sizes, spectrum and noise; the optimizer does not matter. num_features infinite is
            kernel ridge regression.
        layers: Random matrices between modes and the readout, instead of one Gaussian layer of `num_features` rows.

    Returns:
        `RidgeEquivalent`.

    Raises:
        SpecError: A layer without capacity.

    **Source**: arXiv:2405.00592, sections 4 and 5; docs/theory/ridge.md.
    **Accuracy**: 1e-12 relative, less near the peak (P = N without ridge), where the loss itself is unbounded.

    >>> one = RandomFeatureProblem(np.ones(100), np.full(100, 0.01), num_samples=50.0)   # P = M/2, no ridge
    >>> round(ridge_equivalent(one).test_loss, 12)
    0.5
    """
    stack = (Wishart(problem.num_features),) if layers is None else tuple(layers)
    for layer in stack:
        if not layer.capacity > 0:
            raise SpecError(f"{layer}: a layer needs at least one row")
    limit = min([problem.num_samples, *(layer.capacity for layer in stack)])
    lam, power, count = problem.spectrum, problem.target_power, problem.multiplicity
    kappa = _solve_kappa(problem, stack, limit)
    resolvent = 1.0 / np.where(lam + kappa > 0, lam + kappa, 1.0)
    df = float(count @ (lam * resolvent)) if kappa > 0 else problem.num_modes
    df2 = float(count @ (lam * resolvent) ** 2) if kappa > 0 else df
    if problem.ridge == 0.0 and kappa > 0:
        df = limit
    missed = float(count @ (power * (kappa * resolvent) ** 2)) if kappa > 0 else float(count @ (power * (lam == 0)))
    slope = kappa * float(count @ (power * lam * resolvent**2))
    epsilon = _epsilon(stack, df, df2)
    bias = missed + (1.0 - epsilon) * slope
    share = (df - epsilon * (df - df2)) / problem.num_samples
    total = (problem.noise_var + bias) / (1.0 - share) if share < 1.0 - 1e-13 else math.inf
    left = 1.0 - df / problem.num_samples
    renormalised = kappa / math.prod(_value(layer, df) for layer in stack)
    return RidgeEquivalent(
        test_loss=total - problem.noise_var,
        train_loss=_train(left, total, problem, renormalised),
        kappa=kappa,
        sample_kappa=renormalised,
        degrees_of_freedom=df,
        bias=bias,
        problem=problem,
    )


def optimal_ridge(problem: RandomFeatureProblem, *, layers: Sequence[STransform] | None = None) -> RidgeEquivalent:
    """The ridge with the smallest test loss, found over twenty decades; its `problem.ridge` is the answer.

    Args:
        problem: Its own ridge is not used.
        layers: As in `ridge_equivalent`.

    Returns:
        `RidgeEquivalent` at the best ridge. Without noise the best ridge can be zero; then the smallest one tried.

    **Source**: docs/theory/ridge.md. **Accuracy**: ridge to 1e-5 relative, loss to 1e-10, at the best of the local
    minima found on a grid of half decades.

    >>> problem = RandomFeatureProblem(np.ones(100), np.full(100, 0.01), num_samples=50.0, noise_var=0.5)
    >>> round(optimal_ridge(problem).problem.ridge, 4)          # noise * M / (P * power)
    1.0
    """
    scale = math.log10(problem.trace)

    def at(log_ridge: float) -> RidgeEquivalent:
        return ridge_equivalent(_with_ridge(problem, 10.0**log_ridge), layers=layers)

    grid = np.arange(scale - 16.0, scale + 4.0, 0.5)
    values = [at(point).test_loss for point in grid]
    best = int(np.argmin(values))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = minimize_scalar(lambda point: at(point).test_loss, bounds=(low, high), options={"xatol": 1e-7})
    return at(float(found.x))


def final_losses(problem: RandomFeatureProblem) -> np.ndarray:
    """(5,) losses at the end of training, with the three correlations of partly independent learners."""
    result = ridge_equivalent(problem)
    lam, power, count = problem.spectrum, problem.target_power, problem.multiplicity
    kappa, n, p = result.kappa, 1.0 / problem.num_features, 1.0 / problem.num_samples
    g = 1.0 / np.where(lam + kappa > 0, lam + kappa, 1.0)
    a, b = float(count @ (lam * g * g)), float(count @ (lam * g) ** 2)
    # What never was in the features stays; where kappa is 0, nothing else does.
    both = float(count @ (power * np.where(lam > 0, kappa * g, 1.0) ** 2))
    v = float(count @ (lam * power * g * g))
    noise = problem.noise_var if p > 0 else 0.0
    data = both + _ratio(n * kappa**2 * a * v, 1.0 - n * b)
    features = _ratio(both + p * b * noise, 1.0 - p * b)
    return np.array([result.test_loss, result.train_loss, features, data, both])


def _with_ridge(problem: RandomFeatureProblem, ridge: float) -> RandomFeatureProblem:
    return RandomFeatureProblem(
        problem.spectrum,
        problem.target_power,
        problem.num_features,
        problem.num_samples,
        problem.noise_var,
        multiplicity=problem.multiplicity,
        ridge=ridge,
    )


def _ratio(top: float, bottom: float) -> float:
    if top == 0.0:
        return 0.0
    return top / bottom if bottom > 0.0 else math.inf


def _value(layer: STransform, df: float) -> float:
    """S(df); infinite where the capacity is used up."""
    return math.inf if df >= layer.capacity else float(layer.value(np.asarray(df)))


def _epsilon(stack: Sequence[STransform], df: float, df2: float) -> float:
    """d log kappa / d log kappa1; zero where a layer is full."""
    if any(df >= layer.capacity for layer in stack):
        return 0.0
    return 1.0 / (1.0 + (df - df2) * sum(float(layer.log_slope(np.asarray(df))) for layer in stack))


def _train(left: float, total: float, problem: RandomFeatureProblem, sample_kappa: float) -> float:
    """(1 - df/P)^2 (test + noise), with 1 - df/P = ridge / kappa1 where that has more digits."""
    if problem.ridge > 0.0 and sample_kappa > 0.0:
        left = problem.ridge / sample_kappa
    return 0.0 if left <= 0.0 else left**2 * total


def _solve_kappa(problem: RandomFeatureProblem, stack: Sequence[STransform], limit: float) -> float:
    """kappa with ridge = kappa (1 - df/P) / prod S(df) and df below the limit; bisection in its logarithm."""
    lam, weights = problem.spectrum, problem.multiplicity * problem.spectrum
    if problem.ridge == 0.0 and problem.num_modes <= limit:
        return 0.0
    shares = sum((1.0 / layer.capacity for layer in stack), 1.0 / problem.num_samples)
    high = math.log(max(problem.ridge + problem.trace * shares, 1e-300)) + 1.0
    low = high - 90.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        kappa = math.exp(middle)
        df = float((weights / (lam + kappa)).sum())
        room = df < limit
        if room and problem.ridge > 0.0:
            back = kappa * (1.0 - df / problem.num_samples) / math.prod(_value(layer, df) for layer in stack)
            room = back > problem.ridge
        low, high = (low, middle) if room else (middle, high)
        if high - low <= 1e-15 * max(1.0, abs(high)):
            break
    return math.exp(0.5 * (low + high))
