"""Exponential approach to a floor.

Source: limes, docs/laws.md; used for error against loss and for losses of mixtures (arXiv:2403.16952).
"""

import numpy as np

from limes.core.source import Source
from limes.laws.form import Columns, Input, Law, Params, coefficient


def _curve(params: Params, columns: Columns) -> object:
    return params["E"] + params["A"] * np.exp(-params["k"] * columns["size"])


EXPONENTIAL = Law(
    name="exponential",
    formula="loss = E + A exp(-k size)",
    source=Source(title="limes", where="docs/laws.md"),
    inputs=(Input(name="size", meaning="any size", domain=(1.0, 40.0)),),
    parameters=(
        coefficient("E", "irreducible loss", example=1.5, unit="loss", start=(0.05, 1.0)),
        coefficient("A", "reducible part at size 0", example=2.0, unit="loss", start=(0.05, 5.0)),
        coefficient("k", "rate", example=0.12, unit="1 / size", start=(0.05, 5.0)),
    ),
    curve=_curve,
    floor="E",
)
