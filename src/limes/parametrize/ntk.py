"""The lazy (neural tangent kernel) parametrization: features move as width^(-1/2), outputs by order one.

Multiplier form: every matrix behind m_in^(-1/2) with init std as at the base, one learning rate for SGD; for
Adam the learning rates fall as m^(-1/2), m^-1, m^(-1/2) for input, hidden and output tensors.
"""

from limes.core.source import Source
from limes.parametrize.scaling import Parametrization, Scales, TensorFacts


def width_rule(facts: TensorFacts, gamma0: float) -> Scales:
    """Change and gradient of the effective weights in the kernel regime.

    # Differs from arXiv:2407.05872: its "NTK" row takes the largest rate that this init allows, at which
    # features move and logits then drift as width^(1/2); here the rate is the lazy one.

    Source: arXiv:1806.07572; the Adam exponents: limes, docs/parametrize.md.

    >>> facts = TensorFacts(name="w", template="w", role="hidden", m_in=4.0, m_out=4.0, is_matrix=True)
    >>> width_rule(facts, 1.0)
    Scales(init=0.5, change=0.125, gradient=0.5, multiplier=0.5)
    """
    std = facts.m_in**-0.5
    return Scales(
        init=std,
        change=facts.m_out**-0.5 / facts.m_in,
        gradient=facts.m_out**-0.5,
        multiplier=std if facts.is_matrix else 1.0,
    )


NTK = Parametrization(
    name="ntk",
    summary="lazy limit: fixed kernel, features move as width^(-1/2)",
    source=Source(title="Neural tangent kernel", arxiv="1806.07572", where="Section 3"),
    width_rule=width_rule,
)
