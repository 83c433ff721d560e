"""A small residual CNN: 3x3 stem, residual blocks of two 3x3 convolutions, global average pooling, linear
readout.

One group of group normalization (no gain, no bias) stands before each activation: a batch of any size gives
the same output per image, which batch normalization would not.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limes.models.attention import scaled
from limes.models.fill import Drawn, fill_linear_, fill_normal_, required, required_shape
from limes.spec.model import CNNSpec


def _conv(channels_in: int, channels_out: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)


class Branch(nn.Module):
    """Two convolutions, each behind a norm and a ReLU, on (B, width, H, W)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _conv(width, width)
        self.last = _conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) -> (B, width, H, W)."""
        x = self.first(F.relu(F.group_norm(x, 1)))
        return self.last(F.relu(F.group_norm(x, 1)))


class CNN(Drawn):
    """Images (B, C, H, W) -> outputs (B, K)."""

    def __init__(self, spec: CNNSpec, *, attention_scale: float, residual_multiplier: float) -> None:
        super().__init__()
        num_outputs = required(spec.num_outputs, field="num_outputs", family=spec.family)
        channels, _, _ = required_shape(spec.input_shape, family=spec.family)
        self.residual_multiplier = residual_multiplier
        self.stem = _conv(channels, spec.width)
        self.blocks = nn.ModuleList(Branch(spec.width) for _ in range(spec.depth))
        self.readout = nn.Linear(spec.width, num_outputs, bias=False)

    def draw_(self, generator: torch.Generator) -> None:
        """Fill the weights in the order of the forward pass."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                fan_in = layer.weight[0].numel()
                fill_normal_(layer.weight, fan_in**-0.5, generator=generator)
        fill_linear_(self.readout, generator=generator)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, K)."""
        x = self.stem(images)
        for block in self.blocks:
            x = x + scaled(block(x), self.residual_multiplier)
        return self.readout(F.relu(F.group_norm(x, 1)).mean(dim=(2, 3)))
