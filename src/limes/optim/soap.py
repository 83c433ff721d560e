"""SOAP: Adam in the eigenbasis of Shampoo, on both sides or one; a rule for its settings, bring the
optimizer.
"""

from typing import Literal

from limes.core.source import Source
from limes.optim.rule import OptimizerFamily, UpdateRule


def soap_rule(*, sides: Literal["both", "input", "output"] = "both", block_size: int | None = None) -> UpdateRule:
    """The rule for SOAP that rotates `sides` of a matrix, blocked by `block_size`.

    Source: code of arXiv:2512.05620; general depth and eps: limes, docs/parametrize.md.

    >>> soap_rule(sides="input").lr(1 / 4, 1 / 16, n_in=4, n_out=16)   # n_in^(-1/2)
    0.5
    """
    power_in = 0.5 if sides in ("both", "input") else 0.0
    power_out = 0.5 if sides in ("both", "output") else 0.0
    return UpdateRule(
        side_in=power_in,
        side_out=power_out,
        block_in=power_in,
        block_out=power_out,
        eps_block_in=power_in,
        eps_block_out=power_out,
        block_size=block_size,
        matrices_only=True,
    )


SOAP = OptimizerFamily(
    name="soap",
    rule=soap_rule(),
    build=None,
    source=Source(title="code of 2512.05620", arxiv="2512.05620", where="general depth: docs/parametrize.md"),
    variants={"both": soap_rule(), "input": soap_rule(sides="input"), "output": soap_rule(sides="output")},
)
