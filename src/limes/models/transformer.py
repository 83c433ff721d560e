"""The byte GPT: a small pre-LN decoder on tokens, without biases and without trainable norms."""

import torch
from torch import Tensor, nn

from limes.core.errors import SpecError
from limes.models.attention import Block, plain_norm
from limes.models.fill import Drawn, fill_linear_, fill_normal_, required
from limes.spec.model import TransformerSpec

EMBEDDING_STD = 1.0
POSITION_STD = 0.5


class Transformer(Drawn):
    """Tokens (B, T) -> logits (B, T, V), T at most `context`."""

    def __init__(self, spec: TransformerSpec, *, attention_scale: float, residual_multiplier: float) -> None:
        super().__init__()
        vocab_size = required(spec.vocab_size, field="vocab_size", family=spec.family)
        self.context = spec.context
        self.embedding = nn.Embedding(vocab_size, spec.width)
        self.position = nn.Embedding(spec.context, spec.width)
        # Outlier-protected blocks have no norms of their own: the stream is normalized once, before them.
        self.stream_norm = plain_norm(spec.width, present=spec.block == "outlier_protected")
        self.blocks = nn.ModuleList(
            Block(spec, causal=True, attention_scale=attention_scale, residual_multiplier=residual_multiplier)
            for _ in range(spec.depth)
        )
        self.norm = nn.LayerNorm(spec.width, eps=1e-5, elementwise_affine=False)
        self.readout = nn.Linear(spec.width, vocab_size, bias=False)
        self.tied = spec.tied
        self.tie()

    def tie(self) -> None:
        """Share the embedding with the readout where the spec asks for it (again after a change of
        storage).
        """
        if self.tied:
            self.readout.weight = self.embedding.weight

    def draw_(self, generator: torch.Generator) -> None:
        """Fill the weights in the order of the forward pass."""
        fill_normal_(self.embedding.weight, EMBEDDING_STD, generator=generator)
        fill_normal_(self.position.weight, POSITION_STD, generator=generator)
        for block in self.blocks:
            assert isinstance(block, Drawn)
            block.draw_(generator)
        if not self.tied:
            fill_linear_(self.readout, generator=generator)

    def forward(self, tokens: Tensor) -> Tensor:
        """Integer (B, T) -> (B, T, V)."""
        length = tokens.shape[-1]
        if length > self.context:
            raise SpecError(f"a sequence of {length} tokens is longer than model.context {self.context}")
        # A slice of the table, not a lookup: the positions are the same for every batch.
        x = self.stream_norm(self.embedding(tokens) + self.position.weight[:length])
        for block in self.blocks:
            x = block(x)
        return self.readout(self.norm(x))
