"""Predicting a large run from small ones: a law fitted to narrow networks, and the wide one that it had not seen.

Source: arXiv:2203.15556 (a floor and a power law in parameters), arXiv:2203.03466 (tuned once, by muP).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from limes.compare.forecast import forecast_loss
from limes.compare.gallery.byte_gpt import gpt_study, setting_of, valley_panel
from limes.compare.gallery.picture import LEVEL, NEUTRAL, Curve, Panel, Picture, Reading
from limes.compare.result import Forecast, PanelResult
from limes.spec import StudySpec

LOSS = "loss of the largest network, nats per byte"


def study(reduced: bool) -> StudySpec:
    """The runs: muP over width, the largest width kept out of the fit."""
    sizes = (16, 32, 48, 64, 128) if reduced else (16, 32, 48, 64, 96, 256)
    seeds = (1,) * len(sizes) if reduced else (2, 2, 2, 1, 1, 1)
    return gpt_study(
        "gallery-forecast",
        axis="width",
        sizes=sizes,
        seeds=seeds,
        parametrizations=("mup",),
        steps=60 if reduced else 200,
        context=32 if reduced else 64,
    )


def draw(panels: Sequence[PanelResult], *, reduced: bool) -> Picture:
    """Fit all widths but the largest, forecast it, and lay it over the forecast."""
    whole = panels[0]
    stated = study(reduced)
    assert stated.training is not None
    found = _forecast(whole, num_tokens=stated.training.steps * stated.training.batch_size)
    measured = whole.best_loss[-1]
    assert measured is not None, "the largest network has a loss"
    readings = []
    if found.value is not None and found.low is not None and found.high is not None:
        reading = Reading(
            name=LOSS,
            measured=measured,
            half_width=0.5 * (found.high - found.low),
            expected=found.value,
            source="forecast from the narrower networks, its interval beside it",
        )
        readings.append(reading)
    factor = whole.num_params[-1] / whole.num_params[-2]
    forecast = "not possible" if found.value is None else f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"
    return Picture(
        question="Can the loss of a large run be known before it is trained?",
        answer=(
            f"From widths {whole.sizes[0]} to {whole.sizes[-2]} the loss at width {whole.sizes[-1]}, {factor:.1f} "
            f"times the parameters of the largest fitted, was forecast as {forecast}; trained, it is {measured:.3f}.",
            *found.warnings,
        ),
        panels=(_law_panel(whole, found, measured), valley_panel(whole, title="All runs, tuned at each width")),
        readings=tuple(readings),
        setting=setting_of(stated),
    )


def _forecast(whole: PanelResult, *, num_tokens: int) -> Forecast:
    """What the widths below the largest say about it."""
    kept = replace(
        whole,
        sizes=whole.sizes[:-1],
        num_params=whole.num_params[:-1],
        best_loss=whole.best_loss[:-1],
        log2_optimal_lr=whole.log2_optimal_lr[:-1],
        curves=tuple(curve for curve in whole.curves if curve.size != whole.sizes[-1]),
    )
    return forecast_loss(
        [kept],
        parametrization=whole.parametrization,
        target={"width": whole.sizes[-1]},
        num_params=whole.num_params[-1],
        num_tokens=num_tokens,
        level=LEVEL,
    )


def _law_panel(whole: PanelResult, found: Forecast, measured: float) -> Panel:
    fitted = np.array([[row["num_params"], row["loss"]] for row in found.sizes], dtype=float)
    curves = [
        Curve(label="fitted networks", x=fitted[:, 0], y=fitted[:, 1], color=0, style="points"),
        Curve(
            label="the largest, not seen by the fit",
            x=np.array([whole.num_params[-1]], dtype=float),
            y=np.array([measured]),
            color=1,
            style="points",
        ),
    ]
    if found.curve:
        x, y, low, high = (
            np.array([row[name] for row in found.curve]) for name in ("num_params", "value", "low", "high")
        )
        curves.append(Curve(label="law with its 95 % interval", x=x, y=y, color=NEUTRAL, low=low, high=high))
    return Panel(
        title="The law, and the network it had not seen",
        x_title="parameters",
        y_title="loss (nats per byte)",
        curves=tuple(curves),
        log_x=True,
    )
