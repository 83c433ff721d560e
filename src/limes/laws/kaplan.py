"""The joint law of Kaplan et al. in parameters and tokens, without and with an irreducible part.

Source: Kaplan et al., arXiv:2001.08361, Eq. 1.5: L = ((N_c / N)^(alpha/beta) + D_c / D)^beta.
Differs from the source in letters only: A = N_c^alpha and B = D_c^beta, so that A and B mean
what they mean in the additive law, and both power laws are the limits.
"""

import numpy as np

from limes.core.source import Source
from limes.laws.form import Columns, Input, Law, Params, coefficient, exponent

_INPUTS = (
    Input(name="num_params", meaning="trained parameters", domain=(5e7, 1e10)),
    Input(name="num_tokens", meaning="training tokens", domain=(1e9, 3e11)),
)
_PARAMETERS = (
    coefficient(
        "A", "finite-model part at one parameter", example=480.0, unit="loss * num_params**alpha", start=(0.03, 1.0)
    ),
    coefficient(
        "B", "finite-data part at one token", example=2100.0, unit="loss * num_tokens**beta", start=(0.03, 1.0)
    ),
    exponent("alpha", "exponent of the parameters", example=0.35, low=0.01, start=(0.05, 1.0)),
    exponent("beta", "exponent of the tokens", example=0.37, low=0.01, start=(0.05, 1.0)),
)
_SOURCE = Source(title="Kaplan et al. 2020", arxiv="2001.08361", where="Eq. 1.5")


def _joint(params: Params, columns: Columns) -> object:
    beta = params["beta"]
    model = (np.log(params["A"]) - params["alpha"] * np.log(columns["num_params"])) / beta
    data = (np.log(params["B"]) - beta * np.log(columns["num_tokens"])) / beta
    top = np.maximum(model.real, data.real)
    return np.exp(beta * (top + np.log(np.exp(model - top) + np.exp(data - top))))


def _joint_with_floor(params: Params, columns: Columns) -> object:
    return params["E"] + _joint(params, columns)


KAPLAN = Law(
    name="kaplan",
    formula="loss = ((A / num_params^alpha)^(1/beta) + (B / num_tokens^beta)^(1/beta))^beta",
    source=_SOURCE,
    inputs=_INPUTS,
    parameters=_PARAMETERS,
    curve=_joint,
)

KAPLAN_FLOOR = Law(
    name="kaplan_floor",
    formula="loss = E + ((A / num_params^alpha)^(1/beta) + (B / num_tokens^beta)^(1/beta))^beta",
    source=_SOURCE,
    inputs=_INPUTS,
    parameters=(coefficient("E", "irreducible loss", example=1.8, unit="loss", start=(0.05, 0.95)), *_PARAMETERS),
    curve=_joint_with_floor,
    floor="E",
)
