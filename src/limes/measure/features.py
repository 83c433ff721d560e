"""How rich the features of a layer are: effective rank, likeness of tokens, dead units, statistics of preactivations.

Source: Roy & Vetterli 2007 (effective rank); arXiv:2103.03404 (rank collapse); limes, docs/diagnostics.md.
Letters: X (n, d) rows are tokens or samples, sigma its singular values.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from limes.core.errors import SpecError

RankKind = Literal["entropy", "participation"]
# A unit whose largest value is below this share of the layer's root mean square counts as dead.
DEAD = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Preactivations:
    """Statistics of all entries of a preactivation, and a histogram in units of their deviation.

    Attributes:
        mean: Of all entries.
        std: Their deviation around it (population).
        kurtosis: Fourth central moment over the squared second; 3 for a normal distribution.
        largest: Largest absolute value.
        edges: (num_bins + 1,) from -limit to +limit, in deviations around the mean.
        counts: (num_bins + 2,) entries below the first edge, in each bin, and above the last.
    """

    mean: float
    std: float
    kurtosis: float
    largest: float
    edges: Tensor
    counts: Tensor


def token_rows(features: Tensor) -> Tensor:
    """(..., d) as (n, d), in float32 at least.

    Source: limes.

    >>> token_rows(torch.zeros(2, 3, 4)).shape
    torch.Size([6, 4])
    """
    if features.dim() < 2 or not features.is_floating_point():
        raise SpecError(f"features of shape {tuple(features.shape)}, {features.dtype}: expected (..., width), real")
    rows = features.detach().flatten(0, -2)
    return rows if rows.dtype == torch.float64 else rows.float()


def effective_rank(features: Tensor, *, kind: RankKind = "entropy", centered: bool = False) -> Tensor:
    """How many directions the rows of a feature matrix use, a number from 1 to min(n, d).

    Args:
        features: (..., d); leading axes are tokens or samples.
        kind: "entropy": exp of the entropy of sigma / sum(sigma) (Roy & Vetterli); "participation":
            (sum sigma^2)^2 / sum sigma^4, which weighs the large directions more and needs no decomposition.
        centered: Remove the mean row first; without it a common offset is one large direction.

    Returns:
        Scalar; 0 if all features are zero, NaN if one is not finite.

    Raises:
        SpecError: features is no real (..., d), or kind is unknown.

    Source: Roy & Vetterli 2007. **Accuracy**: that of singular values in the features' dtype.

    >>> effective_rank(torch.eye(3)).item(), effective_rank(torch.ones(5, 3)).item()
    (3.0..., 1.0...)
    """
    rows = token_rows(features)
    if centered:
        rows = rows - rows.mean(0)
    if kind == "participation":
        gram = rows @ rows.T if rows.shape[0] < rows.shape[1] else rows.T @ rows
        total = gram.diagonal().sum()
        # No branch on a value: on an accelerator that would wait for it.
        return torch.where(total == 0, total, (total / gram.norm()).square())
    if kind != "entropy":
        raise SpecError(f"kind {kind!r}: expected 'entropy' or 'participation'")
    if not bool(rows.isfinite().all()):
        return rows.new_tensor(float("nan"))
    sigma = torch.linalg.svdvals(rows)
    total = sigma.sum()
    return total if total == 0 else torch.special.entr(sigma / total).sum().exp()


def token_similarity(features: Tensor) -> Tensor:
    """Mean cosine between two different tokens of one sequence: 1 when all have become the same vector.

    Args:
        features: (..., tokens, d); leading axes are independent sequences, averaged.

    Returns:
        Scalar, about 0 for independent directions. Tokens that are zero count as different from all.

    Raises:
        SpecError: Fewer than two tokens.

    Source: arXiv:2103.03404, which looks at the residual instead (`rank_residual`).

    >>> token_similarity(torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])).item()
    0.333...
    """
    groups = _groups(features)
    tokens = groups.shape[1]
    unit = torch.nn.functional.normalize(groups, dim=-1)
    total = unit.sum(1).square().sum(-1) - unit.square().sum((1, 2))
    return (total / (tokens * (tokens - 1))).mean()


def rank_residual(features: Tensor) -> Tensor:
    """Share of a sequence's features that is not one vector common to all tokens: |X - 1 m'| / |X|, m the mean token.

    Args:
        features: (..., tokens, d); leading axes are independent sequences, averaged.

    Returns:
        Scalar from 0 (rank collapse) to 1; about 1 for independent tokens.

    Raises:
        SpecError: Fewer than two tokens.

    Source: arXiv:2103.03404, section 2. Differs from it: Frobenius norms, where the paper has the root of the product
    of the largest row and column sums.

    >>> rank_residual(torch.ones(1, 4, 3)).item(), rank_residual(torch.tensor([[1.0], [-1.0]])).item()
    (0.0, 1.0)
    """
    groups = _groups(features)
    size = groups.square().sum((1, 2))
    rest = (groups - groups.mean(1, keepdim=True)).square().sum((1, 2))
    return torch.where(size > 0, rest / size.clamp_min(torch.finfo(size.dtype).tiny), 0.0).sqrt().mean()


def dead_units(features: Tensor, *, tolerance: float = DEAD) -> Tensor:
    """Share of units that are silent on every token of the batch.

    Args:
        features: (..., d) activations behind the nonlinearity, which is what enters the next layer.
        tolerance: A unit is silent if its largest absolute value is at most this times the layer's root mean square.

    Returns:
        Scalar from 0 to 1; 1 if the whole layer is zero. A small batch overestimates it.

    Raises:
        SpecError: features is no real (..., d).

    Source: limes, docs/diagnostics.md.

    >>> dead_units(torch.tensor([[0.0, 1.0], [0.0, 2.0]])).item()
    0.5
    """
    rows = token_rows(features)
    return (rows.abs().amax(0) <= tolerance * rows.square().mean().sqrt()).to(rows.dtype).mean()


def preactivation_statistics(values: Tensor, *, num_bins: int = 40, limit: float = 5.0) -> Preactivations:
    """Moments of all entries, and their histogram in deviations around the mean.

    Args:
        values: Any shape, real: what a layer returns before the nonlinearity.
        num_bins: Bins of equal width.
        limit: They reach from -limit to +limit deviations; what lies outside is counted too.

    Raises:
        SpecError: values is empty or not finite, or num_bins or limit is not positive.

    Source: limes, docs/diagnostics.md. **Accuracy**: moments in float64.

    >>> found = preactivation_statistics(torch.tensor([-1.0, 1.0]), num_bins=2)
    >>> found.std, found.kurtosis, found.counts.tolist()
    (1.0, 1.0, [0, 1, 1, 0])
    """
    if num_bins < 1 or not limit > 0:
        raise SpecError(f"num_bins {num_bins}, limit {limit}: expected positive numbers")
    x = values.detach().double().flatten()
    if not len(x) or not bool(x.isfinite().all()):
        raise SpecError(f"{len(x)} preactivations, {int((~x.isfinite()).sum())} not finite: expected finite ones")
    mean = x.mean()
    std = (x - mean).square().mean().sqrt()
    scale = std if std > 0 else torch.ones_like(std)
    z = (x - mean) / scale
    edges = torch.linspace(-limit, limit, num_bins + 1, dtype=torch.float64, device=x.device)
    counts = torch.bincount(torch.bucketize(z, edges, right=True), minlength=num_bins + 2)
    return Preactivations(
        mean=mean.item(),
        std=std.item(),
        kurtosis=z.pow(4).mean().item(),
        largest=x.abs().max().item(),
        edges=edges.cpu(),
        counts=counts.cpu(),
    )


def _groups(features: Tensor) -> Tensor:
    """(..., tokens, d) as (sequences, tokens, d)."""
    token_rows(features)
    if features.shape[-2] < 2:
        raise SpecError(f"features of shape {tuple(features.shape)}: expected at least two tokens to compare")
    groups = features.detach().reshape(-1, *features.shape[-2:])
    return groups if groups.dtype == torch.float64 else groups.float()
