"""Networks and deliberately wrong plans for the coordinate check."""

import dataclasses
from collections.abc import Callable

import torch
from torch import nn

from limes import plan
from limes.compare import CoordCheck, coord_check
from limes.parametrize import Plan, PlanRow

Edit = Callable[[PlanRow, float], PlanRow]


class Block(nn.Module):
    """Pre-norm residual block with two matrices."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x):
        return x + self.down(nn.functional.gelu(self.up(self.norm(x))))


class ResNet(nn.Module):
    """Stem, residual blocks, norm, head; the head starts without a bias."""

    def __init__(self, size) -> None:
        super().__init__()
        width = size["width"]
        self.stem = nn.Linear(8, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(size["depth"]))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10, bias=False)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def mlp(width: int) -> nn.Module:
    """Three maps in an `nn.Sequential`."""
    return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10))


def vectors(num_samples: int = 8):
    """(inputs, classes)."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(num_samples, 8, generator=generator)
    return inputs, torch.randint(0, 10, (num_samples,), generator=generator)


def spoiled(build, sizes, parametrization: str, edit: Edit, **options) -> Callable[[object], Plan]:
    """From a size to its plan with every row edited; the edit is told how much the axis has grown."""

    def choose(size):
        made = plan(
            build, base=sizes[0], target=size, parametrization=parametrization, allow_no_growth=True,
            probe=sizes[-1], **options,
        )  # fmt: skip
        growth = 2.0 ** next(place for place, value in enumerate(sizes) if value is size)
        return dataclasses.replace(made, entries=tuple(edit(row, growth) for row in made.entries))

    return choose


def hidden_lr(row: PlanRow, growth: float) -> PlanRow:
    """The learning rate of hidden matrices forgets the width."""
    return dataclasses.replace(row, lr_scale=row.lr_scale * growth) if row.role == "hidden" else row


def embedding_lr(row: PlanRow, growth: float) -> PlanRow:
    """The learning rate of embeddings falls as if they were hidden."""
    return dataclasses.replace(row, lr_scale=row.lr_scale / growth) if row.role == "embedding" else row


def eps(row: PlanRow, growth: float) -> PlanRow:
    """One epsilon for all sizes."""
    return dataclasses.replace(row, eps_scale=1.0)


def decay(row: PlanRow, growth: float) -> PlanRow:
    """One weight decay for all tensors, although the learning rate falls."""
    return dataclasses.replace(row, weight_decay_scale=1.0)


def readout_multiplier(row: PlanRow, growth: float) -> PlanRow:
    """The multiplier of the logits falls as the root of the width (for the form with multipliers)."""
    output = row.carrier in ("lm_head", "classifier", "head")
    return dataclasses.replace(row, multiplier=row.multiplier * growth**0.5) if output else row


def residual_multiplier(row: PlanRow, growth: float) -> PlanRow:
    """Branches fall as the root of the depth (for the form with multipliers)."""
    last = "last map of a residual branch" in row.why
    return dataclasses.replace(row, multiplier=row.multiplier * growth**0.5) if last else row


def settings(check: CoordCheck) -> set[str]:
    """The settings that are blamed."""
    return {cause.setting for cause in check.causes}


def blamed(check: CoordCheck, setting: str) -> set[str]:
    """The tensors and modules that are blamed for a setting."""
    return {cause.name for cause in check.causes if cause.setting == setting}


__all__ = ["ResNet", "blamed", "coord_check", "mlp", "settings", "spoiled", "vectors"]
