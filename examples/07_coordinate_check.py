"""Does a plan hold on your own model? Check it on small ones, then see a wrong learning rate being found."""

import dataclasses

import torch
from torch import nn

import limes


def build(width: int) -> nn.Module:
    """Any callable that returns a module will do."""
    return nn.Sequential(nn.Linear(16, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10))


widths = [64, 128, 256]
generator = torch.Generator().manual_seed(0)
batch = torch.randn(8, 16, generator=generator), torch.randint(0, 10, (8,), generator=generator)

for parametrization in ("mup", "standard"):
    check = limes.coord_check(build, parametrization, widths=widths, batch=batch)
    print(f"{parametrization}: {check.verdict}")
    for cause in check.causes:
        print(f"  {cause.sentence}")

# A plan of your own, with the learning rate of the hidden map left as it was.
plan = limes.plan(build, base=64, target=256, parametrization="mup")
rows = tuple(dataclasses.replace(row, lr_scale=1.0) if row.role == "hidden" else row for row in plan.entries)
check = limes.coord_check(build, dataclasses.replace(plan, entries=rows), widths=widths, batch=batch)
print(check.explain())
