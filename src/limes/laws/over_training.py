"""The additive law with one exponent: a power law in compute at any fixed ratio of tokens to parameters.

Source: Gadre et al., arXiv:2403.08540, Eq. 4: with D = M N, loss = E + c_1 N^b + c_2 6^(b/2) (M N)^b. Here alpha = -b,
A = c_1 and B = c_2 6^(b/2).
"""

from limes.core.source import Source
from limes.laws.form import Input, Law, Term, coefficient, exponent

OVER_TRAINING = Law(
    name="over_training",
    formula="loss = E + A / num_params^alpha + B / num_tokens^alpha",
    source=Source(title="Gadre et al. 2024", arxiv="2403.08540", where="Eq. 4"),
    inputs=(
        Input(name="num_params", meaning="trained parameters", domain=(1e7, 1e10)),
        Input(name="num_tokens", meaning="training tokens", domain=(1e8, 3e11)),
    ),
    parameters=(
        coefficient("E", "irreducible loss", example=1.84, unit="loss"),
        coefficient("A", "finite-model part at one parameter", example=166.0, unit="loss * num_params**alpha"),
        coefficient("B", "finite-data part at one token", example=287.0, unit="loss * num_tokens**alpha"),
        exponent("alpha", "exponent of both", example=0.27),
    ),
    terms=(
        Term(coefficient="E"),
        Term(coefficient="A", falls={"num_params": "alpha"}),
        Term(coefficient="B", falls={"num_tokens": "alpha"}),
    ),
    floor="E",
)
