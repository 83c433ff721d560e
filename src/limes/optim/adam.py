"""Adam; weight decay is part of the gradient, before it is normalized."""

import torch

from limes.core.source import Source
from limes.optim.rule import Groups, OptimizerFamily, UpdateRule, fused_where_possible
from limes.spec.training import OptimizerSpec


def build(groups: Groups, spec: OptimizerSpec) -> torch.optim.Optimizer:
    """`torch.optim.Adam` on groups that carry lr, weight_decay and eps.

    Source: docs of `torch.optim.Adam`.

    >>> weight = torch.nn.Parameter(torch.ones(2))
    >>> groups = [{"params": [weight], "lr": 0.5, "weight_decay": 0.0, "eps": 1e-8}]
    >>> type(build(groups, OptimizerSpec(name="adam"))).__name__
    'Adam'
    """
    return torch.optim.Adam(groups, lr=0.0, betas=spec.betas, fused=fused_where_possible(groups))


ADAM = OptimizerFamily(
    name="adam",
    rule=UpdateRule(decay_in_gradient=True),
    build=build,
    source=Source(title="Tensor Programs V", arxiv="2203.03466", where="Table 8"),
    variants={},
)
