"""The limit itself: the tangent kernel of an infinitely wide network, and finite networks on their way to it."""

import torch

from limes.theory.kernels import nngp_kernel

generator = torch.Generator().manual_seed(0)
inputs = torch.randn(3, 10, generator=generator, dtype=torch.float64)
limit = nngp_kernel(inputs, depth=2, activation="relu", weight_var=2.0, bias_var=0.0)

for width in (64, 256, 1024):
    errors = []
    for _ in range(8):
        features = inputs / inputs.shape[1] ** 0.5
        for _ in range(2):
            weights = torch.randn(features.shape[1], width, generator=generator, dtype=torch.float64)
            features = torch.relu(features @ weights * 2**0.5) / width**0.5
        errors.append((2.0 * features @ features.T - limit).abs().max().item())
    print(f"width {width:5d}: largest deviation from the NNGP kernel, mean over 8 networks {sum(errors) / 8:.3f}")
print(limit)
assert errors and sum(errors) / 8 < 0.2 * limit.abs().max()
