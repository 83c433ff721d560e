"""Which initialization, learning rate, weight decay, eps and multiplier every tensor of a bigger model
gets.
"""

from collections.abc import Mapping
from types import MappingProxyType

from limes.parametrize.apply import attach_multipliers, group_parameters, init_tensors_
from limes.parametrize.completep import COMPLETEP
from limes.parametrize.depth_mup import DEPTH_MUP
from limes.parametrize.meanfield import MEANFIELD
from limes.parametrize.mup import MUP
from limes.parametrize.ntk import NTK
from limes.parametrize.scaling import Parametrization, Scales, TensorFacts
from limes.parametrize.standard import STANDARD

PARAMETRIZATIONS: Mapping[str, Parametrization] = MappingProxyType(
    {member.name: member for member in (STANDARD, NTK, MEANFIELD, MUP, DEPTH_MUP, COMPLETEP)}
)

__all__ = [
    "PARAMETRIZATIONS",
    "Parametrization",
    "Scales",
    "TensorFacts",
    "attach_multipliers",
    "group_parameters",
    "init_tensors_",
]
