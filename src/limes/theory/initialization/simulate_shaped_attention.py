"""Finite stacks of shaped attention, sampled exactly without their weights.

Source: definition of the block, arXiv:2306.17759, section 4; given the tokens, columns of X W are independent normals.
Letters: X (N, m, n) tokens, queries and keys (N, m, n_k).
"""

import math

import torch
from torch import Tensor

from limes.theory.checks import check_whole
from limes.theory.initialization.covariance_sde import semidefinite_factor
from limes.theory.initialization.shaped_attention import ShapedAttentionProblem, ShapedAttentionResult


def simulate_shaped_attention(
    problem: ShapedAttentionProblem, *, width: int, num_draws: int, generator: torch.Generator, key_dim: int = 0
) -> ShapedAttentionResult:
    """Covariances of the tokens after round(depth_ratio * width) blocks of independent networks.

    Args:
        problem: Tokens, blocks over width, temperature, weight of the branches.
        width: n.
        num_draws: Independent networks.
        generator: Of first tokens and all weights.
        key_dim: n_k; 0 takes the width.

    Returns:
        `ShapedAttentionResult`; a network is never stopped.

    **Accuracy**: exact in distribution. **Source**: arXiv:2306.17759, section 4.

    >>> problem = ShapedAttentionProblem([[1.0, 0.2], [0.2, 1.0]], 0.5)
    >>> run = simulate_shaped_attention(problem, width=8, num_draws=3, generator=torch.Generator().manual_seed(0))
    >>> run.covariance.shape
    torch.Size([3, 2, 2])
    """
    width, num_draws = check_whole("width", width, least=problem.num_tokens), check_whole("num_draws", num_draws)
    n_k = check_whole("key_dim", key_dim, least=0) or width
    depth = check_whole("depth_ratio * width", max(round(problem.depth_ratio * width), 0))
    m, g2 = problem.num_tokens, problem.branch_weight
    keep, gam = math.sqrt(1.0 - g2), math.sqrt(g2)

    def normals(columns: int) -> Tensor:
        return torch.randn(num_draws, m, columns, generator=generator, dtype=torch.float64)

    def covariance(x: Tensor) -> Tensor:
        return x @ x.mT / width

    # First tokens with exactly the covariance given: rows of an orthonormal frame.
    frame = torch.linalg.qr(normals(width).mT)[0].mT * math.sqrt(width)
    x = semidefinite_factor(problem.covariance) @ frame
    for _ in range(depth):
        v = covariance(x)
        factor = semidefinite_factor(v)
        logits = factor @ normals(n_k) @ normals(n_k).mT @ factor.mT / math.sqrt(width * n_k)
        attention = torch.eye(m, dtype=torch.float64) + torch.softmax(logits / problem.temperature, 2) - 1.0 / m
        x = keep * x + gam * semidefinite_factor(attention @ v @ attention.mT) @ normals(width)
        if problem.mlp is not None:
            inner = semidefinite_factor(covariance(x)) @ normals(width)
            hidden = math.sqrt(problem.mlp.normalizer(width)) * problem.mlp.value(inner, width)
            x = keep * x + gam * semidefinite_factor(covariance(hidden)) @ normals(width)
    never = torch.zeros(num_draws, dtype=torch.bool)
    return ShapedAttentionResult(covariance=covariance(x), stopped=never, problem=problem)
