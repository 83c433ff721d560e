"""The additive law with repeated data: repetitions and excess parameters are worth less and less.

Source: Muennighoff et al., arXiv:2305.16264, Eq. 5-6 and 10-11.
Letters: U unique tokens, R_D repetitions beyond the first epoch, U_N the parameters that are optimal for U tokens.
"""

import numpy as np

from limes.core.source import Source
from limes.laws.form import Columns, Input, Law, Params, coefficient, exponent


def _curve(params: Params, columns: Columns) -> object:
    alpha, beta = params["alpha"], params["beta"]
    num_params, num_tokens = columns["num_params"], columns["num_tokens"]
    unique = np.minimum(columns["unique_tokens"], num_tokens)
    repeats = num_tokens / unique - 1.0
    data = unique * (1.0 + params["R_D"] * -np.expm1(-repeats / params["R_D"]))
    shape = np.exp((np.log(alpha * params["A"]) - np.log(beta * params["B"])) / (alpha + beta))
    matched = np.exp((beta / alpha) * np.log(unique * shape)) * shape
    base = np.where(matched.real < num_params, matched, num_params)
    excess = num_params / base - 1.0
    model = base * (1.0 + params["R_N"] * -np.expm1(-excess / params["R_N"]))
    return params["E"] + params["A"] * np.exp(-alpha * np.log(model)) + params["B"] * np.exp(-beta * np.log(data))


DATA_CONSTRAINED = Law(
    name="data_constrained",
    formula="loss = E + A / N'^alpha + B / D'^beta, N' and D' discounted for excess parameters and repeated tokens",
    source=Source(title="Muennighoff et al. 2023", arxiv="2305.16264", where="Eq. 5-6, 10-11"),
    inputs=(
        Input(name="num_params", meaning="trained parameters", domain=(5e7, 5e9)),
        Input(name="num_tokens", meaning="training tokens, repetitions counted", domain=(1e9, 3e11)),
        Input(name="unique_tokens", meaning="distinct tokens", domain=(3e8, 3e10), shares="num_tokens"),
    ),
    parameters=(
        coefficient("E", "irreducible loss", example=1.87, unit="loss", start=(0.2, 0.95)),
        coefficient(
            "A", "finite-model part at one parameter", example=521.0, unit="loss * num_params**alpha", start=(0.02, 0.5)
        ),
        coefficient(
            "B", "finite-data part at one token", example=1488.0, unit="loss * num_tokens**beta", start=(0.02, 0.5)
        ),
        exponent("alpha", "exponent of the parameters", example=0.35, low=0.01),
        exponent("beta", "exponent of the tokens", example=0.37, low=0.01),
        coefficient("R_D", "repetitions after which data are worth 1/e", example=15.4, unit="1", start=(1.0, 60.0)),
        coefficient(
            "R_N", "excess parameters after which they are worth 1/e", example=5.3, unit="1", start=(1.0, 60.0)
        ),
    ),
    curve=_curve,
    floor="E",
    cost=("num_params", "num_tokens"),
)
