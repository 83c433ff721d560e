"""Scaling laws: forms, exact fits, forecasts with calibrated intervals, compute-optimal shapes, the next run.

`LAWS` is the table of all forms; a new one is one file plus one line here.
"""

from collections.abc import Mapping
from types import MappingProxyType

from limes.laws.annealing import ANNEALING, schedule_areas
from limes.laws.approaches import Optima, disagreements, envelope_optima, isoflop_optima, parametric_optima
from limes.laws.backtest import Backtest
from limes.laws.broken import BROKEN_POWER_LAW
from limes.laws.chinchilla import CHINCHILLA
from limes.laws.classify import Classification, ScalingClass, classify_scaling
from limes.laws.compare import Comparison, compare_laws
from limes.laws.data_constrained import DATA_CONSTRAINED
from limes.laws.design import Design, design_next
from limes.laws.downstream import DOWNSTREAM_EXPONENTIAL, DOWNSTREAM_SIGMOID
from limes.laws.exponential import EXPONENTIAL
from limes.laws.families import FamilyComparison, compare_families
from limes.laws.fit import LawFit, fit_law
from limes.laws.flags import Certificate, Flag
from limes.laws.form import Input, Law, Parameter, Term, coefficient, exponent
from limes.laws.interval import Prediction
from limes.laws.kaplan import KAPLAN, KAPLAN_FLOOR
from limes.laws.lint import Answer, Check, checklist, lint_table
from limes.laws.loss_to_loss import LOSS_TO_LOSS
from limes.laws.lr_batch import LR_BATCH
from limes.laws.moe_granularity import MOE_GRANULARITY
from limes.laws.moe_routing import MOE_ROUTING
from limes.laws.moe_sparsity import MOE_SPARSITY
from limes.laws.optimal import (
    RESIDUAL_BLOCK_PARAMS,
    TRAINING_FLOPS,
    Cost,
    Frontier,
    Penalty,
    budget_for_loss,
    frontier,
    near_optimal_range,
    shape_penalty,
)
from limes.laws.optimum import BATCH_OPTIMUM, LR_OPTIMUM
from limes.laws.over_training import OVER_TRAINING
from limes.laws.power_law import POWER_LAW, POWER_LAW_FLOOR
from limes.laws.profile import Profile
from limes.laws.shifted import SHIFTED_POWER_LAW
from limes.laws.table import read_table
from limes.laws.upcycling import UPCYCLING
from limes.laws.width_depth import WIDTH_DEPTH

LAWS: Mapping[str, Law] = MappingProxyType(
    {
        law.name: law
        for law in (
            POWER_LAW,
            POWER_LAW_FLOOR,
            SHIFTED_POWER_LAW,
            EXPONENTIAL,
            BROKEN_POWER_LAW,
            CHINCHILLA,
            KAPLAN,
            KAPLAN_FLOOR,
            OVER_TRAINING,
            DATA_CONSTRAINED,
            WIDTH_DEPTH,
            MOE_GRANULARITY,
            MOE_SPARSITY,
            MOE_ROUTING,
            UPCYCLING,
            LR_OPTIMUM,
            BATCH_OPTIMUM,
            LR_BATCH,
            LOSS_TO_LOSS,
            ANNEALING,
            DOWNSTREAM_SIGMOID,
            DOWNSTREAM_EXPONENTIAL,
        )
    }
)

__all__ = [
    "Optima",
    "disagreements",
    "envelope_optima",
    "isoflop_optima",
    "parametric_optima",
    "Backtest",
    "Classification",
    "ScalingClass",
    "classify_scaling",
    "Comparison",
    "compare_laws",
    "Design",
    "design_next",
    "FamilyComparison",
    "compare_families",
    "Certificate",
    "Flag",
    "Answer",
    "Check",
    "checklist",
    "lint_table",
    "RESIDUAL_BLOCK_PARAMS",
    "TRAINING_FLOPS",
    "Cost",
    "Frontier",
    "Penalty",
    "budget_for_loss",
    "frontier",
    "near_optimal_range",
    "shape_penalty",
    "Profile",
    "ANNEALING",
    "BATCH_OPTIMUM",
    "BROKEN_POWER_LAW",
    "CHINCHILLA",
    "DATA_CONSTRAINED",
    "DOWNSTREAM_EXPONENTIAL",
    "DOWNSTREAM_SIGMOID",
    "EXPONENTIAL",
    "Input",
    "KAPLAN",
    "KAPLAN_FLOOR",
    "LAWS",
    "LOSS_TO_LOSS",
    "LR_BATCH",
    "LR_OPTIMUM",
    "Law",
    "LawFit",
    "MOE_GRANULARITY",
    "MOE_ROUTING",
    "MOE_SPARSITY",
    "OVER_TRAINING",
    "POWER_LAW",
    "POWER_LAW_FLOOR",
    "Parameter",
    "Prediction",
    "SHIFTED_POWER_LAW",
    "Term",
    "UPCYCLING",
    "WIDTH_DEPTH",
    "coefficient",
    "exponent",
    "fit_law",
    "read_table",
    "schedule_areas",
]
