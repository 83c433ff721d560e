"""Loss at any learning rate and batch size: the additive law plus a bowl around the best ones.

Source: limes, docs/laws.md (bowl); Li et al., arXiv:2503.04715 (how the bottom moves). One fit to all runs of a sweep
uses the runs beside the optimum as well, where separate fits of optima use the best run of each group only.
"""

import numpy as np

from limes.core.source import Source
from limes.laws.form import Columns, Input, Law, Parameter, Params, coefficient, exponent


def _curve(params: Params, columns: Columns) -> object:
    size, tokens = np.log(columns["num_params"]), np.log(columns["num_tokens"])
    lr = np.log(columns["lr"]) - (np.log(params["lr0"]) + params["p"] * size + params["q"] * tokens)
    batch = np.log(columns["batch_size"]) - (np.log(params["batch0"]) + params["r"] * tokens)
    best = params["E"] + params["A"] * np.exp(-params["alpha"] * size) + params["B"] * np.exp(-params["beta"] * tokens)
    return best + params["k_lr"] * lr * lr + params["k_batch"] * batch * batch


LR_BATCH = Law(
    name="lr_batch",
    formula=(
        "loss = E + A / num_params^alpha + B / num_tokens^beta + k_lr ln(lr / (lr0 num_params^p num_tokens^q))^2"
        " + k_batch ln(batch_size / (batch0 num_tokens^r))^2"
    ),
    source=Source(title="limes", where="docs/laws.md"),
    inputs=(
        Input(name="num_params", meaning="trained parameters", domain=(5e7, 1e9)),
        Input(name="num_tokens", meaning="training tokens", domain=(1e9, 1e11)),
        Input(name="lr", meaning="peak learning rate", domain=(1e-4, 1e-2)),
        Input(name="batch_size", meaning="tokens per step", domain=(3e4, 4e6)),
    ),
    parameters=(
        coefficient("E", "irreducible loss", example=1.8, unit="loss", start=(0.4, 0.9)),
        coefficient(
            "A", "finite-model part at one parameter", example=480.0, unit="loss * num_params**alpha", start=(0.05, 0.3)
        ),
        coefficient(
            "B", "finite-data part at one token", example=2100.0, unit="loss * num_tokens**beta", start=(0.05, 0.3)
        ),
        exponent("alpha", "exponent of the parameters", example=0.35, start=(0.2, 0.7)),
        exponent("beta", "exponent of the tokens", example=0.37, start=(0.2, 0.7)),
        coefficient("k_lr", "curvature in ln lr", example=0.03, unit="loss", start=(3e-3, 0.1)),
        coefficient(
            "lr0",
            "best learning rate at one parameter and one token",
            example=1.79,
            unit="lr / num_params**p / num_tokens**q",
            start=(0.3, 3.0),
        ),
        Parameter(name="p", meaning="exponent of the best lr in the parameters", example=-0.71, start=(-1.0, 0.5)),
        Parameter(name="q", meaning="exponent of the best lr in the tokens", example=0.31, start=(-0.5, 0.5)),
        coefficient("k_batch", "curvature in ln batch size", example=0.02, unit="loss", start=(3e-3, 0.1)),
        coefficient(
            "batch0", "best batch at one token", example=0.58, unit="batch_size / num_tokens**r", start=(0.3, 3.0)
        ),
        Parameter(name="r", meaning="exponent of the best batch in the tokens", example=0.57, start=(0.0, 1.0)),
    ),
    curve=_curve,
    floor="E",
    cost=("num_params", "num_tokens"),
)
