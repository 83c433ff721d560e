"""A small vision transformer: linear patches, learned positions, pre-LN blocks, mean pooling, no biases."""

import torch
from torch import Tensor, nn

from limes.core.errors import SpecError
from limes.models.attention import Block, plain_norm
from limes.models.fill import Drawn, fill_linear_, fill_normal_, required, required_shape
from limes.spec.model import ViTSpec

POSITION_STD = 0.5


class ViT(Drawn):
    """Images (B, C, H, W) -> outputs (B, K)."""

    def __init__(self, spec: ViTSpec, *, attention_scale: float, residual_multiplier: float) -> None:
        super().__init__()
        num_outputs = required(spec.num_outputs, field="num_outputs", family=spec.family)
        channels, height, width = required_shape(spec.input_shape, family=spec.family)
        if height % spec.patch or width % spec.patch:
            raise SpecError(
                f"model.patch {spec.patch} does not divide the image of {height} x {width}; choose a divisor of both"
            )
        self.patch = spec.patch
        num_patches = (height // spec.patch) * (width // spec.patch)
        self.stem = nn.Linear(channels * spec.patch**2, spec.width, bias=False)
        self.position = nn.Parameter(torch.empty(num_patches, spec.width))
        # Outlier-protected blocks have no norms of their own: the stream is normalized once, before them.
        self.stream_norm = plain_norm(spec.width, present=spec.block == "outlier_protected")
        self.blocks = nn.ModuleList(
            Block(spec, causal=False, attention_scale=attention_scale, residual_multiplier=residual_multiplier)
            for _ in range(spec.depth)
        )
        self.norm = nn.LayerNorm(spec.width, eps=1e-5, elementwise_affine=False)
        self.readout = nn.Linear(spec.width, num_outputs, bias=False)

    def draw_(self, generator: torch.Generator) -> None:
        """Fill the weights in the order of the forward pass."""
        fill_linear_(self.stem, generator=generator)
        fill_normal_(self.position, POSITION_STD, generator=generator)
        for block in self.blocks:
            assert isinstance(block, Drawn)
            block.draw_(generator)
        fill_linear_(self.readout, generator=generator)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, K)."""
        patches = nn.functional.unfold(images, self.patch, stride=self.patch).transpose(1, 2)
        x = self.stream_norm(self.stem(patches) + self.position)
        for block in self.blocks:
            x = block(x)
        return self.readout(self.norm(x).mean(dim=1))
