"""Small reference networks, one file per family: plain modules without any scaling rule inside.

Each takes two factors that default to 1: a scale on its attention and a multiplier on its residual branches.
"""

from limes.models.build import MODELS, build_model, example_input, num_flops, num_params
from limes.models.module import check_module, read_source
from limes.models.sigma import sigma_reparametrize

__all__ = [
    "MODELS",
    "build_model",
    "check_module",
    "example_input",
    "num_flops",
    "num_params",
    "read_source",
    "sigma_reparametrize",
]
