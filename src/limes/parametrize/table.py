"""The table of parametrizations: a new one is one file and one line here."""

from collections.abc import Mapping
from types import MappingProxyType

from limes.parametrize.completep import COMPLETEP
from limes.parametrize.depth_mup import DEPTH_MUP
from limes.parametrize.meanfield import MEANFIELD
from limes.parametrize.mup import MUP
from limes.parametrize.ntk import NTK
from limes.parametrize.scaling import Parametrization
from limes.parametrize.standard import STANDARD

PARAMETRIZATIONS: Mapping[str, Parametrization] = MappingProxyType(
    {member.name: member for member in (STANDARD, NTK, MEANFIELD, MUP, DEPTH_MUP, COMPLETEP)}
)
