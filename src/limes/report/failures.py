"""The page of `limes failures`: each failure with its sign, the steps of warning, and what the cures give."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from limes.compare.failures import WINDOW, FailureResult
from limes.measure.health import SIGNS
from limes.report.curves import file_stem
from limes.report.dynamics import Line, line_figure
from limes.report.page import Block, Cell, Figure, Grid, Page, Section, Table, Text, write_page
from limes.report.style import CATEGORIES, MUTED, category_color

COSTS = {"loss": "validation loss", "spike": "highest loss of the second half", "int8": "share of neurons lost to int8"}


def write_failures_report(results: Sequence[FailureResult], path: Path) -> None:
    """Write one HTML page that opens offline.

    Raises:
        StoreError: The file cannot be written.
    """
    write_page(failures_page(results), path)


def answer_lines(results: Sequence[FailureResult]) -> tuple[str, ...]:
    """What was found, one sentence for each failure."""
    return tuple(_sentence(name, [one for one in results if one.name == name]) for name in _names(results))


def failures_page(results: Sequence[FailureResult]) -> Page:
    """The same page, not yet rendered."""
    first = {name: next(one for one in results if one.name == name) for name in _names(results)}
    sections = [Section(anchor="all", title="All failures", blocks=(_table(results),))]
    sections += [
        Section(anchor=name, title=result.failure.title, blocks=_blocks(result)) for name, result in first.items()
    ]
    return Page(
        title="limes: failures made on purpose",
        question="Is each failure seen before the loss shows it, and cured?",
        answer=answer_lines(results),
        sections=tuple(sections),
        footer="Definitions and thresholds: docs/diagnostics.md. Written by limes. This file loads nothing.",
    )


def _names(results: Sequence[FailureResult]) -> list[str]:
    return list(dict.fromkeys(one.name for one in results))


def _sentence(name: str, results: Sequence[FailureResult]) -> str:
    failure = results[0].failure
    warnings = [one.warning for one in results]
    sign = failure.sign.replace("_", " ")
    if any(math.isnan(warning) for warning in warnings):
        seen = f"{sign} is not in danger with every seed"
    elif all(math.isinf(warning) for warning in warnings):
        seen = f"{sign} is in danger from step {_range([one.warned for one in results])}; the loss never shows it"
    elif max(warnings) <= 0:
        seen = f"{sign} is in danger only {_range([-warning for warning in warnings])} steps after the loss shows it"
    else:
        seen = f"{sign} is in danger {_range(warnings)} steps before the loss shows it"
    cures = "; ".join(
        f"{remedy}: {_range([one.cost(one.cured[remedy]) for one in results], digits=3)}" for remedy in failure.remedies
    )
    cost = _range([one.cost(one.broken) for one in results], digits=3)
    return f"{failure.title}: {seen}; {COSTS[failure.harm]} {cost}, with {cures}."


def _range(values: Sequence[float], *, digits: int = 0) -> str:
    low, high = min(values), max(values)
    return f"{low:.{digits}f}" if low == high else f"{low:.{digits}f} to {high:.{digits}f}"


def _table(results: Sequence[FailureResult]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for one in results:
        for remedy, run in one.cured.items():
            rows.append(
                (
                    one.failure.title,
                    one.seed,
                    one.failure.sign,
                    _step(one.warned),
                    _step(one.warning),
                    one.cost(one.broken),
                    remedy,
                    one.cost(run),
                    COSTS[one.failure.harm],
                    _step(one.shown),
                )
            )
    columns = ("failure", "seed", "sign", "danger at step", "warning, steps", "without", "remedy", "with", "of what")
    return Table(name="failures", columns=(*columns, "loss shows at step"), rows=tuple(rows))


def _step(value: float) -> Cell:
    return int(value) if math.isfinite(value) else None


def _blocks(result: FailureResult) -> tuple[Block, ...]:
    lines = [result.failure.cause]
    if result.spike is not None:
        end = result.spike.recovery_steps
        recovered = "it did not recover before the end" if end is None else f"it recovered within {end} steps"
        lines.append(f"The highest spike began at step {result.spike.start}; {recovered}.")
    return Text(lines=tuple(lines)), Grid(figures=(_loss_figure(result), _sign_figure(result)))


def _loss_figure(result: FailureResult) -> Figure:
    runs = {"without remedy": result.broken, **result.cured}
    # A spike is as short as it is; elsewhere the noise of batches would hide the difference.
    window = 1 if result.failure.harm == "spike" else WINDOW
    lines = [
        Line(
            label=label + (", its own term included" if label == "z-loss" else ""),
            x=np.arange(window - 1, len(run.loss), dtype=float),
            y=np.convolve(run.loss, np.ones(window) / window, "valid"),
            color=category_color(index),
        )
        for index, (label, run) in enumerate(runs.items())
    ]
    found = np.concatenate([line.y for line in lines])
    figure = line_figure(
        lines,
        title="Training loss" if window == 1 else f"Training loss, mean of {window} steps",
        name=f"{file_stem(result.name)}-loss",
        x_title="step",
        y_title="loss, nats per token",
        log_y=bool(found.max() > 10 * found.min()),
        caption=_caption(result),
    )
    _mark(figure, result)
    return figure


def _sign_figure(result: FailureResult) -> Figure:
    sign = SIGNS[result.failure.sign]
    runs = {"without remedy": result.broken, **result.cured}
    lines = []
    for index, (label, run) in enumerate(runs.items()):
        steps, worst = run.worst(result.failure.sign)
        lines.append(Line(label=label, x=steps, y=worst, color=category_color(index)))
    found = np.concatenate([line.y for line in lines])
    found = found[np.isfinite(found) & (found > 0)]
    figure = line_figure(
        lines,
        title=f"The sign: {sign.meaning}",
        name=f"{file_stem(result.name)}-sign",
        x_title="step",
        y_title=result.failure.sign.replace("_", " "),
        log_y=len(found) > 0 and bool(found.max() > 20 * found.min()),
        caption=f"At the worst place. Dotted: danger {'<=' if sign.falling else '>='} {sign.danger:g}.",
    )
    figure.plot.add_hline(y=sign.danger, line={"color": CATEGORIES[0][0], "width": 1.2, "dash": "dot"})
    _mark(figure, result)
    return figure


def _caption(result: FailureResult) -> str:
    warned, shown = "The sign is never in danger", "the loss never shows it"
    if math.isfinite(result.warned):
        warned = f"In danger from step {result.warned:.0f} (dashed)"
    if math.isfinite(result.shown):
        shown = f"the loss shows it at step {result.shown:.0f} (dotted)"
    return f"{warned}; {shown}."


def _mark(figure: Figure, result: FailureResult) -> None:
    for step, dash in ((result.warned, "dash"), (result.shown, "dot")):
        if math.isfinite(step):
            figure.plot.add_vline(x=step, line={"color": MUTED[0], "width": 1.2, "dash": dash})
