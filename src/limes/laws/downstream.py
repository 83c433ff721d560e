"""Accuracy of a task against loss, as a sigmoid, and error as an exponential.

Source: sigmoid: Bhagia et al., arXiv:2412.04403, Eq. 3; exponential: Gadre et al., arXiv:2403.08540, Eq. 5.
"""

import numpy as np

from limes.core.source import Source
from limes.laws.form import Columns, Input, Law, Parameter, Params, coefficient

_LOSS = Input(name="loss", meaning="loss or bits per byte of the task", domain=(0.5, 2.5))


def _sigmoid(params: Params, columns: Columns) -> object:
    rise = 1.0 / (1.0 + np.exp(params["k"] * (columns["loss"] - params["L_half"])))
    return params["chance"] + params["gain"] * rise


def _exponential(params: Params, columns: Columns) -> object:
    return params["eps"] - params["k"] * np.exp(-params["gamma"] * columns["loss"])


DOWNSTREAM_SIGMOID = Law(
    name="downstream_sigmoid",
    formula="accuracy = chance + gain / (1 + exp(k (loss - L_half)))",
    source=Source(title="Bhagia et al. 2024", arxiv="2412.04403", where="Eq. 3"),
    inputs=(_LOSS,),
    parameters=(
        Parameter(name="chance", meaning="accuracy at high loss", example=0.25, low=0.0, high=1.0, start=(0.0, 0.6)),
        Parameter(name="gain", meaning="rise to the best accuracy", example=0.7, low=0.0, high=1.0, start=(0.1, 1.0)),
        coefficient("k", "steepness", example=5.0, unit="1 / loss", start=(1.0, 40.0)),
        coefficient("L_half", "loss at half of the rise", example=1.2, unit="loss", start=(0.3, 1.5)),
    ),
    curve=_sigmoid,
    target="accuracy",
    target_kind="plain",
    scale="linear",
)

DOWNSTREAM_EXPONENTIAL = Law(
    name="downstream_exponential",
    formula="error = eps - k exp(-gamma loss)",
    source=Source(title="Gadre et al. 2024", arxiv="2403.08540", where="Eq. 5"),
    inputs=(_LOSS,),
    parameters=(
        Parameter(name="eps", meaning="error at high loss", example=0.75, low=0.0, high=1.5, start=(0.2, 1.0)),
        coefficient("k", "amplitude", example=1.8, unit="1", start=(0.1, 30.0)),
        coefficient("gamma", "rate", example=1.5, unit="1 / loss", start=(0.2, 10.0)),
    ),
    curve=_exponential,
    target="error",
    target_kind="plain",
    scale="linear",
)
