"""Transformers of finite width with uniform attention, sampled exactly without their weights.

Source: the conditional law of a branch: given the tokens, columns of X W are independent normals.
Letters: X (N, T, d) tokens, P uniform attention.
"""

import math

import torch
from torch import Tensor

from limes.theory.checks import check_whole
from limes.theory.initialization.covariance_sde import semidefinite_factor
from limes.theory.initialization.tokens import TokenProblem


def simulate_tokens(problem: TokenProblem, *, width: int, num_draws: int, generator: torch.Generator) -> Tensor:
    """Covariances of the tokens after the last block of independent networks.

    Args:
        problem: Tokens, depth, branches and their scaling.
        width: d, also the width inside the MLP.
        num_draws: Independent networks.
        generator: Of the first tokens and all weights.

    Returns:
        (num_draws, T, T) float64.

    **Accuracy**: exact in distribution. **Source**: definition of the network, arXiv:2206.03126, section 2.

    >>> problem = TokenProblem(torch.eye(3, dtype=torch.float64), 2)
    >>> simulate_tokens(problem, width=8, num_draws=5, generator=torch.Generator().manual_seed(0)).shape
    torch.Size([5, 3, 3])
    """
    width, num_draws = check_whole("width", width), check_whole("num_draws", num_draws)

    def project(x: Tensor, weight_var: float) -> Tensor:
        """X W with W (d, d) of entries with variance weight_var / d."""
        factor = semidefinite_factor(weight_var / width * x @ x.mT)
        return factor @ torch.randn(x.shape, generator=generator, dtype=torch.float64)

    def seen(x: Tensor) -> Tensor:
        return x / x.square().mean(2, keepdim=True).sqrt() if problem.normalize else x

    shape = (num_draws, problem.num_tokens, width)
    x = semidefinite_factor(problem.covariance) @ torch.randn(shape, generator=generator, dtype=torch.float64)
    keep = 1.0 if problem.skip else 0.0
    attention, mlp = (math.sqrt(problem.strength(s)) for s in (problem.attention_scale, problem.mlp_scale))
    for _ in range(problem.depth):
        if attention:
            x = keep * x + attention * project(problem.mixing @ seen(x), 1.0)
        if mlp:
            x = keep * x + mlp * project(problem.phi.value(project(seen(x), 1.0)), problem.mlp_gain)
    return x @ x.mT / width
