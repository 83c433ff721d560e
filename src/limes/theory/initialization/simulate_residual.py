"""Residual networks of finite width and depth, sampled exactly without their weights.

Source: the conditional law of a branch: given h the rows of W phi(h) are independent normals.
Letters: h (N, m, n) stream, C with C C^T = phi(h) phi(h)^T / n.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from limes.core.errors import ScopeError
from limes.theory.checks import check_whole
from limes.theory.initialization.covariance_sde import semidefinite_factor
from limes.theory.initialization.residual import ResidualProblem


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ResidualSimulation:
    """First and last covariances of independent networks.

    Args:
        initial: (N, m, m) mean over neurons of h h' before the first block: rows of h are drawn with covariance H_0.
        covariance: (N, m, m) after the last.
        problem: What was simulated.
    """

    initial: Tensor
    covariance: Tensor
    problem: ResidualProblem = field(repr=False)

    @property
    def log_growth(self) -> Tensor:
        """(N, m) ln |h|^2 / |h_0|^2."""
        return (self.covariance.diagonal(dim1=1, dim2=2) / self.initial.diagonal(dim1=1, dim2=2)).log()


def simulate_residual(problem: ResidualProblem, *, num_draws: int, generator: torch.Generator) -> ResidualSimulation:
    """Independent networks of finite width and depth.

    Args:
        problem: With finite sizes.
        num_draws: Independent networks.
        generator: Of first layer and branches.

    Returns:
        `ResidualSimulation`.

    Raises:
        ScopeError: Width or depth is infinite.

    **Accuracy**: exact in distribution; costs m n for each block and network. **Source**: definition of the network.

    >>> problem = ResidualProblem([[1.0]], "relu", depth=4, width=8)
    >>> simulate_residual(problem, num_draws=3, generator=torch.Generator().manual_seed(0)).covariance.shape
    torch.Size([3, 1, 1])
    """
    num_draws = check_whole("num_draws", num_draws)
    if problem.width == math.inf or problem.depth == math.inf:
        raise ScopeError(f"width {problem.width:g}, depth {problem.depth:g}: a simulation needs finite sizes")
    n, m = int(problem.width), len(problem.covariance)
    scale = math.sqrt(problem.block_strength)

    def normals() -> Tensor:
        return torch.randn(num_draws, m, n, generator=generator, dtype=torch.float64)

    h = semidefinite_factor(problem.covariance) @ normals()
    initial = h @ h.mT / n
    for _ in range(int(problem.depth)):
        features = problem.phi.value(h)
        h = h + scale * semidefinite_factor(features @ features.mT / n) @ normals()
    return ResidualSimulation(initial=initial, covariance=h @ h.mT / n, problem=problem)
