"""Attention logits q.k times the scale, from the calls that a model makes.

A function mode sees the fused call with its queries and keys, `nn.MultiheadAttention`'s own call, and the softmax of
attention that is written out. Of the latter only inputs with two trailing axes for queries and keys are recorded.

Source: limes, docs/coord_check.md.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_FUSED = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
_MULTIHEAD = ("query", "key", "value", "embed_dim_to_check", "num_heads", "in_proj_weight", "in_proj_bias")


class AttentionRecorder(TorchFunctionMode):
    """While active, keeps the logits of every attention by the path on top of `stack`.

    Attributes:
        logits: For each module path, one tensor (batch, heads, queries, keys) per call, scale included, mask not.
    """

    def __init__(self, stack: list[str]) -> None:
        super().__init__()
        self.stack = stack
        self.logits: dict[str, list[Tensor]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "scaled_dot_product_attention":
            self._keep(_fused_logits(_named(_FUSED, args, kwargs)))
        elif name == "multi_head_attention_forward":
            self._keep(_multihead_logits(_named(_MULTIHEAD, args, kwargs)))
        elif name in ("softmax", "_softmax") and self._is_attention(args, kwargs):
            self._keep(_unmasked(args[0] if args else kwargs["input"]))
        return func(*args, **kwargs)

    def _keep(self, logits: Tensor) -> None:
        self.logits.setdefault(self.stack[-1], []).append(logits.detach().clone())

    def _is_attention(self, args: Any, kwargs: Any) -> bool:
        dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
        scores = args[0] if args else kwargs.get("input")
        return isinstance(scores, Tensor) and scores.dim() == 4 and dim in (-1, 3)


def _named(names: tuple[str, ...], args: Any, kwargs: Any) -> dict[str, Any]:
    return {**dict(zip(names, args)), **kwargs}


def _fused_logits(given: dict[str, Any]) -> Tensor:
    query, key = given["query"], given["key"]
    scale = given.get("scale")
    if query.shape[-3] != key.shape[-3]:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], dim=-3)
    product: Tensor = query @ key.transpose(-2, -1)
    return product * (query.shape[-1] ** -0.5 if scale is None else scale)


def _multihead_logits(given: dict[str, Any]) -> Tensor:
    """Queries and keys of `F.multi_head_attention_forward`, whose inputs are (length, batch, width)."""
    query, key, heads = given["query"], given["key"], given["num_heads"]
    if given.get("use_separate_proj_weight"):
        weights = [given["q_proj_weight"], given["k_proj_weight"]]
    else:
        weights = list(given["in_proj_weight"].chunk(3)[:2])
    bias = given.get("in_proj_bias")
    biases = [None, None] if bias is None else list(bias.chunk(3)[:2])
    parts = []
    for inputs, weight, offset in zip((query, key), weights, biases):
        batched = inputs if inputs.dim() == 3 else inputs.unsqueeze(1)
        parts.append(F.linear(batched, weight, offset).unflatten(-1, (heads, -1)).permute(1, 2, 0, 3))
    q, k = parts
    product: Tensor = q @ k.transpose(-2, -1)
    return product * q.shape[-1] ** -0.5


def _unmasked(scores: Tensor) -> Tensor:
    """Masked entries, which are hugely negative, become zero; they are alike before and after training."""
    return torch.where(scores < -1e30, torch.zeros_like(scores), scores)
