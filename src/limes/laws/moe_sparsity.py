"""Mixture of experts: loss against total parameters, tokens and the share of active parameters.

Source: Abnar et al., arXiv:2501.12370, the law with terms in 1 - sparsity; here active_fraction = 1 - sparsity.
"""

from limes.core.source import Source
from limes.laws.form import Input, Law, Term, coefficient, exponent

MOE_SPARSITY = Law(
    name="moe_sparsity",
    formula=(
        "loss = E + A / num_params^alpha + B / num_tokens^beta + F active_fraction^lam"
        " + G / (active_fraction^delta num_params^gamma)"
    ),
    source=Source(title="Abnar et al. 2025", arxiv="2501.12370", where="Section 4"),
    inputs=(
        Input(name="num_params", meaning="parameters, experts included", domain=(1e8, 2e10)),
        Input(name="num_tokens", meaning="training tokens", domain=(1e9, 3e11)),
        Input(name="active_fraction", meaning="active over total parameters", domain=(0.02, 1.0)),
    ),
    parameters=(
        coefficient("E", "irreducible loss", example=0.94, unit="loss"),
        coefficient("A", "finite-model part", example=16612.0, unit="loss * num_params**alpha"),
        coefficient("B", "finite-data part", example=5455.0, unit="loss * num_tokens**beta"),
        coefficient("F", "part that grows with the active share", example=0.46, unit="loss / active_fraction**lam"),
        coefficient("G", "sparse-model part", example=17.3, unit="loss * active_fraction**delta * num_params**gamma"),
        exponent("alpha", "exponent of the parameters", example=0.596),
        exponent("beta", "exponent of the tokens", example=0.395),
        exponent("lam", "exponent of the active share", example=0.167),
        exponent("delta", "exponent of the active share in the mixed term", example=0.16),
        exponent("gamma", "exponent of the parameters in the mixed term", example=0.16),
    ),
    terms=(
        Term(coefficient="E"),
        Term(coefficient="A", falls={"num_params": "alpha"}),
        Term(coefficient="B", falls={"num_tokens": "beta"}),
        Term(coefficient="F", grows={"active_fraction": "lam"}),
        Term(coefficient="G", falls={"active_fraction": "delta", "num_params": "gamma"}),
    ),
    floor="E",
    cost=("num_params", "num_tokens"),
)
