"""Depth-muP: muP in width, residual branches times m_L^-alpha; alpha = 1/2 by default."""

from limes.core.source import Source
from limes.parametrize.scaling import Parametrization, maximal_update

DEPTH_MUP = Parametrization(
    name="depth_mup",
    summary="muP, residual branches times depth^-alpha (1/2 by default)",
    source=Source(title="Tensor Programs VI", arxiv="2310.02244", where="Section 4, Table 1; also 2309.16620"),
    width_rule=maximal_update,
    alpha=0.5,
    attention_power=0.5,
    options=("alpha",),
)
