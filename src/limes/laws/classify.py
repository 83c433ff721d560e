"""Can a downstream metric be forecast from scale at all?

Evidence: rank correlation with scale, a straight line and a sigmoid against log scale judged by leave-one-out error,
turning points beyond the noise, and where the rise happens. The noise floor comes from the number of test items, chance
from the task; a range above chance below two noise floors is "trendless", and too few points abstain.

Source: classes: Lourie et al., arXiv:2507.00885, Section 3; thresholds: limes, docs/laws.md.
Letters: n points, x ln scale, y metric.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import kendalltau

from limes.core.errors import DataError
from limes.laws.form import Array

MIN_SCALES = 5
NOISY_SHARE = 0.35
PREDICTABLE_R2 = 0.8


class ScalingClass(StrEnum):
    """How a metric behaves with scale."""

    PREDICTABLE = "predictable"
    INVERSE = "inverse"
    NONMONOTONIC = "nonmonotonic"
    TRENDLESS = "trendless"
    NOISY = "noisy"
    BREAKTHROUGH = "breakthrough"
    NOT_ENOUGH_DATA = "not_enough_data"


@dataclass(frozen=True, kw_only=True, slots=True)
class Classification:
    """A class with its evidence.

    Args:
        kind: The class.
        sentence: Why, with numbers.
        evidence: Name to number: noise_floor, range, rank_correlation, smooth_r2, turn, share_of_rise_in_a_quarter.
    """

    kind: ScalingClass
    sentence: str
    evidence: Mapping[str, float]


def classify_scaling(
    scale: ArrayLike,
    metric: ArrayLike,
    *,
    num_items: int | None = None,
    chance: float = 0.0,
    larger_is_better: bool = True,
) -> Classification:
    """Class of one metric against scale.

    Args:
        scale: (n,) compute, parameters or tokens; positive.
        metric: (n,) accuracy between 0 and 1 where `num_items` is given, else any number.
        num_items: Test items behind the metric; gives the noise floor sqrt(p (1 - p) / num_items).
        chance: Metric of guessing.
        larger_is_better: False for errors and losses.

    Returns:
        A `Classification`.

    Raises:
        DataError: lengths differ, a scale is not positive, or accuracies leave [0, 1].

    Source: classes: arXiv:2507.00885, Section 3; thresholds: limes, docs/laws.md.

    >>> scale = np.geomspace(1e18, 1e22, 9)
    >>> classify_scaling(scale, 0.25 + 0.06 * np.arange(9), num_items=1000, chance=0.25).kind.value
    'predictable'
    """
    x, y = np.asarray(scale, dtype=float), np.asarray(metric, dtype=float)
    if x.shape != y.shape or x.ndim != 1:
        raise DataError(f"scale has shape {x.shape}, metric {y.shape}; give one number of each per run")
    kept = np.isfinite(x) & np.isfinite(y)
    x, y = x[kept], y[kept]
    if (x <= 0).any():
        raise DataError(f"scale is {x.min():g}; give positive numbers")
    if num_items is not None and ((y < 0) | (y > 1)).any():
        raise DataError(
            f"metric ranges over {y.min():g} to {y.max():g}; with num_items give accuracies between 0 and 1"
        )
    order = np.argsort(x, kind="stable")
    x, y = np.log(x[order]), (y[order] if larger_is_better else -y[order])
    base = chance if larger_is_better else -chance
    distinct = len(np.unique(x.round(6)))
    if distinct < MIN_SCALES:
        sentence = f"{distinct} distinct scales; at least {MIN_SCALES} are needed to call a trend."
        return Classification(kind=ScalingClass.NOT_ENOUGH_DATA, sentence=sentence, evidence={"num_scales": distinct})
    floor = _noise_floor(x, y, num_items, larger_is_better)
    return _decide(_evidence(x, y, base, floor))


def _evidence(x: Array, y: Array, chance: float, floor: float) -> dict[str, float]:
    smooth = _smooth(x, y)
    spread = float(np.quantile(y, 0.95) - np.quantile(y, 0.05))
    residual = float(np.std(y - smooth))
    variance = float(np.var(y))
    rises = smooth[-1] - smooth[0]
    turn = min(
        float((np.maximum.accumulate(smooth) - smooth).max()), float((smooth - np.minimum.accumulate(smooth)).max())
    )
    return {
        "noise_floor": floor,
        "range": spread,
        "above_chance": float(np.quantile(y, 0.95) - chance),
        "rank_correlation": float(kendalltau(x, y).statistic) if variance > 0 else 0.0,
        "smooth_r2": 1 - residual**2 / variance if variance > 0 else 0.0,
        "residual": residual,
        "rise": float(rises),
        "turn": turn,
        "share_of_rise_in_a_quarter": _steepest_share(x, y),
    }


def _decide(e: dict[str, float]) -> Classification:
    noise = max(e["noise_floor"], 1e-12)
    trend = abs(e["rise"])
    if e["range"] < 2 * noise or e["above_chance"] < 2 * noise:
        kind, why = ScalingClass.TRENDLESS, "its range, or its distance from chance, is below two noise floors"
    elif e["turn"] > 3 * noise and e["turn"] > NOISY_SHARE * e["range"] and e["turn"] > 2 * e["residual"]:
        kind, why = ScalingClass.NONMONOTONIC, "the trend turns back by more than noise and a third of the range"
    elif e["smooth_r2"] < PREDICTABLE_R2 and e["residual"] > 1.5 * noise:
        if abs(e["rank_correlation"]) < 0.3:
            kind, why = (
                ScalingClass.TRENDLESS,
                "rank correlation with scale is below 0.3 and scatter exceeds item noise",
            )
        else:
            kind, why = ScalingClass.NOISY, "there is a trend, but scatter between runs exceeds the item noise"
    elif e["rise"] < 0 and trend > 2 * noise:
        kind, why = ScalingClass.INVERSE, "it gets worse with scale"
    elif abs(e["rank_correlation"]) < 0.3:
        kind, why = ScalingClass.TRENDLESS, "rank correlation with scale is below 0.3"
    elif e["share_of_rise_in_a_quarter"] > 0.8:
        kind, why = ScalingClass.BREAKTHROUGH, "over 80 % of the rise happens within a quarter of the log range"
    else:
        kind, why = ScalingClass.PREDICTABLE, "it rises smoothly, by more than noise"
    sentence = (
        f"{kind.value}: {why} (range {e['range']:.3g}, noise floor {e['noise_floor']:.3g}, Kendall's tau "
        f"{e['rank_correlation']:.2f}, smooth R^2 {e['smooth_r2']:.2f})."
    )
    return Classification(kind=kind, sentence=sentence, evidence=e)


def _noise_floor(x: Array, y: Array, num_items: int | None, larger_is_better: bool) -> float:
    if num_items is not None:
        p = np.clip(y if larger_is_better else -y, 0.02, 0.98)
        return float(np.sqrt(np.mean(p * (1 - p)) / num_items))
    # without item counts: scatter of second differences, which a smooth trend does not contribute to
    if len(y) < 3:
        return 0.0
    seconds = y[2:] - 2 * y[1:-1] + y[:-2]
    return float(np.median(np.abs(seconds)) / 0.6745 / np.sqrt(6))


def _smooth(x: Array, y: Array) -> Array:
    """Local linear regression with tricube weights over half of the points."""
    reach = np.sort(np.abs(x[:, None] - x[None]), axis=1)[:, max(len(x) // 2, 3) - 1] * 1.001 + 1e-12
    fitted = np.empty_like(y)
    for i in range(len(x)):
        w = np.clip(1 - (np.abs(x - x[i]) / reach[i]) ** 3, 0, None) ** 3
        design = np.stack([np.ones_like(x), x - x[i]], 1) * np.sqrt(w)[:, None]
        fitted[i] = np.linalg.lstsq(design, y * np.sqrt(w), rcond=None)[0][0]
    return fitted


def _steepest_share(x: Array, y: Array) -> float:
    """Share of the whole rise within the steepest quarter of the log range, on running medians of three."""
    medians = np.concatenate(
        [[np.median(y[:2])], np.median(np.stack([y[:-2], y[1:-1], y[2:]]), axis=0), [np.median(y[-2:])]]
    )
    total = medians[-1] - medians[0]
    if total <= 0:
        return 0.0
    grid = np.linspace(x[0], x[-1], 201)
    values = np.interp(grid, x, medians)
    return float(np.max(values[50:] - values[:-50]) / total)
