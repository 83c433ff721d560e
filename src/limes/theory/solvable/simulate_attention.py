"""Direct simulation of linear attention: sequences are drawn, the layer is solved for, its errors are exact.

Source: the model of arXiv:2405.11751, section 2; the population error: docs/theory/linear_attention.md.
Letters: d inputs, l examples, k tasks, n sequences; H features, Gamma (d, d + 1) the layer; mu, R the tasks' moments.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import solve

from limes.core.errors import ScopeError, SpecError
from limes.theory.checks import check_count, check_memory
from limes.theory.solvable.checks import Real
from limes.theory.solvable.linear_attention import LinearAttentionProblem


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LinearAttentionSimulation:
    """Errors of trained layers.

    Args:
        icl_error: (num_draws,) on tasks never seen.
        idg_error: (num_draws,) on the tasks of pretraining.
    """

    icl_error: Real
    idg_error: Real


def simulate_linear_attention(
    problem: LinearAttentionProblem, *, dim: int, num_draws: int, generator: torch.Generator
) -> LinearAttentionSimulation:
    """Pretrain layers of a finite input dimension, with tasks, context and sequences in proportion.

    Args:
        problem: Finite `task_ratio`.
        dim: Input dimension; the ratios times it must be whole (the sequences are rounded).
        num_draws: Independent pretraining sets.
        generator: Of tasks, inputs and noise.

    Returns:
        `LinearAttentionSimulation`; expectations over queries and contexts are exact, not sampled.

    Raises:
        ScopeError: Infinitely many tasks.
        SpecError: A ratio times `dim` is not whole, or a draw needs more than 4 GiB.

    **Source**: arXiv:2405.11751, section 2. **Accuracy**: exact for the draw; the limit is off by O(1/dim), 10 % at 40.

    >>> problem = LinearAttentionProblem(context_ratio=2.0, task_ratio=1.0, sequence_ratio=0.5, ridge=0.1)
    >>> run = simulate_linear_attention(problem, dim=4, num_draws=2, generator=torch.Generator().manual_seed(0))
    >>> run.icl_error.shape
    (2,)
    """
    d = check_count("dim", dim, least=2)
    check_count("num_draws", num_draws)
    if np.isinf(problem.task_ratio):
        raise ScopeError("task_ratio is inf; a simulation needs a finite number of tasks")
    l, k = (_whole(name, getattr(problem, name), d) for name in ("context_ratio", "task_ratio"))
    n = max(1, round(problem.sequence_ratio * d * d))
    check_memory(f"a simulation with dim {d}", numbers=2.0 * n * (l + 1) * d + 2.0 * n * d * (d + 1) + float(d) ** 4)
    pairs = np.array([_draw(problem, d, l, k, n, generator) for _ in range(num_draws)])
    return LinearAttentionSimulation(icl_error=pairs[:, 0], idg_error=pairs[:, 1])


def _whole(name: str, ratio: float, dim: int) -> int:
    count = round(ratio * dim)
    if count < 1 or abs(count - ratio * dim) > 1e-9 * dim:
        raise SpecError(f"{name} {ratio:g} times dim {dim} is {ratio * dim:g}; choose a dim that makes it whole")
    return count


def _draw(
    problem: LinearAttentionProblem, d: int, l: int, k: int, n: int, generator: torch.Generator
) -> tuple[float, float]:
    def normal(*shape: int) -> Real:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).numpy()

    tasks = normal(k, d)
    tasks *= np.sqrt(d) / np.linalg.norm(tasks, axis=1, keepdims=True)
    chosen = tasks[torch.randint(k, (n,), generator=generator).numpy()]
    inputs = normal(n, l + 1, d) / np.sqrt(d)
    labels = np.einsum("nld,nd->nl", inputs, chosen) + np.sqrt(problem.noise_var) * normal(n, l + 1)
    context = np.einsum("nl,nld->nd", labels[:, :l], inputs[:, :l]) * (d / l)
    statistics = np.append(context, (labels[:, :l] ** 2).mean(1, keepdims=True), axis=1)
    features = (inputs[:, l, :, None] * statistics[:, None, :]).reshape(n, -1)
    layer = _ridge(features, labels[:, l], problem.ridge * n / d).reshape(d, d + 1)
    fresh = _population_error(layer, np.zeros(d), np.eye(d), l, problem.noise_var)
    return fresh, _population_error(layer, tasks.mean(0), tasks.T @ tasks / k, l, problem.noise_var)


def _ridge(features: Real, labels: Real, penalty: float) -> Real:
    """Minimum of sum of squares plus penalty, by the smaller Gram matrix; minimum norm at penalty 0."""
    if penalty == 0.0:
        return np.asarray(np.linalg.lstsq(features, labels, rcond=None)[0], dtype=np.float64)
    n, size = features.shape
    if n <= size:
        return features.T @ solve(features @ features.T + penalty * np.eye(n), labels, assume_a="pos")
    return solve(features.T @ features + penalty * np.eye(size), features.T @ labels, assume_a="pos")


def _population_error(layer: Real, mu: Real, second: Real, l: int, rho: float) -> float:
    # Differs from a published implementation, whose last corner has 1 + rho^2: E[y^2]^2 is (1 + rho)^2.
    d = len(mu)
    cross = np.append(second, (1.0 + rho) * mu[None, :], axis=0)
    both = np.zeros((d + 1, d + 1))
    both[:d, :d] = (1.0 + rho) * (d / l) * np.eye(d) + (1.0 + 1.0 / l) * second
    both[:d, d] = both[d, :d] = (1.0 + rho) * (1.0 + 2.0 / l) * mu
    both[d, d] = (1.0 + rho) ** 2 * (1.0 + 2.0 / l)
    return float(1.0 + rho + (np.trace(layer @ both @ layer.T) - 2.0 * np.trace(layer @ cross)) / d)
