"""Shampoo: a rule for its settings; bring the optimizer.

Letters: E total inverse power over the active sides; 1/2 is Adam-like (Shampoo with power 1/4 on each side),
0 would be SGD.
"""

from limes.core.errors import PlanError
from limes.core.source import Source
from limes.optim.rule import OptimizerFamily, UpdateRule


def shampoo_rule(*, inverse_power: float = 0.5, block_size: int | None = None) -> UpdateRule:
    """The rule for Shampoo with total inverse power `inverse_power`, blocked by `block_size`.

    Source: code of arXiv:2512.05620; general depth and eps: limes, docs/parametrize.md.

    >>> shampoo_rule(inverse_power=0.5).lr(1 / 4, 1 / 16, n_in=4, n_out=16)   # the aspect ratio^(1/2)
    2.0
    """
    if not 0 < inverse_power <= 1:
        raise PlanError(f"inverse_power {inverse_power} of Shampoo must lie in (0, 1]")
    return UpdateRule(
        gradient_power=1.0 - 2.0 * inverse_power,
        side_in=0.5,
        side_out=0.5,
        eps_power=2.0,
        block_in=inverse_power,
        block_out=inverse_power,
        eps_block_in=1.0,
        eps_block_out=1.0,
        block_size=block_size,
        matrices_only=True,
    )


SHAMPOO = OptimizerFamily(
    name="shampoo",
    rule=shampoo_rule(),
    build=None,
    source=Source(title="code of 2512.05620", arxiv="2512.05620", where="general depth: docs/parametrize.md"),
    variants={"power_half": shampoo_rule(), "power_one": shampoo_rule(inverse_power=1.0)},
)
