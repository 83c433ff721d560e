"""Direct simulation of linear classifiers of Gaussian mixtures: samples are drawn and the penalised loss is minimised.

Source: the model of arXiv:2106.03791. Letters: d dimension, n samples, K classes, W (K, d) weights, b (K,) bias.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax

from limes.core.errors import ConvergenceError, SpecError
from limes.theory.checks import check_count, check_memory
from limes.theory.solvable.checks import Real
from limes.theory.solvable.gaussian_mixture import GaussianMixtureProblem
from limes.theory.solvable.mixture_fields import wrong_class


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GaussianMixtureSimulation:
    """Trained classifiers.

    Args:
        test_error: (num_draws,) exact for the trained weights.
        train_loss: (num_draws,) mean loss of a training sample, without the penalty.
    """

    test_error: Real
    train_loss: Real


def simulate_gaussian_mixture(
    problem: GaussianMixtureProblem, *, dim: int, num_draws: int, generator: torch.Generator
) -> GaussianMixtureSimulation:
    """Train classifiers in a finite dimension.

    Args:
        problem: `GaussianMixtureProblem`; the number of samples is its ratio times `dim`, rounded.
        dim: At least the number of classes.
        num_draws: Independent training sets.
        generator: Of classes and inputs.

    Returns:
        `GaussianMixtureSimulation`.

    Raises:
        SpecError: `dim` does not hold the means, or a draw needs more than 4 GiB.
        ConvergenceError: The minimum was not found.

    **Source**: arXiv:2106.03791. **Accuracy**: gradient of the minimum below 1e-6 per sample; the limit is off by
    O(1/dim).

    >>> problem = GaussianMixtureProblem(
    ...     class_weights=[0.5, 0.5], means_gram=np.eye(2), sample_ratio=2.0, within_var=0.5, ridge=0.1
    ... )
    >>> run = simulate_gaussian_mixture(problem, dim=10, num_draws=3, generator=torch.Generator().manual_seed(0))
    >>> run.test_error.shape
    (3,)
    """
    classes = len(problem.class_weights)
    check_count("num_draws", num_draws)
    if check_count("dim", dim) < classes:
        raise SpecError(f"dim is {dim}; {classes} class means need a dimension of at least {classes}")
    check_memory(f"a simulation with dim {dim}", numbers=(3.0 * problem.sample_ratio + 1.0) * float(dim) ** 2)
    values, vectors = np.linalg.eigh(problem.means_gram)
    means = np.zeros((classes, dim))
    means[:, :classes] = vectors * np.sqrt(np.maximum(values, 0.0))
    pairs = np.array([_draw(problem, means, generator) for _ in range(num_draws)])
    return GaussianMixtureSimulation(test_error=pairs[:, 0], train_loss=pairs[:, 1])


def _draw(problem: GaussianMixtureProblem, means: Real, generator: torch.Generator) -> tuple[float, float]:
    classes, dim = means.shape
    count = max(1, round(problem.sample_ratio * dim))
    weights = torch.tensor(problem.class_weights)
    labels = torch.multinomial(weights, count, replacement=True, generator=generator).numpy()
    noise = torch.randn(count, dim, generator=generator, dtype=torch.float64).numpy()
    x = (means[labels] + np.sqrt(problem.within_var) * noise) / np.sqrt(dim)
    hot = np.eye(classes)[labels]
    fit = _logistic if problem.loss == "logistic" else _square
    w, b, loss = fit(x, hot, problem.ridge)
    center = w @ means.T / np.sqrt(dim) + b[:, None]
    return wrong_class(center, problem.within_var * w @ w.T / dim, problem.class_weights), loss


def _square(x: Real, hot: Real, ridge: float) -> tuple[Real, Real, float]:
    xc, yc = x - x.mean(0), hot - hot.mean(0)
    w = np.linalg.solve(xc.T @ xc + ridge * np.eye(x.shape[1]), xc.T @ yc).T
    b = hot.mean(0) - w @ x.mean(0)
    return w, b, float(0.5 * ((hot - x @ w.T - b) ** 2).sum(1).mean())


def _logistic(x: Real, hot: Real, ridge: float) -> tuple[Real, Real, float]:
    count, classes, dim = len(x), hot.shape[1], x.shape[1]
    inputs = np.column_stack([x, np.ones(count)])
    penalised = np.append(np.full(dim, ridge), 0.0)

    def objective(flat: Real) -> tuple[float, Real]:
        theta = flat.reshape(classes, dim + 1)
        log_p = log_softmax(inputs @ theta.T, axis=1)
        value = -float((hot * log_p).sum()) + 0.5 * float((penalised * theta**2).sum())
        return value, ((np.exp(log_p) - hot).T @ inputs + penalised * theta).ravel()

    found = minimize(
        objective,
        np.zeros(classes * (dim + 1)),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 5000, "maxfun": 10000, "gtol": 1e-6, "ftol": 0.0},
    )
    if np.abs(found.jac).max() > 1e-6 * count:
        raise ConvergenceError(f"training of a classifier on {count} samples: {found.message}")
    theta = found.x.reshape(classes, dim + 1)
    loss = -float((hot * log_softmax(inputs @ theta.T, axis=1)).sum()) / count
    return theta[:, :dim], theta[:, dim], loss
