"""The section on compute-optimal shapes: sizes against budget by every approach, IsoFLOP curves, wrong shapes."""

import numpy as np
import plotly.graph_objects as go

from limes.laws.fit import LawFit
from limes.laws.optimal import TRAINING_FLOPS
from limes.laws.summary import WRONG_SHAPES, Shapes
from limes.report.law_figures import band
from limes.report.page import Block, Cell, Figure, Section, Table, Text
from limes.report.style import CATEGORIES, DASHES, INK, ramp_color

NAMES = {
    "envelope": "approach 1, envelope",
    "isoflop": "approach 2, IsoFLOP parabolas",
    "parametric": "approach 3, fitted law",
}
REACH = 16.0


def frontier_section(shapes: Shapes, fit: LawFit) -> Section:
    """Best shapes at the budgets that were asked for."""
    blocks: list[Block] = []
    if shapes.warnings:
        blocks.append(Text(lines=shapes.warnings, bullets=True, tone="warning"))
    blocks += [_size_figure(shapes), _frontier_table(shapes), _approach_table(shapes)]
    if shapes.absent:
        blocks.append(Text(lines=shapes.absent, bullets=True, tone="quiet"))
    blocks += [_isoflop_figure(shapes, fit), _penalty_table(shapes)]
    return Section(anchor="frontier", title="Compute-optimal shapes", blocks=tuple(blocks))


def _size_figure(shapes: Shapes) -> Figure:
    best = shapes.frontier
    plot, rows = go.Figure(), []
    budgets = [float(budget) for budget in best.budget]
    for index, optima in enumerate(shapes.approaches):
        color = CATEGORIES[index][0]
        ends = np.array([optima.interval_at(budget) for budget in budgets])
        sizes = [optima.num_params_at(budget) for budget in budgets]
        if np.isfinite(ends).all():
            band(plot, budgets, ends[:, 0], ends[:, 1], color=color, name=f"{NAMES[optima.approach]}, interval")
            plot.data[-1].showlegend = False
        plot.add_scatter(
            x=budgets, y=sizes, mode="lines", name=NAMES[optima.approach],
            line={"color": color, "width": 2.2, "dash": DASHES[index]},
        )  # fmt: skip
        if optima.approach != "parametric":
            plot.add_scatter(
                x=optima.budget, y=optima.num_params, mode="markers", showlegend=False,
                marker={"color": color, "size": 7}, hovertemplate="%{x:.2g} FLOPs: %{y:.3s}<extra></extra>",
            )  # fmt: skip
        rows += [(optima.approach, b, n, *end) for b, n, end in zip(budgets, sizes, ends.tolist(), strict=True)]
    if not shapes.approaches:
        plot.add_scatter(x=budgets, y=best.first, mode="markers", name="fitted law", marker={"color": INK[0]})
    plot.update_layout(
        xaxis={"title": {"text": "FLOPs"}, "type": "log", "exponentformat": "power"},
        yaxis={"title": {"text": "best number of parameters"}, "type": "log", "exponentformat": "SI"},
    )
    return Figure(
        title="Best number of parameters against budget",
        plot=plot,
        table=Table(
            name="frontier-approaches", columns=("approach", "FLOPs", "parameters", "low", "high"), rows=tuple(rows)
        ),
        caption="Shaded: intervals by resampling. Points: optima read off the runs.",
        height=420,
    )


def _frontier_table(shapes: Shapes) -> Table:
    level = f"{shapes.frontier.level:.0%}"
    names = {"first": "parameters", "second": "tokens", "ratio": "tokens per parameter", "loss": "loss"}
    found = shapes.frontier.to_rows()
    columns = ["FLOPs"] + [
        heading for name in names.values() for heading in (name, f"{name}, low ({level})", f"{name}, high ({level})")
    ]
    numbers = tuple(
        (row["budget"], *(row[f"{short}{end}"] for short in names for end in ("", "_low", "_high"))) for row in found
    )
    words: tuple[tuple[Cell, ...], ...] = tuple(
        (
            row["budget"],
            *(f"{row[short]:.3g} ({row[f'{short}_low']:.3g} to {row[f'{short}_high']:.3g})" for short in names),
        )
        for row in found
    )
    return Table(
        name="frontier",
        columns=("FLOPs", *(f"{name} ({level})" for name in names.values())),
        rows=words,
        title="How to spend a budget",
        caption="By the fitted law; intervals by resampling rows, of the law's mean.",
        download=Table(name="frontier", columns=tuple(columns), rows=numbers),
    )


def _approach_table(shapes: Shapes) -> Table:
    rows = tuple((NAMES[o.approach], o.exponent, o.low, o.high, len(o.budget)) for o in shapes.approaches)
    columns = ("approach", "exponent of parameters in FLOPs", "low", "high", "budgets")
    return Table(name="approaches", columns=columns, rows=rows, title="The approaches side by side")


def _isoflop_figure(shapes: Shapes, fit: LawFit) -> Figure:
    plot, rows = go.Figure(), []
    best = shapes.frontier
    steps = np.geomspace(1 / REACH, REACH, 61)
    for k, budget in enumerate(best.budget):
        sizes = best.first[k] * steps
        loss = fit.value({"num_params": sizes, "num_tokens": TRAINING_FLOPS.second_at(budget, sizes)})
        color = ramp_color(k, len(best.budget))
        plot.add_scatter(
            x=steps, y=100 * (loss / best.loss[k] - 1), mode="lines", name=f"{budget:.2g} FLOPs",
            line={"color": color, "width": 2}, hovertemplate="%{x:.2f} × best size: +%{y:.2f} %<extra></extra>",
        )  # fmt: skip
        rows += [(float(budget), float(n), float(value)) for n, value in zip(sizes, loss, strict=True)]
    plot.update_layout(
        xaxis={"title": {"text": "parameters / best parameters, same FLOPs"}, "type": "log"},
        yaxis={"title": {"text": "loss above the best (%)"}},
    )
    return Figure(
        title="What a wrong shape costs in loss",
        plot=plot,
        table=Table(name="isoflop", columns=("FLOPs", "parameters", "loss"), rows=tuple(rows)),
        caption="The fitted law along lines of equal compute.",
    )


def _penalty_table(shapes: Shapes) -> Table:
    rows = tuple(
        (float(budget), factor, penalty.excess, 100 * (penalty.extra_compute - 1))
        for budget, penalties in zip(shapes.frontier.budget, shapes.penalties, strict=True)
        for factor, penalty in zip(WRONG_SHAPES, penalties, strict=True)
    )
    columns = ("FLOPs", "parameters / best", "excess loss", "compute wasted (%)")
    return Table(name="wrong-shapes", columns=columns, rows=rows, title="What a wrong shape costs")
