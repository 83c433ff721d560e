"""Power laws in one size, with and without an irreducible part.

Source: Kaplan et al., arXiv:2001.08361, Eq. 1.1-1.3 (no floor); Henighan et al., arXiv:2010.14701, Eq. 1.1 (floor).
"""

from limes.core.source import Source
from limes.laws.form import Input, Law, Term, coefficient, exponent

_SIZE = Input(name="size", meaning="width, parameters, tokens or compute", domain=(64.0, 65536.0))
_AMPLITUDE = coefficient("A", "reducible part at size 1", example=8.0, unit="loss * size**alpha", start=(0.01, 1.0))
_ALPHA = exponent("alpha", "exponent of the size", example=0.35, start=(0.05, 2.0))

POWER_LAW = Law(
    name="power_law",
    formula="loss = A / size^alpha",
    source=Source(title="Kaplan et al. 2020", arxiv="2001.08361", where="Eq. 1.1-1.3"),
    inputs=(_SIZE,),
    parameters=(_AMPLITUDE, _ALPHA),
    terms=(Term(coefficient="A", falls={"size": "alpha"}),),
)

POWER_LAW_FLOOR = Law(
    name="power_law_floor",
    formula="loss = E + A / size^alpha",
    source=Source(title="Henighan et al. 2020", arxiv="2010.14701", where="Eq. 1.1"),
    inputs=(_SIZE,),
    parameters=(coefficient("E", "irreducible loss", example=1.7, unit="loss"), _AMPLITUDE, _ALPHA),
    terms=(Term(coefficient="E"), Term(coefficient="A", falls={"size": "alpha"})),
    floor="E",
)
