"""The additive law in parameters and tokens.

Source: Hoffmann et al., arXiv:2203.15556, Eq. 2 and 10.
"""

from limes.core.source import Source
from limes.laws.form import Input, Law, Term, coefficient, exponent

CHINCHILLA = Law(
    name="chinchilla",
    formula="loss = E + A / num_params^alpha + B / num_tokens^beta",
    source=Source(title="Hoffmann et al. 2022", arxiv="2203.15556", where="Eq. 10"),
    inputs=(
        Input(name="num_params", meaning="trained parameters", domain=(5e7, 1e10)),
        Input(name="num_tokens", meaning="training tokens", domain=(1e9, 3e11)),
    ),
    parameters=(
        coefficient("E", "irreducible loss", example=1.8, unit="loss"),
        coefficient("A", "finite-model part at one parameter", example=480.0, unit="loss * num_params**alpha"),
        coefficient("B", "finite-data part at one token", example=2100.0, unit="loss * num_tokens**beta"),
        exponent("alpha", "exponent of the parameters", example=0.35),
        exponent("beta", "exponent of the tokens", example=0.37),
    ),
    terms=(
        Term(coefficient="E"),
        Term(coefficient="A", falls={"num_params": "alpha"}),
        Term(coefficient="B", falls={"num_tokens": "beta"}),
    ),
    floor="E",
)
