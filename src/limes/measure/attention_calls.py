"""Every attention that a forward pass computes, with its queries, keys, and logits as masked as the softmax sees them.

Seen are the fused call, `nn.MultiheadAttention`, and the softmax of attention that is written out (four axes, over the
last). Fused attention does not return its logits: they are computed once more here.

Source: limes, docs/diagnostics.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from limes.measure.attention_entropy import open_logits

_FUSED = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
_MULTIHEAD = (
    "query",
    "key",
    "value",
    "embed_dim_to_check",
    "num_heads",
    "in_proj_weight",
    "in_proj_bias",
    "bias_k",
    "bias_v",
    "add_zero_attn",
    "dropout_p",
    "out_proj_weight",
    "out_proj_bias",
    "training",
    "key_padding_mask",
    "need_weights",
    "attn_mask",
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AttentionCall:
    """One attention.

    Attributes:
        logits: (batch, heads, queries, keys), scale and mask included: -inf (or hugely negative) where closed.
        products: (batch, heads, queries, keys), scale included, mask not; None for attention that is written out.
        query: (batch, heads, queries, head_dim); None for attention that is written out.
        key: (batch, heads, keys, head_dim); None for the same.
        projected: Whether the call includes the output projection, so that no layer takes mixed values.
    """

    logits: Tensor
    products: Tensor | None = None
    query: Tensor | None = None
    key: Tensor | None = None
    projected: bool = False

    @property
    def unmasked(self) -> Tensor:
        """Logits that no mask touches: the products, or else with zero at what is closed."""
        if self.products is not None:
            return self.products
        return self.logits.masked_fill(open_logits(self.logits).isneginf(), 0.0)


class AttentionCalls(TorchFunctionMode):
    """While active, hands every attention to `keep`, without gradients. Calls under torch.compile are not seen."""

    def __init__(self, keep: Callable[[AttentionCall], None], *, max_sequences: int | None = None) -> None:
        super().__init__()
        self._keep, self._max = keep, max_sequences

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _READERS:
            with torch.no_grad():
                call = _READERS[name](args, kwargs, self._max)
                if call is not None:
                    self._keep(call)
        return func(*args, **kwargs)


def _named(names: tuple[str, ...], args: Any, kwargs: Any) -> dict[str, Any]:
    return {**dict(zip(names, args)), **kwargs}


def _fused(args: Any, kwargs: Any, most: int | None) -> AttentionCall | None:
    given = _named(_FUSED, args, kwargs)
    query, key = (_four_axes(given[name].detach())[:most] for name in ("query", "key"))
    if query.shape[1] != key.shape[1]:
        key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    scale = given.get("scale")
    products = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    mask = given.get("attn_mask")
    if given.get("is_causal"):
        mask = torch.ones(products.shape[-2:], dtype=torch.bool, device=products.device).tril()
    logits = _masked(products, mask, given["query"].shape[0])
    return AttentionCall(logits=logits, products=products, query=query, key=key)


def _four_axes(tensor: Tensor) -> Tensor:
    """(..., heads, tokens, head_dim) as (batch, heads, tokens, head_dim)."""
    while tensor.dim() < 4:
        tensor = tensor.unsqueeze(0)
    return tensor.flatten(0, -4)


def _masked(logits: Tensor, mask: Tensor | None, batch: int) -> Tensor:
    """Closed where a boolean mask is False, or with a real mask added; sequences beyond those of `logits` dropped."""
    if mask is None:
        return logits
    if mask.dim() == 4 and mask.shape[0] == batch:
        mask = mask[: len(logits)]
    if mask.dtype == torch.bool:
        return logits.masked_fill(~mask, float("-inf"))
    return logits + mask.detach().to(logits.dtype)


def _multihead(args: Any, kwargs: Any, most: int | None) -> AttentionCall | None:
    """`F.multi_head_attention_forward`, whose inputs are (tokens, batch, width) and whose masks close where True."""
    given = _named(_MULTIHEAD, args, kwargs)
    if given.get("bias_k") is not None or given.get("static_k") is not None or given.get("add_zero_attn"):
        return None
    heads = given["num_heads"]
    if given.get("use_separate_proj_weight"):
        weights = [given["q_proj_weight"], given["k_proj_weight"]]
    else:
        weights = list(given["in_proj_weight"].chunk(3)[:2])
    bias = given.get("in_proj_bias")
    offsets = [None, None] if bias is None else list(bias.chunk(3)[:2])
    parts = []
    for inputs, weight, offset in zip((given["query"], given["key"]), weights, offsets):
        batched = (inputs if inputs.dim() == 3 else inputs.unsqueeze(1))[:, :most]
        parts.append(F.linear(batched, weight, offset).unflatten(-1, (heads, -1)).permute(1, 2, 0, 3).detach())
    query, key = parts
    products = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
    logits = products
    for mask, is_padding in ((given.get("attn_mask"), False), (given.get("key_padding_mask"), True)):
        if mask is None:
            continue
        if is_padding:
            mask = mask.reshape(-1, 1, 1, mask.shape[-1])[:most]
        elif mask.dim() == 3:
            mask = mask.unflatten(0, (-1, heads))[:most]
        logits = logits.masked_fill(mask, float("-inf")) if mask.dtype == torch.bool else logits + mask.detach()
    return AttentionCall(logits=logits, products=products, query=query, key=key, projected=True)


def _softmax(args: Any, kwargs: Any, most: int | None) -> AttentionCall | None:
    scores = args[0] if args else kwargs.get("input")
    dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
    if not isinstance(scores, Tensor) or not scores.is_floating_point() or scores.dim() != 4 or dim not in (-1, 3):
        return None
    return AttentionCall(logits=scores.detach()[:most])


_READERS: dict[str, Callable[[Any, Any, int | None], AttentionCall | None]] = {
    "scaled_dot_product_attention": _fused,
    "multi_head_attention_forward": _multihead,
    "softmax": _softmax,
    "_softmax": _softmax,
}
