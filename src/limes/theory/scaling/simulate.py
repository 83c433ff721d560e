"""Direct simulation of random-feature learning: finite draws of features and samples, trained exactly or step by step.

What the mean field theory predicts is the average over these draws; the two share the problem and nothing else.

Source: the model of arXiv:2402.01092, section 2.
Letters: A (N, M) features, Psi (P, M) samples, F = Psi A^T / sqrt N, h eigenvalues of F^T F / P, q(h, t) what is left
of a mode that decays with rate h.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from limes.core.errors import ScopeError, SpecError
from limes.numerics.contour import Real
from limes.theory.scaling.checks import check_times
from limes.theory.scaling.problem import RandomFeatureProblem


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RandomFeatureSimulation:
    """Losses of independent draws; average over the first axis, with its standard error.

    Args:
        times: As requested.
        test_loss: (num_draws, T), exact for the drawn learner (the spectrum is known).
        train_loss: (num_draws, T), noise included; None for one-pass SGD.
        problem: What was simulated.
    """

    times: Real
    test_loss: Real
    train_loss: Real | None
    problem: RandomFeatureProblem = field(repr=False)


def simulate_random_features(
    problem: RandomFeatureProblem, times: Any, *, num_draws: int, generator: torch.Generator
) -> RandomFeatureSimulation:
    """Train independent draws of the model.

    Args:
        problem: Finite sizes; one-pass SGD needs `lr` and `batch_size`. Multiplicities must be whole.
        times: As in `solve_random_features`, finite or infinite.
        num_draws: Independent draws of features, samples and noise.
        generator: Of all of them.

    Returns:
        `RandomFeatureSimulation`.

    Raises:
        ScopeError: An infinite width, or batch noise in continuous time.
        SpecError: Times, multiplicities or num_draws are unusable.

    **Source**: arXiv:2402.01092, section 2. **Accuracy**: exact for each draw, except for one-pass SGD, which is run.

    >>> problem = RandomFeatureProblem([1.0, 0.5], [1.0, 0.2], num_features=4, num_samples=6)
    >>> run = simulate_random_features(problem, [0.0, 1.0], num_draws=2, generator=torch.Generator().manual_seed(0))
    >>> run.test_loss.shape, float(run.test_loss[0, 0])
    ((2, 2), 1.2)
    """
    grid = check_times(times, whole=problem.lr is not None)
    if num_draws < 1:
        raise SpecError(f"num_draws is {num_draws}; expected at least 1")
    width = _whole("num_features", problem.num_features)
    num_modes = len(expanded_modes(problem)[0])
    if problem.one_pass:
        rows = [
            _descend_online(problem, grid, draw_normals(width, num_modes, generator=generator), generator)
            for _ in range(num_draws)
        ]
        return RandomFeatureSimulation(times=grid, test_loss=np.array(rows), train_loss=None, problem=problem)
    samples = _whole("num_samples", problem.num_samples)
    test, train = np.empty((num_draws, len(grid))), np.empty((num_draws, len(grid)))
    for draw in range(num_draws):
        features = draw_normals(width, num_modes, generator=generator)
        data, noise = draw_data(problem, samples, generator=generator)
        missing, residual = train_random_features(problem, grid, features=features, data=data, noise=noise)
        test[draw], train[draw] = (missing**2).sum(1), (residual**2).mean(1)
    return RandomFeatureSimulation(times=grid, test_loss=test, train_loss=train, problem=problem)


def draw_normals(rows: int, columns: int, *, generator: torch.Generator) -> Real:
    """(rows, columns) independent standard normals."""
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64).numpy()


def draw_data(problem: RandomFeatureProblem, num_samples: int, *, generator: torch.Generator) -> tuple[Real, Real]:
    """Whitened samples (P, M) and label noise (P,)."""
    modes = round(float(problem.multiplicity.sum()))
    data = draw_normals(num_samples, modes, generator=generator)
    return data, math.sqrt(problem.noise_var) * draw_normals(num_samples, 1, generator=generator)[:, 0]


def expanded_modes(problem: RandomFeatureProblem) -> tuple[Real, Real]:
    """sqrt(lam) and sqrt(p) of every single mode."""
    counts = problem.multiplicity.astype(int)
    if not np.array_equal(counts, problem.multiplicity):
        raise SpecError("multiplicity holds fractions; a simulation needs whole modes: fewer of them, one by one")
    return np.repeat(np.sqrt(problem.spectrum), counts), np.repeat(np.sqrt(problem.target_power), counts)


def train_random_features(
    problem: RandomFeatureProblem, times: Any, *, features: Real, data: Real, noise: Real
) -> tuple[Real, Real]:
    """One learner with given features and samples.

    Args:
        problem: Spectrum, target and optimizer.
        times: As in `solve_random_features`.
        features: (N, M) matrix A.
        data: (P, M) whitened samples.
        noise: (P,) label noise.

    Returns:
        (T, M) what is missing of the target in every mode, in units of its power (its square sums to the test loss; the
        product of two learners' to their correlation), and (T, P) residuals on the samples.

    Raises:
        SpecError: Times are unusable.

    **Source**: arXiv:2402.01092, section 2. **Accuracy**: that of an eigenvalue decomposition.

    >>> problem = RandomFeatureProblem([1.0], [1.0])
    >>> one = np.ones((1, 1))
    >>> missing, _ = train_random_features(problem, [1.0], features=one, data=one, noise=np.zeros(1))
    >>> round(float(missing[0, 0]), 12)            # exp(-1)
    0.367879441171
    """
    grid = check_times(times, whole=problem.lr is not None)
    root, signal = expanded_modes(problem)
    seen = (features * root).T / math.sqrt(len(features))
    design = data @ seen
    labels = data @ signal + noise
    left, singular, right = np.linalg.svd(design, full_matrices=False)
    rates = singular**2 / len(data)
    # The gradient has no part outside of the rows of the design: modes at rounding level stay where they were.
    rates = np.where(rates > 1e-13 * rates.max(), rates, 0.0)
    moment = singular * (left.T @ labels) / len(data)
    total = rates + problem.ridge
    share = response(problem)(total, grid)
    weights = np.where(rates > 0.0, (1.0 - share) / np.where(rates > 0.0, total, 1.0), 0.0) * moment @ right
    return signal - weights @ seen.T, labels - weights @ design.T


def response(problem: RandomFeatureProblem) -> Callable[[Real, Real], Real]:
    """(rates (n,), times (T,)) -> (T, n): what the optimizer leaves of a mode."""
    if problem.lr is not None:
        return lambda rates, times: _step_response(problem, rates, times)
    if problem.inertia:
        return lambda rates, times: _inert_response(problem.inertia, rates, times)
    return lambda rates, times: np.where(rates > 0.0, np.exp(-np.where(rates > 0.0, rates, 1.0) * times[:, None]), 1.0)


def _inert_response(inertia: float, rates: Real, times: Real) -> Real:
    """q of inertia q'' + q' + rate q = 0 from rest."""
    root = np.sqrt(1.0 - 4.0 * inertia * rates + 0j)
    root = np.where(np.abs(root) < 1e-9, 1e-9, root)
    fast, slow = (-1.0 - root) / (2.0 * inertia), (-1.0 + root) / (2.0 * inertia)
    finite = np.minimum(times, 1e300)[:, None]
    return ((fast * np.exp(slow * finite) - slow * np.exp(fast * finite)) / (fast - slow)).real


def _step_response(problem: RandomFeatureProblem, rates: Real, times: Real) -> Real:
    """q_n of heavy-ball steps, by their recursion; at infinity what is learned at all."""
    rows = np.empty((len(times), len(rates)))
    before = now = np.ones(len(rates))
    done = 0
    for i, time in enumerate(times):
        if math.isinf(time):
            rows[i] = np.where(rates > 0.0, 0.0, 1.0)
            continue
        for _ in range(int(time) - done):
            step = (problem.momentum * (now - before)) - float(problem.lr or 0.0) * rates * now
            before, now = now, now + step
        done = int(time)
        rows[i] = now
    return rows


def _descend_online(problem: RandomFeatureProblem, grid: Real, features: Real, generator: torch.Generator) -> Real:
    """(T,) test losses of one run of one-pass SGD with one draw of features."""
    if problem.lr is None or problem.batch_size is None:
        raise ScopeError("batch_noise in continuous time is not simulated; give lr and batch_size")
    if not np.isfinite(grid).all():
        raise SpecError("times holds infinity; one-pass SGD is run step by step")
    root, signal = expanded_modes(problem)
    seen = (features * root).T / math.sqrt(len(features))
    weights, losses, done = np.zeros(len(features)), [], 0
    batch = round(problem.batch_size)
    for time in grid.astype(int):
        for _ in range(time - done):
            data, noise = draw_data(problem, batch, generator=generator)
            residual = data @ (signal - seen @ weights) + noise
            weights = weights + problem.lr / batch * ((residual @ data) @ seen)
        done = time
        losses.append(((signal - seen @ weights) ** 2).sum())
    return np.array(losses)


def _whole(name: str, value: float) -> int:
    if not math.isfinite(value) or value != round(value):
        raise ScopeError(f"{name} is {value:g}; a simulation needs a whole, finite number")
    return round(value)
