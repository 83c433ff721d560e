"""Direct simulation of deep linear networks from a balanced start: all weights by gradient flow on drawn samples.

Source: the model of arXiv:1312.6120. Letters: d inputs, n = d^3 samples, r modes, W_l weights, C sample covariance.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.integrate import solve_ivp

from limes.core.errors import ConvergenceError, SpecError
from limes.theory.checks import check_count, check_memory
from limes.theory.solvable.balanced_linear import BalancedLinearProblem
from limes.theory.solvable.checks import Real


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BalancedLinearSimulation:
    """Trained networks.

    Args:
        test_loss: (num_draws, T) on the population.
        products: (num_draws, T, r) end-to-end strength along each of the target's singular directions.
    """

    test_loss: Real
    products: Real


def simulate_balanced_linear(
    problem: BalancedLinearProblem, *, dim: int, num_draws: int, generator: torch.Generator
) -> BalancedLinearSimulation:
    """Train networks on d^3 Gaussian samples, which are white up to O(d/n) in the mean.

    Args:
        problem: Modes no more than `dim`.
        dim: Inputs d; hidden layers and outputs are as wide as there are modes.
        num_draws: Independent samples, singular directions and rotations between layers.
        generator: Of all of them.

    Returns:
        `BalancedLinearSimulation`.

    Raises:
        SpecError: Fewer inputs than modes, or a draw needs more than 4 GiB.

    **Source**: arXiv:1312.6120, section 1. **Accuracy**: 1e-7 for the draw; the limit is off by O(1/dim^2).

    >>> problem = BalancedLinearProblem(strengths=[1.0, 2.0], start=0.1, depth=3, times=[0.0, 1.0])
    >>> run = simulate_balanced_linear(problem, dim=4, num_draws=2, generator=torch.Generator().manual_seed(0))
    >>> run.products[0, 0].round(12).tolist()
    [0.1, 0.1]
    """
    check_count("num_draws", num_draws)
    modes = len(problem.strengths)
    if check_count("dim", dim) < modes:
        raise SpecError(f"dim is {dim}; {modes} modes need at least as many inputs")
    check_memory(f"a simulation with dim {dim}", numbers=float(dim) ** 4)
    runs = [_train(problem, dim, generator) for _ in range(num_draws)]
    return BalancedLinearSimulation(
        test_loss=np.array([loss for loss, _ in runs]), products=np.array([products for _, products in runs])
    )


def _train(problem: BalancedLinearProblem, dim: int, generator: torch.Generator) -> tuple[Real, Real]:
    r, depth, times = len(problem.strengths), problem.depth, problem.times

    def frame(size: int) -> Real:
        return np.linalg.qr(torch.randn(size, r, generator=generator, dtype=torch.float64).numpy())[0]

    right, turns = frame(dim), [frame(r) for _ in range(depth)]
    target = turns[-1] @ np.diag(problem.strengths) @ right.T
    samples = torch.randn(dim**3, dim, generator=generator, dtype=torch.float64).numpy()
    covariance = samples.T @ samples / len(samples)
    size = problem.start ** (1.0 / depth)
    below = [right.T, *(turn.T for turn in turns[:-1])]
    first = [size * turn @ under for turn, under in zip(turns, below, strict=True)]
    shapes = [w.shape for w in first]
    cuts = np.cumsum([w.size for w in first])[:-1]

    def weights(state: Real) -> list[Real]:
        return [part.reshape(shape) for part, shape in zip(np.split(state, cuts), shapes, strict=True)]

    def slope(_: float, state: Real) -> Real:
        layers = weights(state)
        ahead: list[Real] = [np.eye(r)]
        for w in layers[:0:-1]:
            ahead.append(ahead[-1] @ w)
        pull = (target - ahead[-1] @ layers[0]) @ covariance
        behind: Real = np.eye(dim)
        slopes = []
        for w, after in zip(layers, reversed(ahead), strict=True):
            slopes.append((after.T @ pull @ behind.T).ravel())
            behind = w @ behind
        return np.concatenate(slopes)

    start = np.concatenate([w.ravel() for w in first])
    states = np.repeat(start[:, None], len(times), axis=1)
    if times[-1] > 0.0:
        found = solve_ivp(slope, (0.0, float(times[-1])), start, t_eval=times, method="DOP853", rtol=1e-8, atol=1e-10)
        if found.status != 0:
            raise ConvergenceError(f"training of {depth} layers up to time {times[-1]:g}: {found.message}")
        states = found.y
    losses, products = [], []
    for state in states.T:
        whole: Real = np.eye(dim)
        for w in weights(state):
            whole = w @ whole
        losses.append(0.5 * float(((target - whole) ** 2).sum()))
        products.append(np.diag(turns[-1].T @ whole @ right))
    return np.array(losses), np.array(products)
