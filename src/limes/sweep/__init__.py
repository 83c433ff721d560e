"""From a study to its result table: expand, estimate, run on local workers, extend grids."""

from limes.sweep.build import PlannedRun, Workbench, build_run, expand, fill_model, plan_between, resize
from limes.sweep.cost import RunCost, run_cost
from limes.sweep.driver import SweepOutcome, SweepView, run_sweep
from limes.sweep.grid import Curve, Extension, initial_grid, missing_points
from limes.sweep.pool import available_cores

__all__ = [
    "Curve",
    "Extension",
    "PlannedRun",
    "RunCost",
    "SweepOutcome",
    "SweepView",
    "Workbench",
    "available_cores",
    "build_run",
    "expand",
    "fill_model",
    "initial_grid",
    "missing_points",
    "plan_between",
    "resize",
    "run_cost",
    "run_sweep",
]
