"""Maximal update parametrization (muP): width transfers, depth has no rule."""

from limes.core.source import Source
from limes.parametrize.scaling import Parametrization, maximal_update

MUP = Parametrization(
    name="mup",
    summary="maximal update in width, no rule for depth",
    source=Source(title="Tensor Programs V", arxiv="2203.03466", where="Table 8"),
    width_rule=maximal_update,
    attention_power=0.5,
)
