"""Mixture of experts: finer experts improve the model part.

Source: Krajewski et al., arXiv:2402.07871, Eq. 9: loss = c + (g / G^gamma + a) / N^alpha + b / D^beta.
"""

from limes.core.source import Source
from limes.laws.form import Input, Law, Term, coefficient, exponent

MOE_GRANULARITY = Law(
    name="moe_granularity",
    formula="loss = E + (A + F / granularity^gamma) / num_params^alpha + B / num_tokens^beta",
    source=Source(title="Krajewski et al. 2024", arxiv="2402.07871", where="Eq. 9"),
    inputs=(
        Input(name="num_params", meaning="parameters, experts included", domain=(1e8, 1e10)),
        Input(name="num_tokens", meaning="training tokens", domain=(1e9, 3e11)),
        Input(name="granularity", meaning="dense hidden size over an expert's", domain=(1.0, 32.0)),
    ),
    parameters=(
        coefficient("E", "irreducible loss", example=0.47, unit="loss"),
        coefficient("A", "model part of infinitely fine experts", example=18.1, unit="loss * num_params**alpha"),
        coefficient(
            "F", "model part that fineness removes", example=2.1, unit="loss * num_params**alpha * granularity**gamma"
        ),
        coefficient("B", "finite-data part at one token", example=30.8, unit="loss * num_tokens**beta"),
        exponent("alpha", "exponent of the parameters", example=0.115),
        exponent("beta", "exponent of the tokens", example=0.147),
        exponent("gamma", "exponent of the granularity", example=0.58),
    ),
    terms=(
        Term(coefficient="E"),
        Term(coefficient="A", falls={"num_params": "alpha"}),
        Term(coefficient="F", falls={"num_params": "alpha", "granularity": "gamma"}),
        Term(coefficient="B", falls={"num_tokens": "beta"}),
    ),
    floor="E",
    cost=("num_params", "num_tokens"),
)
