"""Shaped attention: the covariance of tokens as a random process, when depth and width grow together.

X' = lam X + gam A X W_V / sqrt(n) with A = I + softmax(Y / tau) - 11'/m, logits Y of random queries and keys and a
temperature tau = tau0 sqrt(n n_k), lam^2 + gam^2 = 1; an optional shaped MLP branch X' = lam X + gam MLP(X) follows.

Source: Noci et al., arXiv:2306.17759, theorem 4.2 and its appendix; positive steps as in the covariance SDE.
Letters: V (m, m), C = I - 11'/m, g2 = gam^2, S2 second moments of the logits' square, xbar average over tokens.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limes.core.errors import ScopeError, SpecError
from limes.theory.checks import check_covariance, check_number, check_whole
from limes.theory.initialization.covariance_sde import semidefinite_factor, wishart_step
from limes.theory.initialization.shapes import ShapedReLU


@dataclass(frozen=True, eq=False)
class ShapedAttentionProblem:
    """A stack of shaped attention blocks.

    Args:
        covariance: (m, m) of the tokens at the first block.
        depth_ratio: Blocks over width.
        temperature: tau0.
        branch_weight: gam^2, between 0 and 1: the share of the branch in the stream.
        mlp: Shape of the relu of an MLP branch with the same gam after each attention, or None for attention alone.

    >>> ShapedAttentionProblem([[1.0, 0.2], [0.2, 1.0]], 0.5).branch_weight
    0.5
    """

    covariance: Any
    depth_ratio: float
    temperature: float = field(default=1.0, kw_only=True)
    branch_weight: float = field(default=0.5, kw_only=True)
    mlp: ShapedReLU | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        settle = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731
        settle("covariance", check_covariance("covariance", self.covariance))
        for name in ("depth_ratio", "temperature", "branch_weight"):
            settle(name, check_number(name, getattr(self, name), low=0.0, open_low=True))
        if self.branch_weight > 1.0:
            raise SpecError(f"branch_weight is {self.branch_weight:g}; expected gam^2, at most 1")
        if not (self.mlp is None or isinstance(self.mlp, ShapedReLU)):
            raise ScopeError(f"mlp is a {type(self.mlp).__name__}; the block is covered with ShapedReLU only")

    @property
    def num_tokens(self) -> int:
        """m."""
        return len(self.covariance)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ShapedAttentionResult:
    """Covariances of the tokens after the last block.

    Args:
        covariance: (N, m, m); where stopped, the last one before the cap.
        stopped: (N,) whether the trace passed the cap.
        problem: What was solved.
    """

    covariance: Tensor
    stopped: Tensor
    problem: ShapedAttentionProblem = field(repr=False)

    @property
    def stopped_share(self) -> float:
        """Share of the paths that passed the cap."""
        return float(self.stopped.double().mean())

    def correlation(self, first: int = 0, second: int = 1) -> Tensor:
        """Correlations of two tokens, of the paths not stopped."""
        v = self.covariance[~self.stopped]
        return v[:, first, second] / (v[:, first, first] * v[:, second, second]).sqrt()

    def log_variance(self, index: int = 0) -> Tensor:
        """ln V^aa of the paths not stopped."""
        return self.covariance[~self.stopped][:, index, index].log()


def attention_drift(v: Tensor, *, temperature: float, branch_weight: float) -> Tensor:
    """b(V) of shaped attention, (..., m, m).

    **Accuracy**: rounding. **Source**: arXiv:2306.17759, theorem 4.2.

    >>> v = torch.eye(2, dtype=torch.float64)
    >>> attention_drift(v, temperature=1.0, branch_weight=0.5).diagonal().tolist()
    [0.125, 0.125]
    """
    turned = _second_moment_map(v) @ v
    return branch_weight / temperature**2 * (_first_strength(v) * v + turned + turned.mT)


def _first_strength(v: Tensor) -> Tensor:
    """(..., 1, 1) m^-2 <V, C V C>: the term with S1 is V times this."""
    centred = _centre(_centre(v).mT)
    return ((v * centred).sum((-1, -2)) / v.shape[-1] ** 2)[..., None, None]


def _second_moment_map(v: Tensor) -> Tensor:
    """K with the two terms of S2 equal to K V + V K'."""
    d, mean = v.diagonal(dim1=-2, dim2=-1), v.mean(-1)
    spread = d - 2.0 * mean + 2.0 * mean.mean(-1, keepdim=True) - d.mean(-1, keepdim=True)
    return d[..., :, None] * spread[..., None, :] / (2.0 * v.shape[-1])


def attention_step(
    v: Tensor, step: float, draw: np.random.Generator, *, temperature: float, branch_weight: float
) -> Tensor:
    """One step of the process, (N, m, m): a random congruence, then a Wishart matrix; both stay in the cone.

    The logits' noise is V -> (1 + G) V (1 + G)'; the square of G is the part gam^2 of the drift with S1.
    """
    count, m = v.shape[0], v.shape[-1]
    g2 = branch_weight
    scale = g2 / temperature**2
    factor = semidefinite_factor(v)
    normal = torch.from_numpy(draw.standard_normal((count, m, m)))
    noise = factor @ normal @ _centre(factor).mT / m
    turn = torch.eye(m, dtype=torch.float64) + step**0.5 * g2 / temperature * noise
    turn = turn + step * scale * _second_moment_map(v)
    moved = turn @ v @ turn.mT + step * scale * (1.0 - g2) * _first_strength(v) * v
    return wishart_step(moved, step * g2 * (2.0 - g2), draw)


def _centre(x: Tensor) -> Tensor:
    """C x."""
    return x - x.mean(-2, keepdim=True)


def solve_shaped_attention(
    problem: ShapedAttentionProblem, *, num_paths: int = 4096, num_steps: int = 300, cap: float = 1e3, seed: int = 0
) -> ShapedAttentionResult:
    """Independent paths of the limit of shaped attention blocks, up to depth_ratio or to the cap.

    The drift is cubic in V, so that paths explode in finite time: they are stopped at the cap and counted.

    Args:
        problem: Tokens, blocks over width, temperature, weight of the branches.
        num_paths: Independent paths.
        num_steps: Of length depth_ratio / num_steps.
        cap: A path stops where its trace exceeds cap times the first one.
        seed: Of the paths.

    Returns:
        `ShapedAttentionResult`.

    Raises:
        SpecError: Too few steps, or another argument out of range.

    **Accuracy**: weak order 1 in the step; compare correlations, logarithms and quantiles, not means of V.
    **Source**: arXiv:2306.17759, theorem 4.2; the MLP's part: docs/theory/shaped_attention.md.

    >>> result = solve_shaped_attention(ShapedAttentionProblem([[1.0, 0.2], [0.2, 1.0]], 0.2), num_paths=8, num_steps=9)
    >>> result.covariance.shape
    torch.Size([8, 2, 2])
    """
    num_paths, num_steps = check_whole("num_paths", num_paths), check_whole("num_steps", num_steps)
    cap = check_number("cap", cap, low=1.0, open_low=True)
    step, m, g2 = problem.depth_ratio / num_steps, problem.num_tokens, problem.branch_weight
    if 2.0 * g2 * step * m >= 1.0:
        raise SpecError(f"num_steps {num_steps}: expected more than {int(2.0 * g2 * problem.depth_ratio * m)}")
    draw = np.random.Generator(np.random.Philox(check_whole("seed", seed, least=0)))
    v = problem.covariance.expand(num_paths, m, m).clone()
    limit = cap * float(problem.covariance.trace())
    stopped = torch.zeros(num_paths, dtype=torch.bool)
    for _ in range(num_steps):
        new = attention_step(v, step, draw, temperature=problem.temperature, branch_weight=g2)
        if problem.mlp is not None:
            new = wishart_step(new + step * g2 * problem.mlp.drift(new), 2.0 * g2 * step, draw)
        stopped |= ~(new.diagonal(dim1=1, dim2=2).sum(1) <= limit)
        v = torch.where(stopped[:, None, None], v, new)
    return ShapedAttentionResult(covariance=v, stopped=stopped, problem=problem)
