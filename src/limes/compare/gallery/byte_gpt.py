"""The byte GPT of the trained pictures: the study of its runs, and curves of loss against learning rate."""

from collections.abc import Mapping, Sequence

import numpy as np

from limes.compare.gallery.picture import LEVEL, Curve, Panel, Reading
from limes.compare.result import PanelResult
from limes.spec import StudySpec
from limes.spec.model import TransformerSpec
from limes.spec.study import GridSpec, PanelSpec, ParametrizationChoice
from limes.spec.training import TrainingSpec

BASE_WIDTH, BASE_DEPTH = 32, 2
SETTING = (
    "Byte GPT (2 blocks and width 32 at the base, heads of 16, context {context}) on the text that every Python "
    "carries, {steps} steps of {batch} windows, AdamW without decay, linear schedule with warm-up; learning rates one "
    "octave apart, the same batches for all of them. {seeds}"
)


def gpt_study(
    name: str,
    *,
    axis: str,
    sizes: Sequence[int],
    seeds: Sequence[int],
    parametrizations: Sequence[str],
    steps: int,
    context: int = 64,
    center_slope: Mapping[str, float] | None = None,
) -> StudySpec:
    """One panel of byte GPTs over width or depth, its grids centred where the base is best."""
    panel = PanelSpec.model_validate(
        {
            "axis": axis,
            "sizes": tuple(sizes),
            "seeds": tuple(seeds),
            "parametrizations": tuple(ParametrizationChoice(name=choice) for choice in parametrizations),
            "grid": GridSpec(center=-6.0, low=-13.0, high=0.0, center_slope=dict(center_slope or {})),
        }
    )
    return StudySpec(
        name=name,
        model=TransformerSpec(width=BASE_WIDTH, depth=BASE_DEPTH, head_dim=16, context=context),
        training=TrainingSpec(steps=steps, warmup_steps=steps // 10),
        panels=(panel,),
        recommend=ParametrizationChoice(name=parametrizations[-1]),
        level=LEVEL,
    )


def setting_of(study: StudySpec) -> str:
    """What was run, in a sentence."""
    panel = study.panels[0]
    seeds = ", ".join(f"{count} at {panel.axis} {size}" for size, count in zip(panel.sizes, panel.seeds, strict=True))
    assert isinstance(study.model, TransformerSpec)
    return SETTING.format(
        context=study.model.context,
        steps=study.training.steps,
        batch=study.training.batch_size,
        seeds=f"Seeds: {seeds}.",
    )


def valley_panel(result: PanelResult, *, title: str) -> Panel:
    """Loss against learning rate, a curve for each size: the mean over the seeds that all its learning rates have."""
    curves = []
    for color, size in enumerate(result.sizes):
        mine = [curve for curve in result.curves if curve.size == size]
        grid = sorted(set.intersection(*(set(curve.log2_lr) for curve in mine)))
        rows = [[dict(zip(curve.log2_lr, curve.loss, strict=True))[x] for x in grid] for curve in mine]
        losses = np.array([[np.nan if value is None else value for value in row] for row in rows])
        curves.append(Curve(label=f"{result.axis} {size}", x=np.array(grid), y=losses.mean(0), color=color))
    return Panel(
        title=title,
        x_title="log2 of the learning rate",
        y_title="loss (nats per byte)",
        curves=tuple(curves),
        ordered=True,
    )


def optimum_panel(results: Sequence[PanelResult], *, title: str, guides: Mapping[str, float]) -> Panel:
    """The best learning rate against size with its interval; guides, one a result, are octaves per doubling."""
    curves = []
    for color, result in enumerate(results):
        found = [
            (size, best, interval)
            for size, best, interval in zip(result.sizes, result.log2_optimal_lr, result.intervals, strict=True)
            if best is not None and interval is not None
        ]
        x, y = (np.array([row[index] for row in found], dtype=float) for index in (0, 1))
        low, high = (np.array([row[2][index] for row in found], dtype=float) for index in (0, 1))
        curves.append(Curve(label=result.parametrization, x=x, y=y, color=color, style="points", low=low, high=high))
    ends = np.array(results[0].sizes[:: len(results[0].sizes) - 1], dtype=float)
    start = results[0].log2_optimal_lr[0]
    for color, (label, slope) in enumerate(guides.items()):
        if start is not None:
            y = start + slope * np.log2(ends / ends[0])
            curves.append(Curve(label=label, x=ends, y=y, color=color, style="dash"))
    return Panel(
        title=title,
        x_title=results[0].axis,
        y_title="log2 of the best learning rate",
        curves=tuple(curves),
        log_x=True,
        ticks=tuple(float(size) for size in results[0].sizes),
    )


def drift_reading(name: str, result: PanelResult, *, expected: float | None, source: str) -> Reading:
    """How far the best learning rate moved from the smallest size to the largest, in octaves."""
    half = None
    if result.drift_interval is not None:
        half = 0.5 * (result.drift_interval[1] - result.drift_interval[0])
    measured = np.nan if result.drift_octaves is None else result.drift_octaves
    return Reading(name=name, measured=measured, half_width=half, expected=expected, source=source)


def octaves(result: PanelResult) -> str:
    """The drift for a sentence."""
    return "an unknown number of octaves" if result.drift_octaves is None else f"{result.drift_octaves:+.2f} octaves"
