"""The pre-LN block shared by the byte GPT and the vision transformer."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limes.models.fill import Drawn, fill_linear_
from limes.spec.model import TransformerSpec, ViTSpec

# Of both branches of an outlier-protected block, as published for networks of moderate depth (arXiv:2405.19279).
PROTECTED_GAIN = 0.2


class Attention(nn.Module):
    """Multi-head self-attention with packed query, key and value maps and no biases.

    With `qk_norm`, queries and keys of each head are normalized and multiplied by trained gains (arXiv:2302.05442), so
    that logits stay bounded by the gains whatever the weights do.
    """

    def __init__(
        self, width: int, num_heads: int, *, causal: bool, attention_scale: float, qk_norm: bool = False
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.causal = causal
        self.scale = (width // num_heads) ** -0.5 * attention_scale
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.query_norm = nn.RMSNorm(width // num_heads, eps=1e-6) if qk_norm else nn.Identity()
        self.key_norm = nn.RMSNorm(width // num_heads, eps=1e-6) if qk_norm else nn.Identity()

    def draw_(self, generator: torch.Generator) -> None:
        """Fill the weights in the order of the forward pass; gains start at 1."""
        for layer in (self.qkv, self.out):
            fill_linear_(layer, generator=generator)
        for norm in (self.query_norm, self.key_norm):
            if isinstance(norm, nn.RMSNorm) and not norm.weight.is_meta:
                nn.init.ones_(norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        batch, length, width = x.shape
        q, k, v = (
            part.view(batch, length, self.num_heads, width // self.num_heads).transpose(1, 2)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        q, k = self.query_norm(q), self.key_norm(k)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal, scale=self.scale)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))


class Block(Drawn):
    """Attention, then an MLP with exact GELU; each a residual branch behind a norm without gain and bias.

    The outlier-protected block (arXiv:2405.19279) has no such norms: queries and keys are normalized, and both branches
    are multiplied by a gain of `PROTECTED_GAIN`.
    """

    def __init__(
        self,
        spec: TransformerSpec | ViTSpec,
        *,
        causal: bool,
        attention_scale: float,
        residual_multiplier: float,
    ) -> None:
        super().__init__()
        width, protected = spec.width, spec.block == "outlier_protected"
        num_heads = spec.num_heads or width // (spec.head_dim or width)
        self.residual_multiplier = residual_multiplier * (PROTECTED_GAIN if protected else 1.0)
        self.attention_norm = plain_norm(width, present=not protected)
        self.attention = Attention(
            width,
            num_heads,
            causal=causal,
            attention_scale=attention_scale,
            qk_norm=spec.qk_norm or protected,
        )
        self.mlp_norm = plain_norm(width, present=not protected)
        self.up = nn.Linear(width, spec.mlp_ratio * width, bias=False)
        self.down = nn.Linear(spec.mlp_ratio * width, width, bias=False)

    def draw_(self, generator: torch.Generator) -> None:
        """Fill the weights in the order of the forward pass."""
        self.attention.draw_(generator)
        for layer in (self.up, self.down):
            fill_linear_(layer, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        x = x + scaled(self.attention(self.attention_norm(x)), self.residual_multiplier)
        return x + scaled(self.down(F.gelu(self.up(self.mlp_norm(x)))), self.residual_multiplier)


def plain_norm(width: int, *, present: bool) -> nn.Module:
    """A norm without gain and bias, or nothing in its place."""
    return nn.LayerNorm(width, eps=1e-5, elementwise_affine=False) if present else nn.Identity()


def scaled(x: Tensor, factor: float) -> Tensor:
    """`factor * x`; a factor of exactly 1 costs nothing."""
    return x if factor == 1.0 else x * factor
