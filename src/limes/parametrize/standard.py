"""Standard training: weights of variance 1/fan-in, the same learning rate, eps and decay for every tensor.

Source: the common practice that arXiv:2203.03466 Table 3 calls standard parametrization.
"""

from limes.core.source import Source
from limes.parametrize.scaling import Parametrization, Scales, TensorFacts


def width_rule(facts: TensorFacts, gamma0: float) -> Scales:
    """The init std of a matrix falls as fan-in^(-1/2); nothing else changes.

    Source: arXiv:2203.03466 Table 3, gray entries.

    >>> width_rule(TensorFacts(name="w", template="w", role="hidden", m_in=4.0, m_out=4.0), 1.0).init
    0.5
    """
    return Scales(init=facts.m_in**-0.5)


STANDARD = Parametrization(
    name="standard",
    summary="variance 1/fan-in, one learning rate for all tensors",
    source=Source(title="Tensor Programs V", arxiv="2203.03466", where="Table 3, gray"),
    width_rule=width_rule,
    plain=True,
)
