"""Optimizers, one file each: how they are built, and how their settings scale with the size of the
network.
"""

from collections.abc import Mapping
from types import MappingProxyType

import torch

from limes.core.errors import SpecError
from limes.optim.adam import ADAM
from limes.optim.adamw import ADAMW
from limes.optim.lion import LION, LionOptimizer
from limes.optim.muon import MUON
from limes.optim.rule import Groups, OptimizerFamily, UpdateRule
from limes.optim.sgd import SGD
from limes.optim.shampoo import SHAMPOO, shampoo_rule
from limes.optim.soap import SOAP, soap_rule
from limes.spec.training import OptimizerSpec

OPTIMIZERS: Mapping[str, OptimizerFamily] = MappingProxyType(
    {family.name: family for family in (SGD, ADAM, ADAMW, LION, MUON, SHAMPOO, SOAP)}
)


def build_optimizer(groups: Groups, spec: OptimizerSpec) -> torch.optim.Optimizer:
    """The optimizer that `spec` names, on groups that carry lr, weight_decay and eps; fused where it exists.

    Args:
        groups: As `limes.parametrize.group_parameters` returns them.
        spec: Name, momentum, betas.

    Source: the optimizer's own file.


    >>> weight = torch.nn.Parameter(torch.ones(2))
    >>> groups = [{"params": [weight], "lr": 0.5, "weight_decay": 0.1, "eps": 1e-8}]
    >>> type(build_optimizer(groups, OptimizerSpec())).__name__
    'AdamW'
    """
    family = OPTIMIZERS[spec.name]
    if family.build is None:
        raise SpecError(f"limes knows how {spec.name} scales but does not ship it; pass your own optimizer")
    return family.build(groups, spec)


__all__ = [
    "OPTIMIZERS",
    "LionOptimizer",
    "OptimizerFamily",
    "UpdateRule",
    "build_optimizer",
    "shampoo_rule",
    "soap_rule",
]
