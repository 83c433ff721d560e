"""Refit many resamples of a table at once.

| kind | what is resampled | for |
|-|-|-|
| rows | rows, with replacement | independent runs |
| runs | all rows of a run together | several checkpoints per run, which are not independent |
| residual | residuals, by a random sign per row (per run where `runs` is given) | few runs, fixed design |
| parametric | Gaussian noise of the residuals' size around the fitted law | a law believed to be true |
| noise | Gaussian noise of known size on the observations | known seed and evaluation noise |

Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993; wild cluster signs:
Cameron, Gelbach and Miller 2008.
Letters: B resamples, n rows, G runs.
"""

import numpy as np

from limes.core.errors import SpecError
from limes.laws.form import Array, Index
from limes.laws.problem import Problem
from limes.laws.solve import RESAMPLE_ITERATIONS, resolve

KINDS = ("rows", "runs", "residual", "parametric", "noise")


def bootstrap_thetas(
    problem: Problem,
    minima: Array,
    *,
    num: int,
    generator: np.random.Generator,
    kind: str = "rows",
    runs: Index | None = None,
    noise_std: float | None = None,
    max_iterations: int = RESAMPLE_ITERATIONS,
) -> Array:
    """Fitted parameters of `num` resamples, each at its optimum.

    Args:
        problem: Law, table and objective.
        minima: (m, p) starts; the optimum on the full table first.
        num: Number of resamples.
        generator: Source of the resampling.
        kind: See the table at the top of the file.
        runs: (n,) run number of each row; needed for "runs".
        noise_std: Standard deviation of one observation in residual units, for "noise".
        max_iterations: Steps of each refit; fewer are enough where only the middle of the resamples is used, which
            a few refits in a flat valley do not move.

    Returns:
        (num, p) normalized theta.

    Raises:
        SpecError: unknown kind, or one whose argument is missing.
    """
    if kind not in KINDS:
        raise SpecError(f"bootstrap kind {kind!r} is unknown; give one of {', '.join(KINDS)}")
    if kind == "runs" and runs is None:
        raise SpecError("bootstrap kind 'runs' needs to know which rows belong together; fit with runs=<column name>")
    if kind == "noise" and noise_std is None:
        raise SpecError("bootstrap kind 'noise' needs noise_std, the standard deviation of one observation")
    if kind in ("rows", "runs"):
        groups = np.arange(problem.num_rows) if runs is None or kind == "rows" else runs
        counts = _counts(int(groups.max()) + 1, num, generator)
        return resolve(problem, minima, weights=counts[:, groups] * problem.weights, max_iterations=max_iterations)[0]
    residual = problem.residuals(minima[0])
    if kind == "residual":
        groups = np.arange(problem.num_rows) if runs is None else runs
        signs = generator.choice([-1.0, 1.0], size=(num, int(groups.max()) + 1))[:, groups]
        free = max(problem.num_rows - len(problem.law.parameters), 1)
        noise = signs * residual * np.sqrt(problem.num_rows / free)
    else:
        size = residual_std(problem, minima[0]) if noise_std is None or kind == "parametric" else noise_std
        noise = generator.standard_normal((num, problem.num_rows)) * size
    start = problem.target if kind == "noise" else None
    return resolve(problem, minima, target=_shifted(problem, minima[0], noise, start), max_iterations=max_iterations)[0]


def residual_std(problem: Problem, theta: Array) -> float:
    """Weighted standard deviation of the residuals, with the degrees of freedom of the fit taken off."""
    residual, weights = problem.residuals(theta), problem.weights
    used = int((weights > 0).sum())
    free = max(used - len(problem.law.parameters), 1)
    return float(np.sqrt((weights * residual**2).sum() / weights.sum() * used / free))


def _counts(num_groups: int, num: int, generator: np.random.Generator) -> Array:
    picks = generator.integers(num_groups, size=(num, num_groups))
    flat = (picks + num_groups * np.arange(num)[:, None]).ravel()
    return np.bincount(flat, minlength=num * num_groups).reshape(num, num_groups).astype(float)


def _shifted(problem: Problem, theta: Array, noise: Array, start: Array | None) -> Array:
    if start is None:
        start = problem.predict(theta[None], problem.columns)[0] / problem.scales[problem.law.target]
    return start * np.exp(noise) if problem.log_residuals else start + noise
