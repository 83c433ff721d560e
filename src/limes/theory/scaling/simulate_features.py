"""Direct simulation of linear networks whose random features are trained: gradient flow of w and A.

Source: the model of arXiv:2409.17858, section 2.
Letters: A (N, M) features, w (N,) readout, b = A^T w / N, g = Lambda (w* - b).
"""

import math
from typing import Any

import numpy as np
import torch
from scipy.integrate import solve_ivp

from limes.core.errors import ConvergenceError, ScopeError, SpecError
from limes.numerics.contour import Real
from limes.theory.checks import check_memory, check_number, check_whole
from limes.theory.scaling.checks import check_times
from limes.theory.scaling.feature_learning import FeatureLearningProblem


def simulate_feature_learning(
    problem: FeatureLearningProblem,
    times: Any,
    *,
    num_draws: int,
    generator: torch.Generator,
    projected: bool = True,
    tolerance: float = 1e-7,
) -> Real:
    """Population gradient flow of networks of finite width.

    Args:
        problem: Finite `num_features`, whole multiplicities.
        times: (T,) increasing, finite.
        num_draws: Independent initial features.
        generator: Of the features.
        projected: Features move within the span of their start (the model of the paper); otherwise freely.
        tolerance: Relative, of the integrator, from 1e-12.

    Returns:
        (num_draws, T) test losses.

    Raises:
        ScopeError: Infinite width.
        SpecError: Times or multiplicities are unusable, or a mode without eigenvalue carries power.

    **Source**: arXiv:2409.17858, Eq. 3 to 5. **Accuracy**: 1e-5 relative at the default tolerance.

    >>> problem = FeatureLearningProblem([1.0, 0.5], [1.0, 0.2], gamma=1.0, num_features=5)
    >>> runs = simulate_feature_learning(problem, [0.0, 1.0], num_draws=1, generator=torch.Generator().manual_seed(0))
    >>> round(float(runs[0, 0]), 12)
    1.2
    """
    grid = check_times(times, whole=False, allow_inf=False)
    num_draws = check_whole("num_draws", num_draws)
    tolerance = check_number("tolerance", tolerance, low=1e-12, below=1.0)
    if not math.isfinite(problem.num_features) or problem.num_features != round(problem.num_features):
        raise ScopeError(f"num_features is {problem.num_features:g}; a simulation needs a whole, finite number")
    counts = problem.multiplicity.astype(int)
    if not np.array_equal(counts, problem.multiplicity):
        raise SpecError("multiplicity holds fractions; a simulation needs whole modes: fewer of them, one by one")
    if (problem.target_power[problem.spectrum == 0.0] > 0.0).any():
        raise SpecError("a mode with eigenvalue 0 carries target power: leave it out and add its power to the loss")
    lam = np.repeat(problem.spectrum, counts)
    power = np.repeat(problem.target_power, counts)
    lam, power = lam[lam > 0.0], power[lam > 0.0]
    width = round(problem.num_features)
    # The integrator keeps a dozen stages of the state.
    check_memory(f"training of {width} features on {len(lam)} modes", numbers=20.0 * width * len(lam))
    rows = []
    for _ in range(num_draws):
        start = torch.randn(width, len(lam), generator=generator, dtype=torch.float64).numpy()
        rows.append(_flow(problem.gamma, lam, np.sqrt(power / lam), start, grid, projected, tolerance))
    return np.array(rows)


def _flow(gamma: float, lam: Real, target: Real, start: Real, grid: Real, projected: bool, tolerance: float) -> Real:
    width, modes = start.shape
    gram = start.T @ start / width if projected else None

    def split(state: Real) -> tuple[Real, Real, Real]:
        w, features = state[:width], state[width:].reshape(width, modes)
        return w, features, lam * (target - features.T @ w / width)

    def slope(_: float, state: Real) -> Real:
        w, features, g = split(state)
        pull = g if gram is None else gram @ g
        return np.concatenate([features @ g, (gamma * np.outer(w, pull)).ravel()])

    if grid[-1] == 0.0:
        return np.full(len(grid), float(lam @ target**2))
    first = np.concatenate([np.zeros(width), start.ravel()])
    found = solve_ivp(
        slope, (0.0, float(grid[-1])), first, t_eval=grid, method="DOP853", rtol=tolerance, atol=1e-3 * tolerance
    )
    if found.status != 0:
        raise ConvergenceError(f"training of {width} features up to time {grid[-1]:g}: {found.message}")
    errors = [split(state)[2] for state in found.y.T]
    return np.array([float(g**2 @ (1.0 / lam)) for g in errors])
