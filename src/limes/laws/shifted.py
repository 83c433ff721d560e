"""A power law whose size is shifted: straight in log-log only beyond the shift.

Source: limes, docs/laws.md; the shift stands for what small sizes lack or have too much of (embedding parameters in
arXiv:2406.12907, Eq. 3, are one case).
"""

import numpy as np

from limes.core.source import Source
from limes.laws.form import Columns, Input, Law, Params, coefficient, exponent


def _curve(params: Params, columns: Columns) -> object:
    return params["E"] + params["A"] * np.exp(-params["alpha"] * np.log(columns["size"] + params["shift"]))


SHIFTED_POWER_LAW = Law(
    name="shifted_power_law",
    formula="loss = E + A / (size + shift)^alpha",
    source=Source(title="limes", where="docs/laws.md"),
    inputs=(Input(name="size", meaning="width, parameters, tokens or compute", domain=(16.0, 65536.0)),),
    parameters=(
        coefficient("E", "irreducible loss", example=1.5, unit="loss", start=(0.05, 1.0)),
        coefficient("A", "amplitude", example=30.0, unit="loss * size**alpha", start=(0.05, 1.0)),
        exponent("alpha", "exponent far beyond the shift", example=0.6),
        coefficient("shift", "size at which the law bends", example=200.0, unit="size", start=(1e-3, 3.0)),
    ),
    curve=_curve,
    floor="E",
)
