"""Loss along a run with any learning-rate schedule.

Source: Tissue et al., arXiv:2408.11029, Eq. 1-2: L(s) = L_0 + A S_1^-alpha - C S_2 with the forward area
S_1 = sum_i lr_i and the annealing area S_2 = sum_i sum_{k<=i} (lr_{k-1} - lr_k) decay^(i-k).
"""

import numpy as np
from scipy.signal import lfilter

from limes.core.source import Source
from limes.laws.form import Array, Columns, Input, Law, Parameter, Params, coefficient, exponent


def schedule_areas(lr: Array, *, decay: float = 0.999) -> dict[str, Array]:
    """The two columns that `ANNEALING` reads, of one run.

    Args:
        lr: (num_steps,) learning rate at every optimizer step.
        decay: Momentum of the annealing area, per step; dimensionless.

    Returns:
        "lr_sum" and "lr_annealed", (num_steps,) each, in units of lr times steps.

    Source: arXiv:2408.11029, Eq. 2.

    >>> schedule_areas(np.array([1.0, 1.0, 0.5]))["lr_annealed"].tolist()
    [0.0, 0.0, 0.5]
    """
    drop = np.concatenate([[0.0], lr[:-1] - lr[1:]])
    momentum = lfilter([1.0], [1.0, -decay], drop)
    return {"lr_sum": np.cumsum(lr), "lr_annealed": np.cumsum(momentum)}


def _curve(params: Params, columns: Columns) -> object:
    forward = params["A"] * np.exp(-params["alpha"] * np.log(columns["lr_sum"]))
    return params["E"] + forward - params["C"] * columns["lr_annealed"]


ANNEALING = Law(
    name="annealing",
    formula="loss = E + A / lr_sum^alpha - C lr_annealed",
    source=Source(title="Tissue et al. 2024", arxiv="2408.11029", where="Eq. 1"),
    inputs=(
        Input(name="lr_sum", meaning="sum of the learning rate over steps", domain=(0.3, 30.0)),
        Input(
            name="lr_annealed",
            meaning="annealing area, see schedule_areas",
            domain=(0.0, 0.3),
            kind="linear",
            shares="lr_sum",
        ),
    ),
    parameters=(
        coefficient(
            "E", "loss after infinitely long constant learning rate", example=2.6, unit="loss", start=(0.2, 1.0)
        ),
        coefficient("A", "amplitude of the forward area", example=0.6, unit="loss * lr_sum**alpha", start=(0.02, 1.0)),
        exponent("alpha", "exponent of the forward area", example=0.5),
        Parameter(
            name="C",
            meaning="gain per annealing area",
            example=0.4,
            unit="loss / lr_sum",
            low=-1e3,
            high=1e3,
            start=(0.0, 3.0),
        ),
    ),
    curve=_curve,
    floor="E",
    cost=("lr_sum",),
)
