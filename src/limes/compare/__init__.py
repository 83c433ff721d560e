"""Where parts meet: optima of real runs against each other, recommendation, forecast."""

from limes.compare.coord_check import coord_check
from limes.compare.coord_plans import sizes_between
from limes.compare.coord_result import Cause, CoordAxis, CoordCheck, CoordRow
from limes.compare.forecast import forecast_loss
from limes.compare.result import (
    DriftClaim,
    FixedLrRow,
    Forecast,
    LrCurve,
    PanelResult,
    Recommendation,
    TransferResult,
    rule_sentence,
)
from limes.compare.study import analyse_transfer
from limes.compare.transfer import analyse_panels, drift_claims, verdict_of

__all__ = [
    "Cause",
    "CoordAxis",
    "CoordCheck",
    "CoordRow",
    "DriftClaim",
    "FixedLrRow",
    "Forecast",
    "LrCurve",
    "PanelResult",
    "Recommendation",
    "TransferResult",
    "analyse_panels",
    "analyse_transfer",
    "coord_check",
    "drift_claims",
    "forecast_loss",
    "rule_sentence",
    "sizes_between",
    "verdict_of",
]
