"""One loss against another: train to test, one corpus to another.

Source: Brandfonbrener et al., arXiv:2411.12925, Eq. 1: a shifted power law L_1 = K (L_0 - E_0)^kappa + E_1.
"""

import numpy as np

from limes.core.source import Source
from limes.laws.form import Columns, Input, Law, Params, coefficient, exponent


def _curve(params: Params, columns: Columns) -> object:
    excess = columns["source_loss"] - params["E_source"]
    excess = np.where(excess.real > 0, excess, np.nan)
    return params["E"] + params["K"] * np.exp(params["kappa"] * np.log(excess))


LOSS_TO_LOSS = Law(
    name="loss_to_loss",
    formula="loss = E + K (source_loss - E_source)^kappa",
    source=Source(title="Brandfonbrener et al. 2024", arxiv="2411.12925", where="Eq. 1"),
    inputs=(Input(name="source_loss", meaning="the loss that is known", domain=(2.0, 4.5)),),
    parameters=(
        coefficient("E", "irreducible part of the target", example=1.4, unit="loss", start=(0.2, 0.95)),
        coefficient("K", "amplitude", example=1.1, unit="loss / source_loss**kappa", start=(0.1, 2.0)),
        exponent("kappa", "exponent", example=1.1, start=(0.5, 2.0)),
        coefficient("E_source", "irreducible part of the source", example=1.6, unit="source_loss", start=(0.2, 0.9)),
    ),
    curve=_curve,
    floor="E",
)
