"""Stochastic gradient descent, with or without momentum; weight decay is part of the gradient."""

import torch

from limes.core.source import Source
from limes.optim.rule import Groups, OptimizerFamily, UpdateRule, fused_where_possible
from limes.spec.training import OptimizerSpec


def build(groups: Groups, spec: OptimizerSpec) -> torch.optim.Optimizer:
    """`torch.optim.SGD` on groups that carry lr and weight_decay.

    Source: docs of `torch.optim.SGD`.

    >>> weight = torch.nn.Parameter(torch.ones(2))
    >>> groups = [{"params": [weight], "lr": 0.5, "weight_decay": 0.0}]
    >>> type(build(groups, OptimizerSpec(name="sgd", momentum=0.9))).__name__
    'SGD'
    """
    return torch.optim.SGD(groups, lr=0.0, momentum=spec.momentum, fused=fused_where_possible(groups))


SGD = OptimizerFamily(
    name="sgd",
    # Its L2 term is linear in the gradient, so that it moves like decoupled decay: by theta^2.
    rule=UpdateRule(gradient_power=1.0, eps_power=0.0),
    build=build,
    source=Source(title="Tensor Programs V", arxiv="2203.03466", where="Table 8"),
    variants={},
)
