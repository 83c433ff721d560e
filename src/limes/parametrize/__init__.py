"""Which initialization, learning rate, weight decay, eps and multiplier every tensor of a bigger model gets."""

from limes.parametrize.abc import AbcClass, Desiderata, Exponents, classify_abc, solve_abc
from limes.parametrize.apply import attach_multipliers, group_parameters, init_tensors_
from limes.parametrize.horizon import HORIZONS, HorizonRule
from limes.parametrize.plan import Plan
from limes.parametrize.planner import plan
from limes.parametrize.row import PlanRow
from limes.parametrize.scaling import Parametrization, Scales, TensorFacts
from limes.parametrize.table import PARAMETRIZATIONS, choose_parametrization

__all__ = [
    "HORIZONS",
    "PARAMETRIZATIONS",
    "AbcClass",
    "Desiderata",
    "Exponents",
    "HorizonRule",
    "Parametrization",
    "Plan",
    "PlanRow",
    "Scales",
    "TensorFacts",
    "attach_multipliers",
    "choose_parametrization",
    "classify_abc",
    "group_parameters",
    "init_tensors_",
    "plan",
    "solve_abc",
]
