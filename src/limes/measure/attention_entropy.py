"""How concentrated attention is: entropy and the bound that its logits allow, largest logit, likeness of heads.

Source: arXiv:2303.06296 (entropy collapse and its bound); arXiv:2309.14322 (largest logit).
Letters: z logits of a row with T keys it may see, A their softmax, sg norm of z less its mean.
"""

import torch
from torch import Tensor

from limes.core.errors import SpecError

# What user code adds to close a position: any logit below is a mask, not a logit.
_CLOSED = -1e8


def open_logits(logits: Tensor) -> Tensor:
    """Logits in float32 at least, with every closed position at -inf.

    Args:
        logits: Real; closed positions hold -inf or a hugely negative number.

    Returns:
        Same shape.

    Source: limes, docs/diagnostics.md.

    >>> open_logits(torch.tensor([1.0, -1e9])).tolist()
    [1.0, -inf]
    """
    if not logits.is_floating_point() or logits.dim() < 1:
        raise SpecError(f"logits of shape {tuple(logits.shape)}, {logits.dtype}: expected (..., keys), real")
    limit = max(_CLOSED, torch.finfo(logits.dtype).min / 2)
    rows = logits.detach()
    rows = rows if rows.dtype == torch.float64 else rows.float()
    return rows.masked_fill(rows < limit, float("-inf"))


def attention_entropy(logits: Tensor, *, normalized: bool = True) -> Tensor:
    """Entropy of each row of attention, from its logits.

    Args:
        logits: (..., keys) scaled and masked.
        normalized: Divide by ln of the number of keys that the row may see: 1 is uniform attention. Without it a causal
            row i cannot exceed ln i, and averages over rows mix lengths.

    Returns:
        (...,) from 0 to 1, or nats. NaN for rows that see no key, and for normalized rows that see one.

    Raises:
        SpecError: logits are not real.

    Source: arXiv:2303.06296, section 3. **Accuracy**: that of float32 (float64 for float64 logits); no 0 ln 0.

    >>> attention_entropy(torch.tensor([[0.0, 0.0, float("-inf")], [0.0, -999.0, float("-inf")]])).tolist()
    [1.0, 0.0]
    """
    rows = open_logits(logits)
    num_keys = rows.isfinite().sum(-1)
    entropy = torch.special.entr(rows.softmax(-1)).sum(-1)
    if not normalized:
        return entropy
    return torch.where(num_keys > 1, entropy / num_keys.clamp_min(2).to(rows.dtype).log(), float("nan"))


def entropy_bound(num_keys: Tensor, norm: Tensor) -> Tensor:
    """Least entropy that a row of attention can have, given the norm of its centred logits.

    It is attained by one logit above all others alike.

    Args:
        num_keys: T at least 1, real or integer; broadcast against
        norm: sg, root of the sum of squares of the row's logits less their mean, at least 0.

    Returns:
        Nats, from ln T at norm 0 towards 0.

    Raises:
        SpecError: A number of keys below 1, or a negative norm.

    Source: arXiv:2303.06296, theorem 3.1, with the logits' own norm in place of its product of norms.

    >>> round(entropy_bound(torch.tensor(16), torch.tensor(3.0, dtype=torch.float64)).item(), 6)
    1.767526
    """
    sg = norm if norm.is_floating_point() else norm.double()
    keys = num_keys.to(sg.dtype)
    if bool((keys < 1).any()) or bool((sg < 0).any()):
        raise SpecError(f"{keys.min().item():g} keys, norm {sg.min().item():g}: expected at least 1, and 0")
    others = keys - 1.0
    safe = others.clamp_min(1.0)
    b = torch.exp(-sg * (keys / safe).sqrt())
    bound = torch.log1p(others * b) + sg * (keys * others).sqrt() * b / (1.0 + others * b)
    return torch.where(others > 0, bound, torch.zeros_like(bound))


def head_similarity(logits: Tensor) -> Tensor:
    """Mean cosine between the patterns of two heads, a pattern being attention less uniform attention.

    Without that subtraction all heads look alike at initialization, where attention is nearly uniform.

    Args:
        logits: (batch, heads, queries, keys) scaled and masked, two or more heads.

    Returns:
        Scalar: about 0 for heads that attend to different things, 1 if all do the same. A head that is exactly uniform
        counts as different from all.

    Raises:
        SpecError: Not four axes, or one head.

    Source: limes, docs/diagnostics.md.

    >>> round(head_similarity(torch.tensor([[[[0.0, 9.0]], [[0.0, 9.0]]]])).item(), 6)
    1.0
    """
    if logits.dim() != 4 or logits.shape[1] < 2:
        raise SpecError(f"logits of shape {tuple(logits.shape)}: expected (batch, heads, queries, keys), several heads")
    rows = open_logits(logits)
    is_open = rows.isfinite()
    uniform = is_open / is_open.sum(-1, keepdim=True).clamp_min(1)
    pattern = torch.where(is_open, rows.softmax(-1) - uniform, 0.0).flatten(2)
    unit = torch.nn.functional.normalize(pattern, dim=-1)
    heads = logits.shape[1]
    total = unit.sum(1).square().sum(-1) - unit.square().sum((1, 2))
    return (total / (heads * (heads - 1))).mean()


def attention_statistics(
    logits: Tensor, *, query: Tensor | None = None, key: Tensor | None = None
) -> dict[str, Tensor]:
    """The signs of one attention call.

    Args:
        logits: (batch, heads, queries, keys) scaled and masked.
        query: (batch, heads, queries, head_dim), if at hand.
        key: (batch, heads, keys, head_dim).

    Returns:
        Scalars: `entropy` (normalized, mean over rows that see at least two keys, heads and batch),
        `entropy_lowest_head` (smallest mean of a head), `entropy_bound` (mean of what the logits' norm allows,
        normalized alike), `max_logit` (largest absolute one at an open position), `head_similarity` (with two or more
        heads), and `query_norm`, `key_norm` (root mean square over tokens of the vectors' lengths).

    Raises:
        SpecError: Not four axes.

    Source: arXiv:2303.06296; arXiv:2309.14322.

    >>> found = attention_statistics(torch.zeros(1, 2, 3, 3))
    >>> found["entropy"].item(), found["entropy_bound"].item(), found["max_logit"].item()
    (1.0, 1.0, 0.0)
    """
    if logits.dim() != 4:
        raise SpecError(f"logits of shape {tuple(logits.shape)}: expected (batch, heads, queries, keys)")
    rows = open_logits(logits)
    is_open = rows.isfinite()
    num_keys = is_open.sum(-1)
    clean = rows.masked_fill(~is_open, 0.0)
    mean = clean.sum(-1, keepdim=True) / num_keys.clamp_min(1)[..., None]
    norm = torch.where(is_open, clean - mean, 0.0).norm(dim=-1)
    entropy = attention_entropy(rows)
    most = num_keys.clamp_min(2).to(rows.dtype).log()
    bound = torch.where(num_keys > 1, entropy_bound(num_keys.clamp_min(1), norm) / most, float("nan"))
    found = {
        "entropy": entropy.nanmean(),
        "entropy_lowest_head": entropy.nanmean((0, 2)).min(),
        "entropy_bound": bound.nanmean(),
        "max_logit": clean.abs().max(),
    }
    if logits.shape[1] > 1:
        found["head_similarity"] = head_similarity(rows)
    for name, vectors in (("query_norm", query), ("key_norm", key)):
        if vectors is not None:
            found[name] = vectors.detach().to(rows.dtype).square().sum(-1).mean().sqrt()
    return found
