"""The page of `limes theory dmft`: what the infinitely wide network does on the given data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from limes.report.dynamics import KERNEL_NOTE, Line, Sample, density_figure, kernel_figure, line_figure
from limes.report.page import Block, Figure, Folded, Grid, Page, Section, Table, write_page
from limes.report.style import MUTED, ramp_color
from limes.theory.dynamics import DMFTResult, solve_static_ntk


def write_dmft_report(results: Sequence[DMFTResult], path: Path, *, data: str) -> None:
    """Write solutions of one problem at several gamma0 as one HTML file that opens offline.

    Args:
        results: Solved with samples of the fields at the first and the last time.
        path: The file; it is replaced whole or not at all.
        data: How the data are called on the page.

    Raises:
        StoreError: The file cannot be written.
    """
    write_page(dmft_page(results, data=data), path)


def dmft_page(results: Sequence[DMFTResult], *, data: str) -> Page:
    """The same page, not yet rendered."""
    problem = results[0].problem
    sections = [Section(anchor="loss", title="Loss", blocks=_loss_blocks(results))]
    sections += [
        Section(
            anchor=f"gamma{index}", title=f"Kernels and fields at gamma0 = {result.problem.gamma0:g}", blocks=blocks
        )
        for index, result in enumerate(results)
        if (blocks := _field_blocks(result, index))
    ]
    sections.append(Section(anchor="numbers", title="What was solved", blocks=(_settings_table(results, data),)))
    return Page(
        title=f"limes: mean field dynamics on {data}",
        question="What does an infinitely wide network do while it learns?",
        answer=tuple(_sentence(result) for result in results),
        sections=tuple(sections),
        footer=(
            f"{problem.depth} hidden layers, {problem.activation.name}. Written by limes. "
            "This file loads nothing from the network."
        ),
    )


def _sentence(result: DMFTResult) -> str:
    gamma0, last = result.problem.gamma0, len(result.loss) - 1
    if result.status.value != "converged":
        return f"gamma0 {gamma0:g}: {result.status.sentence}"
    first, final = result.feature_kernel(result.problem.depth, 0), result.feature_kernel(result.problem.depth, last)
    moved = np.linalg.norm(final - first) / np.linalg.norm(first)
    return (
        f"At gamma0 {gamma0:g} the loss falls from {result.loss[0]:.3g} to {result.loss[-1]:.3g} in {last} steps, and "
        f"the last feature kernel moves by {moved:.0%}."
    )


def _loss_blocks(results: Sequence[DMFTResult]) -> tuple[Block, ...]:
    lines, t = [], np.arange(len(results[0].loss), dtype=float)
    for index, result in enumerate(results):
        line = Line(
            label=f"gamma0 {result.problem.gamma0:g}",
            x=t,
            y=result.loss,
            color=ramp_color(index, len(results)),
            low=result.loss - result.loss_error,
            high=result.loss + result.loss_error,
        )
        lines.append(line)
    problem = results[0].problem
    if not any(problem.decays):
        lazy = solve_static_ntk(problem).loss
        lines.append(Line(label="lazy limit (gamma0 to 0)", x=t, y=lazy, color=MUTED[0], dash="dash"))
    caption = "Bands: 95 % interval of the solver's own sampling error."
    figures = [
        line_figure(
            lines,
            title="The same on a logarithmic scale" if log else "Training loss of the infinitely wide network",
            name="loss-log" if log else "loss",
            x_title="step",
            y_title="half mean squared error",
            log_y=log,
            caption="" if log else caption,
        )
        for log in (False, True)
    ]
    return (Grid(figures=tuple(figures)),)


def _field_blocks(result: DMFTResult, index: int) -> tuple[Block, ...]:
    if result.status.value != "converged":
        return ()
    problem = result.problem
    order = np.argsort(problem.targets if problem.targets.ndim == 1 else problem.targets.argmax(1), kind="stable")
    shown = np.ix_(order, order)
    layers = range(1, problem.depth + 1)
    return (KERNEL_NOTE, *(Grid(figures=_layer_figures(result, layer, shown=shown, index=index)) for layer in layers))


def _layer_figures(result: DMFTResult, layer: int, *, shown: tuple[Any, ...], index: int) -> tuple[Figure, ...]:
    """Feature kernel, gradient kernel (with one output) and pre-activations of one layer."""
    last = len(result.loss) - 1
    kernels = {"feature": result.feature_kernel, "gradient": result.gradient_kernel}
    if result.problem.targets.ndim > 1:
        del kernels["gradient"]
    figures = [
        kernel_figure(
            [("before training", kernel(layer, 0)[shown]), (f"after {last} steps", kernel(layer, last)[shown])],
            title=f"Layer {layer}: {kind} kernel",
            name=f"{kind}-kernel-{layer}-{index}",
        )
        for kind, kernel in kernels.items()
    ]
    before, after = result.preactivations(layer, 0)[0], result.preactivations(layer, last)[0]
    fields = density_figure(
        [
            Sample(label="before training", values=before, color=MUTED[0], dash="dash"),
            Sample(label=f"after {last} steps", values=after, color=ramp_color(1, 3)),
        ],
        title=f"Layer {layer}: pre-activations of the first sample",
        name=f"preactivations-{layer}-{index}",
        x_title="pre-activation",
    )
    return (*figures, fields)


def _settings_table(results: Sequence[DMFTResult], data: str) -> Folded:
    problem = results[0].problem
    rows: list[tuple[str, str]] = [
        ("data", data),
        ("samples", str(problem.num_samples)),
        ("inputs per sample", str(problem.inputs.shape[1])),
        ("hidden layers", str(problem.depth)),
        ("activation", problem.activation.name),
        ("learning rate (units of gamma0^2 width)", f"{problem.lr:g}"),
        ("momentum", f"{problem.momentum:g}"),
    ]
    for result in results:
        stats = ", ".join(f"{name} {value:.4g}" for name, value in result.stats.items())
        rows.append((f"gamma0 {result.problem.gamma0:g}", f"{result.status.value}; {stats}"))
    return Folded(
        label="problem and solver", block=Table(name="problem", columns=("setting", "value"), rows=tuple(rows))
    )
