"""Where parts meet: optima of real runs against each other, recommendation, forecast."""

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
    "DriftClaim",
    "FixedLrRow",
    "Forecast",
    "LrCurve",
    "PanelResult",
    "Recommendation",
    "TransferResult",
    "analyse_panels",
    "analyse_transfer",
    "drift_claims",
    "forecast_loss",
    "rule_sentence",
    "verdict_of",
]
