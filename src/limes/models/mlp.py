"""A fully connected network: `depth` hidden layers and a linear readout; weights of variance 1/fan-in."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from limes.models.activation import ACTIVATIONS
from limes.models.fill import Drawn, fill_linear_, required
from limes.spec.model import MLPSpec


class MLP(Drawn):
    """Vectors (B, D), or images that are flattened to it -> outputs (B, K).

    No hidden layer is a residual branch, so `residual_multiplier` and `attention_scale` do not apply.
    """

    def __init__(self, spec: MLPSpec, *, attention_scale: float, residual_multiplier: float) -> None:
        super().__init__()
        num_inputs = required(spec.num_inputs, field="num_inputs", family=spec.family)
        num_outputs = required(spec.num_outputs, field="num_outputs", family=spec.family)
        sizes = [num_inputs] + [spec.width] * spec.depth
        self.activation = ACTIVATIONS[spec.activation]
        self.hidden = nn.ModuleList(nn.Linear(fan_in, fan_out, bias=spec.bias) for fan_in, fan_out in pairwise(sizes))
        self.readout = nn.Linear(spec.width, num_outputs, bias=spec.bias)

    def draw_(self, generator: torch.Generator) -> None:
        """Fill the weights in the order of the forward pass."""
        for layer in (*self.hidden, self.readout):
            fill_linear_(layer, generator=generator)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, ...) -> (B, K)."""
        x = inputs.flatten(1)
        for layer in self.hidden:
            x = self.activation(layer(x))
        return self.readout(x)
