"""The loss of a bigger network at the study's training tokens, with an interval, from the sizes that were trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from limes.compare.result import Forecast, PanelResult
from limes.core.errors import LimesError
from limes.laws import POWER_LAW_FLOOR, fit_law

MIN_SIZES = 4
MANY_SIZES = 8
LONG_DECADES = 1.0
LONG_GROWTH = 4
# Deviation of the best loss between seeds, nats, for a study with one seed per size: that of the full built-in study.
DEFAULT_NOISE = 0.016
NUM_CURVE_POINTS = 40


def forecast_loss(
    panels: Sequence[PanelResult],
    *,
    parametrization: str,
    target: dict[str, int],
    num_params: int,
    num_tokens: int,
    level: float,
) -> Forecast:
    """Fit a power law with floor to the best losses of one parametrization, and forecast the target.

    Value and interval are quantiles of one predictive distribution, the value its median. Few sizes leave several laws
    possible, and then the median is not the best fit, which may be the most extreme of them.

    Args:
        panels: Results of the study; sizes of all axes of `parametrization` enter, each network once.
        parametrization: Label of the recommended parametrization.
        target: Sizes of the target.
        num_params: Of the target.
        num_tokens: Training tokens (or samples) of every run, the target's included.
        level: Of the interval.

    Source: `limes.laws`; the interval is its posterior for short tables, plus the deviation between seeds.
    """
    mine = [panel for panel in panels if panel.parametrization == parametrization]
    rows = _rows(mine)
    largest = max((row["num_params"] for row in rows), default=num_params)
    decades = float(np.log10(num_params / largest))
    noise, noise_note = seed_noise(panels)
    warnings = [*noise_note, *_warnings(len(rows), decades), *_unresolved(mine), *_beyond(mine, target)]
    nothing = Forecast(
        target=target,
        num_params=num_params,
        num_tokens=num_tokens,
        level=level,
        value=None,
        low=None,
        high=None,
        law=POWER_LAW_FLOOR.formula,
        sizes=tuple(rows),
        curve=(),
        decades=decades,
        warnings=tuple(warnings),
    )
    if len(rows) < MIN_SIZES:
        short = f"A forecast needs a loss at {MIN_SIZES} sizes of {parametrization}; there are {len(rows)}."
        return replace(nothing, warnings=(short,))
    table = {"size": [row["num_params"] for row in rows], "loss": [row["loss"] for row in rows]}
    grid = np.geomspace(min(table["size"]), max(num_params, largest), NUM_CURVE_POINTS)
    try:
        fit = fit_law(POWER_LAW_FLOOR, table)
        misfit = np.array(table["loss"]) - fit.value({"size": table["size"]})
        # Where the law misses by more than the seeds scatter, what it cannot say is noise too.
        scatter = max(noise, float(np.sqrt(np.mean(misfit**2))))
        curve = fit.predict({"size": np.append(grid, num_params)}, level, noise_std=scatter)
    except LimesError as error:
        return replace(nothing, warnings=(*warnings, f"No law could be fitted: {error}"))
    points = tuple(
        {"num_params": float(size), "value": float(value), "low": float(low), "high": float(high)}
        for size, value, low, high in zip(grid, curve.value, curve.low, curve.high)
    )
    value, low, high = (float(numbers[-1]) for numbers in (curve.value, curve.low, curve.high))
    return replace(nothing, value=value, low=low, high=high, curve=points)


def _rows(panels: Sequence[PanelResult]) -> list[dict[str, Any]]:
    """One row per network: the base stands in every panel, but counts once."""
    best: dict[tuple[int, int], float] = {}
    places: dict[int, dict[str, Any]] = {}
    for panel in panels:
        for size, num_params in zip(panel.sizes, panel.num_params):
            places.setdefault(num_params, {"axis": panel.axis, "size": size, "num_params": num_params})
            for curve in panel.curves:
                if curve.size == size and curve.vertex.best_y is not None:
                    best.setdefault((num_params, curve.seed), curve.vertex.best_y)
    return [places[size] | {"loss": loss} for size, loss in losses_by_size(best).by_size.items()]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SizeLosses:
    """Losses of an additive model of size and seed.

    Attributes:
        by_size: Size to loss at the mean over all seeds.
        num_seeds: Size to number of seeds.
        squares, freedom: Sum of squared residuals, and what is left of the rows to judge it by.
    """

    by_size: dict[int, float]
    num_seeds: dict[int, int]
    squares: float
    freedom: int


def losses_by_size(losses: Mapping[tuple[int, int], float]) -> SizeLosses:
    """From (size, seed) to loss, to one loss for each size.

    Sizes may have different seeds, and a seed (its batches above all) favours all sizes alike, which an additive model
    of size and seed takes out.
    """
    sizes, seeds = sorted({key[0] for key in losses}), sorted({key[1] for key in losses})
    if not losses:
        return SizeLosses(by_size={}, num_seeds={}, squares=0.0, freedom=0)
    design = np.array(
        [
            [float(size == key[0]) for size in sizes] + [float(seed == key[1]) - 1 / len(seeds) for seed in seeds]
            for key in losses
        ]
    )
    values = np.array(list(losses.values()))
    solved, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
    return SizeLosses(
        by_size={size: float(loss) for size, loss in zip(sizes, solved)},
        num_seeds={size: sum(key[0] == size for key in losses) for size in sizes},
        squares=float(((values - design @ solved) ** 2).sum()),
        freedom=len(values) - int(rank),
    )


def seed_noise(panels: Sequence[PanelResult]) -> tuple[float, list[str]]:
    """Deviation of a best loss between seeds, pooled over all sizes; a sentence where it had to be assumed."""
    squares, freedom = 0.0, 0
    for panel in panels:
        for size in panel.sizes:
            best = [curve.vertex.best_y for curve in panel.curves if curve.size == size]
            known = np.array([value for value in best if value is not None])
            if len(known) > 1:
                squares += float(((known - known.mean()) ** 2).sum())
                freedom += len(known) - 1
    if freedom:
        return float(np.sqrt(squares / freedom)), []
    return DEFAULT_NOISE, [f"No size has two seeds: a deviation of {DEFAULT_NOISE:g} between seeds is assumed."]


def _warnings(num_sizes: int, decades: float) -> list[str]:
    warnings = []
    if num_sizes < MANY_SIZES:
        warnings.append(
            f"Only {num_sizes} sizes were trained: they hardly determine a floor and an exponent; the interval says so."
        )
    if decades > LONG_DECADES:
        warnings.append(
            f"The target has {10**decades:.0f} times the parameters of the largest network trained "
            f"({decades:.1f} decades): trust the interval, not the number."
        )
    return warnings


def _unresolved(panels: Sequence[PanelResult]) -> list[str]:
    places = [
        f"{panel.axis} {size}"
        for panel in panels
        for size, optimum, loss in zip(panel.sizes, panel.log2_optimal_lr, panel.best_loss)
        if optimum is None and loss is not None
    ]
    if not places:
        return []
    return [f"The optimum of {', '.join(dict.fromkeys(places))} was not found: the best loss tried stands for it."]


def _beyond(panels: Sequence[PanelResult], target: dict[str, int]) -> list[str]:
    """The law knows parameters only; say when the target grows along an axis far beyond what was trained."""
    warnings = []
    for axis, size in target.items():
        trained = max((panel.sizes[-1] for panel in panels if panel.axis == axis), default=None)
        if trained is not None and size > LONG_GROWTH * trained:
            warnings.append(
                f"The target has {axis} {size}, {size / trained:.0f} times the largest {axis} trained; the law counts "
                "parameters and does not know along which axis they were added."
            )
    return warnings
