"""Mean-field parametrization with a feature-learning strength gamma0, relative to the base.

Multiplier form: hidden matrices behind m_in^(-1/2), the output behind 1/(gamma0 m_in); the learning rate is
multiplied by gamma0^2 m for SGD and by gamma0 for Adam. gamma0 = 1 trains as muP does; gamma0 -> 0 is lazy.
With gamma0 other than 1 the network differs from standard training at the base too: that is its purpose.
"""

from dataclasses import replace

from limes.core.source import Source
from limes.parametrize.scaling import Parametrization, Scales, TensorFacts, maximal_update


def width_rule(facts: TensorFacts, gamma0: float) -> Scales:
    """The maximal-update rule in mean-field form.

    Source: arXiv:2304.03408 Section 2 (f = w.phi/(gamma0 N), lr = eta0 gamma0^2 N).

    >>> facts = TensorFacts(name="w", template="w", role="hidden", m_in=4.0, m_out=4.0, is_matrix=True)
    >>> width_rule(facts, 1.0)
    Scales(init=0.5, change=0.25, gradient=0.25, multiplier=0.5)
    """
    scales = maximal_update(facts, gamma0)
    hidden = facts.is_matrix and not facts.at_output
    return replace(scales, multiplier=facts.m_in**-0.5) if hidden else scales


MEANFIELD = Parametrization(
    name="meanfield",
    summary="mean-field limit with feature-learning strength gamma0",
    source=Source(title="Self-consistent dynamical field theory", arxiv="2304.03408", where="Section 2"),
    width_rule=width_rule,
    attention_power=0.5,
    options=("gamma0",),
)
