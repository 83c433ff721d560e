"""Scaling laws: forms, exact fits, forecasts with calibrated intervals, compute-optimal shapes, the next run.

`LAWS` is the table of all forms; a new one is one file plus one line here.
"""

from collections.abc import Mapping
from types import MappingProxyType

from limes.laws.chinchilla import CHINCHILLA
from limes.laws.fit import LawFit, fit_law
from limes.laws.form import Input, Law, Parameter, Term, coefficient, exponent
from limes.laws.interval import Prediction
from limes.laws.power_law import POWER_LAW, POWER_LAW_FLOOR
from limes.laws.table import read_table

LAWS: Mapping[str, Law] = MappingProxyType({law.name: law for law in (POWER_LAW, POWER_LAW_FLOOR, CHINCHILLA)})

__all__ = [
    "CHINCHILLA",
    "Input",
    "LAWS",
    "Law",
    "LawFit",
    "POWER_LAW",
    "POWER_LAW_FLOOR",
    "Parameter",
    "Prediction",
    "Term",
    "coefficient",
    "exponent",
    "fit_law",
    "read_table",
]
