"""The table of parametrizations: a new one is one file and one line here."""

from collections.abc import Mapping
from types import MappingProxyType

from limes.core.errors import PlanError
from limes.parametrize.completep import COMPLETEP
from limes.parametrize.depth_mup import DEPTH_MUP
from limes.parametrize.meanfield import MEANFIELD
from limes.parametrize.mup import MUP
from limes.parametrize.ntk import NTK
from limes.parametrize.scaling import Parametrization
from limes.parametrize.standard import STANDARD
from limes.spec.study import ParametrizationChoice

PARAMETRIZATIONS: Mapping[str, Parametrization] = MappingProxyType(
    {member.name: member for member in (STANDARD, NTK, MEANFIELD, MUP, DEPTH_MUP, COMPLETEP)}
)


def choose_parametrization(
    value: str | Parametrization | ParametrizationChoice, *, alpha: float | None = None, gamma0: float | None = None
) -> Parametrization:
    """A member of the table, by name or by a study's choice, with its options set.

    Raises:
        PlanError: The name is unknown, or the member has no such option.

    >>> choose_parametrization("depth_mup", alpha=0.75).alpha
    0.75
    """
    if isinstance(value, Parametrization):
        return value.configure(alpha=alpha, gamma0=gamma0)
    if isinstance(value, ParametrizationChoice):
        alpha, gamma0, value = value.alpha, value.gamma0, value.name
    if value not in PARAMETRIZATIONS:
        raise PlanError(f"parametrization {value!r} is unknown; known: {', '.join(PARAMETRIZATIONS)}")
    return PARAMETRIZATIONS[value].configure(alpha=alpha, gamma0=gamma0)
