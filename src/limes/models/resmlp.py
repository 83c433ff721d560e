"""A residual MLP: linear stem, pre-norm branches of one or two matrices, linear readout, no biases.

A branch is W relu(norm(h)) with one matrix and W2 relu(W1 norm(h)) with two: the networks on which depth
rules are usually studied.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limes.models.activation import ACTIVATIONS
from limes.models.attention import scaled
from limes.models.fill import Drawn, fill_linear_, required
from limes.spec.model import ResMLPSpec


class Branch(nn.Module):
    """One residual branch on (B, width)."""

    def __init__(self, spec: ResMLPSpec) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[spec.activation]
        self.first = nn.Linear(spec.width, spec.width, bias=False) if spec.matrices_per_branch == 2 else None
        self.last = nn.Linear(spec.width, spec.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width) -> (B, width)."""
        x = F.layer_norm(x, x.shape[-1:], eps=1e-5)
        return self.last(self.activation(x if self.first is None else self.first(x)))


class ResMLP(Drawn):
    """Vectors (B, D), or images that are flattened to it -> outputs (B, K)."""

    def __init__(self, spec: ResMLPSpec, *, attention_scale: float, residual_multiplier: float) -> None:
        super().__init__()
        num_inputs = required(spec.num_inputs, field="num_inputs", family=spec.family)
        num_outputs = required(spec.num_outputs, field="num_outputs", family=spec.family)
        self.residual_multiplier = residual_multiplier
        self.stem = nn.Linear(num_inputs, spec.width, bias=False)
        self.blocks = nn.ModuleList(Branch(spec) for _ in range(spec.depth))
        self.readout = nn.Linear(spec.width, num_outputs, bias=False)

    def draw_(self, generator: torch.Generator) -> None:
        """Fill the weights in the order of the forward pass."""
        layers = [layer for layer in self.modules() if isinstance(layer, nn.Linear)]
        for layer in layers:
            fill_linear_(layer, generator=generator)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, ...) -> (B, K)."""
        x = self.stem(inputs.flatten(1))
        for block in self.blocks:
            x = x + scaled(block(x), self.residual_multiplier)
        return self.readout(x)
