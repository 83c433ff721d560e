"""Scale a model of your own: plan on the meta device, look at the table, train the big one with plain torch."""

import torch
from torch import nn

import limes


def build(width: int) -> nn.Module:
    """Any callable that returns a module will do; nothing in it knows about scaling."""
    return nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10))


plan = limes.plan(build, base=64, target=256, parametrization="mup", optimizer="adamw")
for row in plan.rows:
    print(f"{row['name']:10s} {row['role']:10s} lr x {row['lr_scale']:g}, init std {row['init_std']:.4f}: {row['why']}")

model = build(256)
plan.init_(model, seed=0)
plan.apply_multipliers(model)
optimizer = torch.optim.AdamW(plan.param_groups(model, lr=2e-3, weight_decay=0.1))
inputs = torch.randn(32, 64, generator=torch.Generator().manual_seed(0))
loss = nn.functional.cross_entropy(model(inputs), torch.arange(32) % 10)
loss.backward()
optimizer.step()
print(f"first loss {loss.item():.3f}; {len(optimizer.param_groups)} parameter groups")
plan.verify(model, optimizer)
