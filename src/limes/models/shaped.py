"""Shaped blocks: attention and activation nearly linear, so that depth and width can grow together.

Attention is centred on the identity, its temperature grows with width, and the stream is mixed with weights whose
squares sum to one; no norms are needed for a stable signal.

Source: Noci et al., arXiv:2306.17759, section 4; Li et al., arXiv:2206.02768, definition 3.1.
"""

import math

import torch
from torch import Tensor, nn

from limes.core.errors import SpecError
from limes.models.fill import Drawn, allocate, fill_linear_
from limes.models.transformer import Transformer
from limes.spec.model import TransformerSpec


class ShapedReLU(nn.Module):
    """Slopes 1 + positive / sqrt(width) and 1 + negative / sqrt(width), normed to keep a mean square."""

    def __init__(self, width: int, *, positive: float = 0.0, negative: float = -1.0) -> None:
        super().__init__()
        up, down = 1.0 + positive / math.sqrt(width), 1.0 + negative / math.sqrt(width)
        norm = math.sqrt(2.0 / (up**2 + down**2))
        self.up, self.down = up * norm, down * norm

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise."""
        return self.up * x.clamp_min(0.0) + self.down * x.clamp_max(0.0)


class ShapedAttention(nn.Module):
    """Multi-head attention A = I + softmax(logits / (temperature sqrt(width head_dim))) - uniform, and a map of values.

    Causal attention is centred on the causal uniform matrix, whose row i holds 1 / i: at vanishing logits A is the
    identity either way.
    """

    def __init__(self, width: int, num_heads: int, *, causal: bool, temperature: float = 1.0) -> None:
        super().__init__()
        self.num_heads, self.causal = num_heads, causal
        self.scale = 1.0 / (temperature * math.sqrt(width * (width // num_heads)))
        self.qkv = nn.Linear(width, 3 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        batch, length, width = x.shape
        q, k, v = (
            part.view(batch, length, self.num_heads, width // self.num_heads).transpose(1, 2)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        logits = self.scale * q @ k.mT
        seen = torch.ones(length, length, dtype=torch.bool, device=x.device)
        if self.causal:
            seen = seen.tril()
            logits = logits.masked_fill(~seen, -math.inf)
        uniform = seen / seen.sum(1, keepdim=True)
        mixed = v + (torch.softmax(logits, -1) - uniform) @ v
        return mixed.transpose(1, 2).reshape(batch, length, width)


class ShapedBlock(Drawn):
    """X <- lam X + gam attention(X), then X <- lam X + gam MLP(X), with lam^2 + gam^2 = 1 and no norms."""

    def __init__(
        self,
        width: int,
        num_heads: int,
        *,
        mlp_ratio: int,
        causal: bool,
        branch_weight: float,
        temperature: float,
        negative_slope: float,
    ) -> None:
        super().__init__()
        self.keep, self.branch = math.sqrt(1.0 - branch_weight), math.sqrt(branch_weight)
        self.attention = ShapedAttention(width, num_heads, causal=causal, temperature=temperature)
        self.up = nn.Linear(width, mlp_ratio * width, bias=False)
        self.activation = ShapedReLU(width, negative=negative_slope)
        self.down = nn.Linear(mlp_ratio * width, width, bias=False)

    def draw_(self, generator: torch.Generator) -> None:
        """Fill the weights in the order of the forward pass."""
        for layer in (self.attention.qkv, self.up, self.down):
            fill_linear_(layer, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        x = self.keep * x + self.branch * self.attention(x)
        return self.keep * x + self.branch * self.down(self.activation(self.up(x)))


def build_shaped_transformer(
    spec: TransformerSpec,
    *,
    generator: torch.Generator,
    branch_weight: float = 0.5,
    temperature: float = 1.0,
    negative_slope: float = -1.0,
) -> Transformer:
    """The reference transformer with shaped blocks in place of its own.

    Args:
        spec: Sizes, filled in; its fields about norms inside blocks do not apply.
        generator: CPU generator of the weights.
        branch_weight: gam^2, share of a branch, between 0 and 1.
        temperature: tau0 of the logits.
        negative_slope: c_- of the activation, in units of 1 / sqrt(width).

    Raises:
        SpecError: branch_weight or temperature is out of range.

    >>> spec = TransformerSpec(width=16, head_dim=8, depth=3, vocab_size=11)
    >>> model = build_shaped_transformer(spec, generator=torch.Generator().manual_seed(0))
    >>> model(torch.zeros(2, 5, dtype=torch.long)).shape
    torch.Size([2, 5, 11])
    """
    if not 0.0 < branch_weight <= 1.0:
        raise SpecError(f"branch_weight is {branch_weight}; expected gam^2, above 0 and at most 1")
    if not 0.0 < temperature < math.inf:
        raise SpecError(f"temperature is {temperature}; expected a positive number")

    def make() -> Transformer:
        model = Transformer(spec, attention_scale=1.0, residual_multiplier=1.0)
        model.blocks = nn.ModuleList(
            ShapedBlock(
                spec.width,
                spec.num_heads or spec.width // (spec.head_dim or spec.width),
                mlp_ratio=spec.mlp_ratio,
                causal=True,
                branch_weight=branch_weight,
                temperature=temperature,
                negative_slope=negative_slope,
            )
            for _ in range(spec.depth)
        )
        return model

    model = allocate(make)
    assert isinstance(model, Transformer), "allocate keeps the class"
    model.tie()
    model.draw_(generator)
    return model
