"""Sparse upcycling of a dense checkpoint at fixed token budgets.

Source: the form of the benchmark arXiv:2604.22753: loss = e^d1 P^-a + e^d2 N^-b e^(c ln P ln N) + e^d3.
"""

from limes.core.source import Source
from limes.laws.form import Input, Law, Parameter, Term, coefficient, exponent

UPCYCLING = Law(
    name="upcycling",
    formula="loss = E + A / sparsity^alpha + B / active_params^beta * exp(mix ln sparsity ln active_params)",
    source=Source(title="ScaleBench", arxiv="2604.22753", where="upcycling"),
    inputs=(
        Input(name="sparsity", meaning="total over active parameters", domain=(1.0, 32.0), kind="plain"),
        # the mixed term is not closed under a change of this unit, so the unit is fixed
        Input(name="active_params", meaning="active parameters, 1e9", domain=(0.02, 2.0), kind="plain"),
    ),
    parameters=(
        coefficient("E", "irreducible loss", example=1.9, unit="loss"),
        coefficient("A", "dense part", example=0.3, unit="loss"),
        coefficient("B", "finite-model part", example=0.4, unit="loss"),
        exponent("alpha", "exponent of the sparsity", example=0.4),
        exponent("beta", "exponent of the active parameters", example=0.35),
        Parameter(name="mix", meaning="interaction", example=-0.03, low=-1.0, high=1.0, start=(-0.2, 0.2)),
    ),
    terms=(
        Term(coefficient="E"),
        Term(coefficient="A", falls={"sparsity": "alpha"}),
        Term(coefficient="B", falls={"active_params": "beta"}, mixed=(("sparsity", "active_params", "mix"),)),
    ),
    floor="E",
    cost=("sparsity", "active_params"),
)
