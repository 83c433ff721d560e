"""Routed language models: bilinear in the logarithms of dense size and number of experts, saturating in the latter.

Source: Clark et al., arXiv:2202.01169, Eq. 1-2: ln loss = a ln N + b ln E' + c ln N ln E' + d,
1/E' = 1/(E - 1 + 1/(1/E_start - 1/E_max)) + 1/E_max.
"""

import numpy as np

from limes.core.source import Source
from limes.laws.form import Columns, Input, Law, Parameter, Params, coefficient

REFERENCE = 1e8


def _curve(params: Params, columns: Columns) -> object:
    size = np.log(columns["num_params"] / REFERENCE)
    start, most = params["E_start"], params["E_start"] * (1.0 + params["E_ratio"])
    offset = 1.0 / (1.0 / start - 1.0 / most)
    experts = -np.log(1.0 / (columns["num_experts"] - 1.0 + offset) + 1.0 / most)
    return params["L_ref"] * np.exp(params["a"] * size + params["b"] * experts + params["c"] * size * experts)


# Differs from arXiv:2202.01169: the size is counted from 1e8 parameters, which changes b and the prefactor only, and
# E_max = E_start (1 + E_ratio), which keeps it above E_start.
MOE_ROUTING = Law(
    name="moe_routing",
    formula="ln loss = ln L_ref + a ln(num_params/1e8) + b ln E' + c ln(num_params/1e8) ln E'",
    source=Source(title="Clark et al. 2022", arxiv="2202.01169", where="Eq. 1-2"),
    inputs=(
        Input(name="num_params", meaning="parameters of the dense model", domain=(1e7, 1e9), kind="plain"),
        Input(name="num_experts", meaning="experts per routed layer", domain=(1.0, 512.0), kind="plain"),
    ),
    parameters=(
        coefficient("L_ref", "loss of 1e8 dense parameters and one expert", example=2.9, unit="loss", start=(0.5, 1.5)),
        Parameter(name="a", meaning="exponent of the size", example=-0.08, start=(-0.3, 0.0)),
        Parameter(name="b", meaning="exponent of the effective experts", example=-0.05, start=(-0.2, 0.0)),
        Parameter(name="c", meaning="how a larger model gains less from experts", example=0.01, start=(-0.02, 0.04)),
        coefficient("E_start", "experts below which routing does not help", example=1.9, unit="1", start=(1.0, 5.0)),
        coefficient("E_ratio", "saturation, E_max / E_start - 1", example=150.0, unit="1", start=(10.0, 1e3)),
    ),
    curve=_curve,
    cost=("num_params", "num_experts"),
)
