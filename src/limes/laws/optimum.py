"""How the best learning rate and batch size move with parameters and tokens.

Source: Li et al., arXiv:2503.04715, the step law: lr* = c N^p D^q, batch* = c D^r; fitted as a line in logarithms.
"""

from limes.core.source import Source
from limes.laws.form import Input, Law, Parameter, Term, coefficient

_PARAMS = Input(name="num_params", meaning="trained parameters", domain=(5e7, 1e10))
_TOKENS = Input(name="num_tokens", meaning="training tokens", domain=(1e9, 3e11))
_SOURCE = Source(title="Li et al. 2025", arxiv="2503.04715", where="step law")


def _power(name: str, meaning: str, example: float) -> Parameter:
    return Parameter(name=name, meaning=meaning, example=example, low=-3.0, high=3.0, start=(-1.0, 1.0))


LR_OPTIMUM = Law(
    name="lr_optimum",
    formula="lr = c num_params^p num_tokens^q",
    source=_SOURCE,
    inputs=(_PARAMS, _TOKENS),
    parameters=(
        coefficient(
            "c",
            "best learning rate at one parameter and one token",
            example=1.79,
            unit="lr / num_params**p / num_tokens**q",
        ),
        _power("p", "exponent of the parameters", -0.713),
        _power("q", "exponent of the tokens", 0.307),
    ),
    terms=(Term(coefficient="c", grows={"num_params": "p", "num_tokens": "q"}),),
    target="lr",
)

BATCH_OPTIMUM = Law(
    name="batch_optimum",
    formula="batch_size = c num_params^p num_tokens^r",
    source=_SOURCE,
    inputs=(_PARAMS, _TOKENS),
    parameters=(
        coefficient(
            "c",
            "best batch at one parameter and one token",
            example=0.58,
            unit="batch_size / num_params**p / num_tokens**r",
        ),
        _power("p", "exponent of the parameters, 0 in the source", 0.0),
        _power("r", "exponent of the tokens", 0.571),
    ),
    terms=(Term(coefficient="c", grows={"num_params": "p", "num_tokens": "r"}),),
    target="batch_size",
)
