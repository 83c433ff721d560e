"""A power law with one smooth break.

Source: Caballero et al., arXiv:2210.14891, Eq. 1 with one break.
"""

import numpy as np

from limes.core.source import Source
from limes.laws.form import Columns, Input, Law, Parameter, Params, coefficient, exponent


def _curve(params: Params, columns: Columns) -> object:
    size = np.log(columns["size"])
    excess = (size - np.log(params["d"])) / params["f"]
    # ln(1 + e^x) without overflow, and differentiable by complex steps
    top = np.maximum(excess.real, 0.0)
    bend = params["f"] * (top + np.log(np.exp(excess - top) + np.exp(-top)))
    return params["E"] + params["A"] * np.exp(-params["c0"] * size - params["c1"] * bend)


BROKEN_POWER_LAW = Law(
    name="broken_power_law",
    formula="loss = E + A size^-c0 (1 + (size / d)^(1/f))^(-c1 f)",
    source=Source(title="Caballero et al. 2022", arxiv="2210.14891", where="Eq. 1"),
    inputs=(Input(name="size", meaning="width, parameters, tokens or compute", domain=(1e3, 1e8)),),
    parameters=(
        coefficient("E", "irreducible loss", example=0.5, unit="loss", start=(0.01, 1.0)),
        coefficient("A", "amplitude before the break", example=10.0, unit="loss * size**c0", start=(0.05, 3.0)),
        exponent("c0", "exponent before the break", example=0.08, low=-2.0, start=(0.0, 0.8)),
        exponent("c1", "change of the exponent at the break", example=0.4, low=-2.0, start=(-0.3, 1.0)),
        coefficient("d", "size at the break", example=3e5, unit="size", start=(0.01, 100.0)),
        Parameter(
            name="f",
            meaning="sharpness, decades over e of the break",
            example=0.4,
            positive=True,
            low=0.02,
            high=5.0,
            start=(0.1, 2.0),
        ),
    ),
    curve=_curve,
    floor="E",
)
