"""Muon: the momentum of a hidden matrix, orthogonalized; every other tensor follows AdamW.

Letters: rows and columns of the stored matrix. Torch multiplies the learning rate by a factor of the shape,
which the rule divides out; its decay uses the unmultiplied one, so the independent decay follows from that.
"""

from functools import partial

import torch

from limes.core.errors import PlanError
from limes.core.source import Source
from limes.optim.rule import Groups, OptimizerFamily, UpdateRule
from limes.spec.training import OptimizerSpec


def _original(rows: int, columns: int) -> float:
    return max(1.0, rows / columns) ** 0.5


def _match_rms(rows: int, columns: int) -> float:
    return 0.2 * max(rows, columns) ** 0.5


def build(groups: Groups, spec: OptimizerSpec) -> torch.optim.Optimizer:
    """`torch.optim.Muon` on groups of matrices; the groups of other tensors need an AdamW beside it.

    Raises:
        PlanError: A group holds a tensor that is no matrix.

    Source: docs of `torch.optim.Muon`.

    >>> weight = torch.nn.Parameter(torch.eye(2))
    >>> groups = [{"params": [weight], "lr": 0.5, "weight_decay": 0.1, "eps": 1e-7}]
    >>> type(build(groups, OptimizerSpec())).__name__
    'Muon'
    """
    shapes = [tuple(tensor.shape) for group in groups for tensor in group["params"] if tensor.dim() != 2]
    if shapes:
        raise PlanError(
            f"Muon takes matrices, got a tensor of shape {shapes[0]}; give it the groups whose `optimizer` is 'muon' "
            "and give the others to AdamW"
        )
    return torch.optim.Muon(groups, momentum=spec.momentum or 0.95)


_muon_rule = partial(UpdateRule, side_in=0.5, side_out=0.5, matrices_only=True)
MUON = OptimizerFamily(
    name="muon",
    rule=_muon_rule(shape_factor=_original),
    build=build,
    source=Source(title="code of 2512.05620", arxiv="2512.05620", where="general depth: docs/parametrize.md"),
    variants={
        "original": _muon_rule(shape_factor=_original),
        "match_rms_adamw": _muon_rule(shape_factor=_match_rms),
        "plain": _muon_rule(),
    },
)
