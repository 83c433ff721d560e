"""Where does the common path of networks of all widths end? Measured on networks, predicted from a spectrum.

Only the readout is trained, so that the theory of random features covers the networks; it sees nothing but the kernel
of a wide network before training, and the target.
"""

import numpy as np
import torch

from limes.compare.readout import readout_study

generator = torch.Generator().manual_seed(0)
inputs = 2.0 * torch.randn(1500, 6, generator=generator, dtype=torch.float64)
targets = inputs[:, 0].sign() + 0.5 * inputs[:, 1].sin()
study = readout_study(
    inputs, targets, widths=(16, 32, 64, 128), seeds=64, num_samples=400, times=np.geomspace(1.0, 3e5, 26)
)

print("width  loss at the end  predicted  path ends at  interval         predicted")
for place, width in enumerate(study.widths):
    measured, expected = study.losses[place][:, -1].mean(), study.predicted[place, -1]
    line = f"{width:5d}  {measured:15.3f}  {expected:9.3f}"
    if place < len(study.ends):
        end = study.ends[place]
        line += f"  {end.time:12.3g}  {end.low:.3g} to {end.high:.3g}".ljust(32)
        line += f"  {study.predicted_ends[place].time:.3g}"
    print(line)
