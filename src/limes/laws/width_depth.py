"""Separate corrections for finite width and finite depth.

Source: limes, docs/laws.md; the limits of infinite width and depth commute for residual networks with 1/sqrt(depth)
branches (arXiv:2309.16620), which is what makes the additive form sensible.
"""

from limes.core.source import Source
from limes.laws.form import Input, Law, Term, coefficient, exponent

WIDTH_DEPTH = Law(
    name="width_depth",
    formula="loss = E + A / width^alpha + B / depth^beta",
    source=Source(title="limes", where="docs/laws.md"),
    inputs=(
        Input(name="width", meaning="hidden units per layer", domain=(64.0, 8192.0)),
        Input(name="depth", meaning="residual blocks", domain=(2.0, 128.0)),
    ),
    parameters=(
        coefficient("E", "loss of the infinite network", example=2.0, unit="loss"),
        coefficient("A", "finite-width part at width 1", example=12.0, unit="loss * width**alpha"),
        coefficient("B", "finite-depth part at depth 1", example=0.8, unit="loss * depth**beta"),
        exponent("alpha", "exponent of the width", example=0.6, start=(0.05, 2.0)),
        exponent("beta", "exponent of the depth", example=0.8, start=(0.05, 2.0)),
    ),
    terms=(
        Term(coefficient="E"),
        Term(coefficient="A", falls={"width": "alpha"}),
        Term(coefficient="B", falls={"depth": "beta"}),
    ),
    floor="E",
)
