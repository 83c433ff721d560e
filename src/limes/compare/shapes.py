"""Which ratios of depth to width are efficient: a law in width and depth, from a study that grows both.

Source: limes, docs/ranking.md; the law is `limes.laws.WIDTH_DEPTH`, the cost 12 width^2 depth parameters.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from limes.compare.forecast import losses_by_size
from limes.compare.result import PanelResult
from limes.core.errors import LimesError
from limes.laws import RESIDUAL_BLOCK_PARAMS, WIDTH_DEPTH, fit_law, near_optimal_range
from limes.laws.optimal import optimal_first
from limes.spec import StudySpec

TOLERANCE = 0.01
# A best ratio this many times outside those trained is no optimum that the runs can show.
FAR = 30.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EfficientShapes:
    """Ratios of depth to width at the cost of the largest network trained.

    Attributes:
        num_networks: Different shapes that the law rests on.
        block_params: The cost, 12 width^2 depth.
        best: Ratio of the fitted law, None where `why_not` says that there is none.
        low, high: Ratios between which its loss stays within `TOLERANCE` of the best.
    """

    parametrization: str
    num_networks: int
    block_params: float
    best: float | None = None
    low: float | None = None
    high: float | None = None
    why_not: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; what is not finite is None."""
        content = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: None if value in (np.inf, -np.inf) else value for name, value in content.items()}


def efficient_shapes(study: StudySpec, panels: Sequence[PanelResult]) -> tuple[EfficientShapes, ...]:
    """For every parametrization that the study grows in width and in depth.

    Args:
        study: The frozen study; its base gives the size that a panel does not grow.
        panels: Its results (`analyse_panels`).
    """
    by_name: dict[str, list[PanelResult]] = {}
    for panel in panels:
        by_name.setdefault(panel.parametrization, []).append(panel)
    grown = {name: mine for name, mine in by_name.items() if {"width", "depth"} <= {panel.axis for panel in mine}}
    return tuple(_shapes(study, name, mine) for name, mine in grown.items())


def _shapes(study: StudySpec, name: str, panels: Sequence[PanelResult]) -> EfficientShapes:
    # Parameters would not tell all networks apart: wide and shallow may have as many as narrow and deep.
    numbers: dict[tuple[int, int], int] = {}
    losses: dict[tuple[int, int], float] = {}
    for panel in panels:
        if panel.axis not in ("width", "depth"):
            continue
        for curve in panel.curves:
            base = {"width": study.model.width, "depth": study.model.depth, panel.axis: curve.size}
            number = numbers.setdefault((base["width"], base["depth"]), len(numbers))
            if curve.vertex.best_y is not None:
                losses.setdefault((number, curve.seed), curve.vertex.best_y)
    loss = losses_by_size(losses).by_size
    shapes = list(numbers)
    widths, depths = np.array([shapes[number] for number in loss], dtype=float).reshape(-1, 2).T
    budget = float(RESIDUAL_BLOCK_PARAMS.of(widths, depths).max()) if len(loss) else float("nan")
    found = EfficientShapes(parametrization=name, num_networks=len(loss), block_params=budget)
    try:
        fit = fit_law(WIDTH_DEPTH, {"width": widths, "depth": depths, "loss": list(loss.values())})
    except LimesError as error:
        return replace(found, why_not=f"No law could be fitted: {error}")
    width = float(optimal_first(fit.problem, fit.theta[None], np.array([budget]), cost=RESIDUAL_BLOCK_PARAMS)[0, 0])
    best = float(RESIDUAL_BLOCK_PARAMS.second_at(budget, width)) / width
    ratios = depths / widths
    if not ratios.min() / FAR < best < ratios.max() * FAR:
        side = "wider" if best < ratios.min() else "deeper"
        return replace(found, why_not=f"By the law of {len(loss)} networks the {side} is the better, without end.")
    low, high = near_optimal_range(fit, budget, tolerance=TOLERANCE, cost=RESIDUAL_BLOCK_PARAMS)
    return replace(found, best=best, low=low, high=high)
