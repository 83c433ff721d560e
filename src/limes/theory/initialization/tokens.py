"""Rank collapse in transformers at initialization: how alike the tokens of a sequence become with depth.

At infinite width a block acts on the covariance of the tokens alone. Attention at the start is uniform where its logits
vanish with width (1 / head_dim scaling, or queries begun at zero): P averages the tokens seen.

Source: Noci et al., arXiv:2206.03126; Dong et al., arXiv:2103.03404. Causality, norms: docs/theory/rank_collapse.md.
Letters: V (T, T) covariance of tokens, P (T, T) rows of uniform attention, C = I - 11'/T, L blocks, k the dual map,
X (T, d) tokens, s_k and s_v deviations of the entries of keys' and values' maps.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from limes.core.errors import ScopeError, SpecError
from limes.theory.activations import Activation, get_activation
from limes.theory.checks import check_covariance, check_number, check_whole
from limes.theory.initialization.residual import dual_matrix


@dataclass(frozen=True, eq=False)
class TokenProblem:
    """A transformer at initialization and the tokens it is given.

    Args:
        covariance: (T, T) mean over features of x_i x_j at the first block, two tokens or more.
        depth: Blocks L.
        activation: Of the MLP, whose two maps keep the mean square: variance 1 / E phi(g)^2 over fan-in in the second.
        attention_scale, mlp_scale: A branch enters times scale * depth^-branch_exponent; 0 leaves it out.
        branch_exponent: 0 is the plain transformer, 1/2 keeps correlations finite at any depth.
        skip: Whether the stream is added; without it one uniform layer collapses.
        causal: Whether token i averages over the first i tokens only.
        normalize: Whether each branch sees tokens of mean square one (pre-LN without the mean).

    Raises:
        SpecError: A value is out of range.

    >>> TokenProblem([[1.0, 0.0], [0.0, 1.0]], 12).num_tokens
    2
    """

    covariance: Any
    depth: int
    activation: str | Activation = "relu"
    attention_scale: float = field(default=1.0, kw_only=True)
    mlp_scale: float = field(default=1.0, kw_only=True)
    branch_exponent: float = field(default=0.0, kw_only=True)
    skip: bool = field(default=True, kw_only=True)
    causal: bool = field(default=False, kw_only=True)
    normalize: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        settle = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731
        settle("covariance", check_covariance("covariance", self.covariance))
        if len(self.covariance) < 2:
            raise SpecError("covariance is of one token; expected two or more, since their likeness is in question")
        settle("depth", check_whole("depth", self.depth))
        settle("activation", get_activation(self.activation))
        for name in ("attention_scale", "mlp_scale"):
            settle(name, check_number(name, getattr(self, name), low=0.0))
        settle("branch_exponent", check_number("branch_exponent", self.branch_exponent))
        if not self.skip and self.attention_scale * self.mlp_scale == 0.0:
            raise SpecError(
                "without skip the branches carry the signal; expected attention_scale and mlp_scale above 0"
            )

    @property
    def num_tokens(self) -> int:
        """T."""
        return len(self.covariance)

    @property
    def phi(self) -> Activation:
        """The activation itself."""
        return get_activation(self.activation)

    @property
    def mixing(self) -> Tensor:
        """(T, T) uniform attention."""
        ones = torch.ones(self.num_tokens, self.num_tokens, dtype=torch.float64)
        mask = ones.tril() if self.causal else ones
        return mask / mask.sum(1, keepdim=True)

    def strength(self, scale: float) -> float:
        """Square of a branch's multiplier."""
        return scale**2 * self.depth ** (-2.0 * self.branch_exponent)

    @property
    def mlp_gain(self) -> float:
        """1 / E phi(g)^2."""
        return 1.0 / float(self.phi.dual.diagonal(torch.ones(1, dtype=torch.float64))[0][0])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TokenResult:
    """Tokens after each block.

    Args:
        covariance: (L + 1, T, T).
        similarity: (L + 1,) mean cosine between two different tokens.
        mean_square: (L + 1,) mean over tokens of |x|^2 / d.
        problem: What was solved.
    """

    covariance: Tensor
    similarity: Tensor
    mean_square: Tensor
    problem: TokenProblem = field(repr=False)

    def collapse_depth(self, threshold: float = 0.99) -> float:
        """The first block after which the mean cosine is at least `threshold`; inf if none is."""
        hits = (self.similarity >= threshold).nonzero()
        return float(hits[0]) if len(hits) else math.inf


# Mean squares below this have lost their correlations to rounding.
SMALLEST = 1e-280


def solve_tokens(problem: TokenProblem) -> TokenResult:
    """The covariance of the tokens after every block, at infinite width.

    Args:
        problem: Tokens, depth, branches and their scaling.

    Returns:
        `TokenResult`.

    Raises:
        ScopeError: The stream leaves the range of double precision.

    **Accuracy**: rounding, at infinite width; finite networks differ by 1 / width (plain MLPs; depth / width at most).
    **Source**: arXiv:2206.03126, section 3 (uniform attention, residual scaling); limes, docs/theory/rank_collapse.md.

    >>> eye = torch.eye(4, dtype=torch.float64)
    >>> plain = solve_tokens(TokenProblem(eye, 64))
    >>> scaled = solve_tokens(TokenProblem(eye, 64, branch_exponent=0.5))
    >>> plain.collapse_depth(0.9), scaled.similarity[-1].item() < 0.6
    (5.0, True)
    """
    v, rows = problem.covariance, [problem.covariance]
    keep = 1.0 if problem.skip else 0.0
    mixing, gain = problem.mixing, problem.mlp_gain
    attention, mlp = problem.strength(problem.attention_scale), problem.strength(problem.mlp_scale)
    for _ in range(problem.depth):
        if attention:
            v = keep * v + attention * mixing @ _seen(v, problem) @ mixing.T
        if mlp:
            v = keep * v + mlp * gain * dual_matrix(problem.phi, _seen(v, problem))
        rows.append(v)
    covariance = torch.stack(rows)
    lengths = covariance.diagonal(dim1=1, dim2=2)
    if not bool(covariance.isfinite().all()) or float(lengths.min()) < SMALLEST:
        raise ScopeError(
            f"the stream leaves the range of double precision within {problem.depth} blocks; raise branch_exponent, so "
            "that branches shrink with depth, or take fewer blocks"
        )
    return TokenResult(
        covariance=covariance,
        similarity=mean_cosine(covariance),
        mean_square=covariance.diagonal(dim1=1, dim2=2).mean(1),
        problem=problem,
    )


def _seen(v: Tensor, problem: TokenProblem) -> Tensor:
    """What a branch sees of the stream."""
    if not problem.normalize:
        return v
    std = v.diagonal().sqrt()
    return v / (std[:, None] * std)


def mean_cosine(covariance: Tensor) -> Tensor:
    """Mean over pairs of different tokens of their correlation: (..., T, T) -> (...).

    **Source**: definition. **Accuracy**: rounding.

    >>> mean_cosine(torch.tensor([[1.0, 1.0], [1.0, 4.0]])).item()
    0.5
    """
    tokens = covariance.shape[-1]
    std = covariance.diagonal(dim1=-2, dim2=-1).clamp_min(1e-300).sqrt()
    total = (covariance / (std[..., :, None] * std[..., None, :])).sum((-1, -2))
    return (total - tokens) / (tokens * (tokens - 1))


def query_gradient(tokens: Tensor, keys: Tensor, values: Tensor) -> float:
    """Squared norm of d S / d W_Q for one head S = softmax(X W_Q (X W_K)' / sqrt(d_k)) X W_V, at W_Q = 0.

    Args:
        tokens: (T, d) X.
        keys: (d, d_k) W_K.
        values: (d, d_v) W_V.

    Returns:
        Sum of squares of all derivatives of all outputs; zero exactly when all tokens are equal.

    **Accuracy**: rounding. **Source**: arXiv:2206.03126, theorem 3.2 and its proof.

    >>> x = torch.ones(3, 2, dtype=torch.float64)
    >>> query_gradient(x, torch.eye(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))
    0.0
    """
    count, centred = len(tokens), tokens - tokens.mean(0)
    inner = (tokens @ keys).T @ centred @ values
    return float(tokens.square().sum() * inner.square().sum()) / (count**2 * keys.shape[1])


def value_gradient(tokens: Tensor, value_dim: int) -> float:
    """Squared norm of d S / d W_V at W_Q = 0: value_dim * T * |mean token|^2, which a collapse leaves alone.

    **Accuracy**: rounding. **Source**: arXiv:2206.03126, theorem 3.2.

    >>> value_gradient(torch.ones(3, 2, dtype=torch.float64), 5)
    30.0
    """
    return value_dim * len(tokens) * float(tokens.mean(0).square().sum())


def expected_query_gradient(tokens: Tensor, *, value_dim: int, key_std: float, value_std: float) -> float:
    """Mean of `query_gradient` over Gaussian W_K and W_V with entries of these deviations.

    **Accuracy**: rounding. **Source**: arXiv:2206.03126, theorem 3.2.

    >>> x = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    >>> expected_query_gradient(x, value_dim=1, key_std=1.0, value_std=1.0)
    2.0
    """
    centred = tokens - tokens.mean(0)
    spread = float((centred.T @ centred).square().sum())
    return value_dim * key_std**2 * value_std**2 * float(tokens.square().sum()) * spread / len(tokens) ** 2
