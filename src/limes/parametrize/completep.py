"""CompleteP: muP in width, residual branches times 1/m_L, so that every block learns features at every depth.

# Differs from arXiv:2505.01618 Table 1: eps goes by role, after the gradient entry of the tensor, and not by
# one value for residual blocks; and the independent decay contains the depth factor, which is 1 here anyway.
"""

from limes.core.source import Source
from limes.parametrize.scaling import Parametrization, maximal_update

COMPLETEP = Parametrization(
    name="completep",
    summary="muP, residual branches times 1/depth",
    source=Source(title="CompleteP", arxiv="2505.01618", where="Table 1"),
    width_rule=maximal_update,
    alpha=1.0,
    attention_power=0.5,
)
