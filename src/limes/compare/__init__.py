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
from limes.compare.scales import Crossing, ScaleTrend, extrapolate, size_trend, trends_by_size
from limes.compare.study import analyse_transfer
from limes.compare.transfer import analyse_panels, drift_claims, verdict_of

__all__ = [
    "Cause",
    "CoordAxis",
    "CoordCheck",
    "CoordRow",
    "Crossing",
    "DriftClaim",
    "FixedLrRow",
    "Forecast",
    "LrCurve",
    "PanelResult",
    "Recommendation",
    "ScaleTrend",
    "TransferResult",
    "analyse_panels",
    "analyse_transfer",
    "coord_check",
    "drift_claims",
    "extrapolate",
    "forecast_loss",
    "rule_sentence",
    "sizes_between",
    "size_trend",
    "trends_by_size",
    "verdict_of",
]
