"""AdamW: Adam with weight decay outside the gradient, multiplied by the learning rate."""

import torch

from limes.core.source import Source
from limes.optim.rule import Groups, OptimizerFamily, UpdateRule, fused_where_possible
from limes.spec.training import OptimizerSpec


def build(groups: Groups, spec: OptimizerSpec) -> torch.optim.Optimizer:
    """`torch.optim.AdamW` on groups that carry lr, weight_decay and eps.

    Source: docs of `torch.optim.AdamW`.

    >>> weight = torch.nn.Parameter(torch.ones(2))
    >>> groups = [{"params": [weight], "lr": 0.5, "weight_decay": 0.1, "eps": 1e-8}]
    >>> type(build(groups, OptimizerSpec(name="adamw"))).__name__
    'AdamW'
    """
    return torch.optim.AdamW(groups, lr=0.0, betas=spec.betas, fused=fused_where_possible(groups))


ADAMW = OptimizerFamily(
    name="adamw",
    rule=UpdateRule(),
    build=build,
    source=Source(title="Tensor Programs V", arxiv="2203.03466", where="Table 8; eps: docs/parametrize.md"),
    variants={},
)
