"""The pre-LN block shared by the byte GPT and the vision transformer."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limes.models.fill import fill_linear_


class Attention(nn.Module):
    """Multi-head self-attention with packed query, key and value maps and no biases."""

    def __init__(self, width: int, num_heads: int, *, causal: bool, attention_scale: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.causal = causal
        self.scale = (width // num_heads) ** -0.5 * attention_scale
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        batch, length, width = x.shape
        q, k, v = (
            part.view(batch, length, self.num_heads, width // self.num_heads).transpose(1, 2)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal, scale=self.scale)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))


class Block(nn.Module):
    """Attention, then an MLP with exact GELU; each a residual branch behind a norm without gain and bias."""

    def __init__(
        self,
        width: int,
        num_heads: int,
        *,
        mlp_ratio: int,
        causal: bool,
        attention_scale: float,
        residual_multiplier: float,
    ) -> None:
        super().__init__()
        self.residual_multiplier = residual_multiplier
        self.attention_norm = nn.LayerNorm(width, eps=1e-5, elementwise_affine=False)
        self.attention = Attention(width, num_heads, causal=causal, attention_scale=attention_scale)
        self.mlp_norm = nn.LayerNorm(width, eps=1e-5, elementwise_affine=False)
        self.up = nn.Linear(width, mlp_ratio * width, bias=False)
        self.down = nn.Linear(mlp_ratio * width, width, bias=False)

    def draw_(self, generator: torch.Generator) -> None:
        """Fill the weights in the order of the forward pass."""
        for layer in (self.attention.qkv, self.attention.out, self.up, self.down):
            fill_linear_(layer, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        x = x + scaled(self.attention(self.attention_norm(x)), self.residual_multiplier)
        return x + scaled(self.down(F.gelu(self.up(self.mlp_norm(x)))), self.residual_multiplier)


def scaled(x: Tensor, factor: float) -> Tensor:
    """`factor * x`; a factor of exactly 1 costs nothing."""
    return x if factor == 1.0 else x * factor
