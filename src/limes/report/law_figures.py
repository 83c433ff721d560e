"""Plots of one fit: data, residuals, extrapolation, backtest, correlations."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from limes.laws.form import Array, Index
from limes.laws.summary import Summary
from limes.report.page import Cell, Figure, Table
from limes.report.style import CATEGORIES, INK, MUTED, ramp_color, symbol, translucent

MAX_CURVES = 6


def cost_label(summary: Summary) -> str:
    """What the cost axis counts."""
    names = summary.fit.law.cost_names
    if set(names) == {"num_params", "num_tokens"}:
        return "parameters × tokens"
    return " × ".join(name.replace("_", " ") for name in names)


def costs(summary: Summary, points: dict[str, Array] | None = None) -> Array:
    """(n,) cost of the fitted rows, or of points, in the table's units."""
    law, problem = summary.fit.law, summary.fit.problem
    columns = points or {name: problem.columns[name] * problem.scales[name] for name in law.input_names}
    return np.asarray(np.prod([columns[name] for name in law.cost_names], axis=0))


def observed(summary: Summary) -> Array:
    """(n,) target of the fitted rows, in the table's units."""
    return summary.fit.problem.target * summary.fit.problem.scales[summary.fit.law.target]


def data_figure(summary: Summary) -> Figure:
    """Measured and fitted target against the last input, one curve per value (or group of values) of the first."""
    fit = summary.fit
    names = [column.name for column in fit.law.inputs if column.kind == "log"] or list(fit.law.input_names)
    along = names[-1]
    columns = {name: fit.problem.columns[name] * fit.problem.scales[name] for name in fit.law.input_names}
    loss = observed(summary)
    plot = go.Figure()
    for index, (rows, label) in enumerate(_groups(columns[names[0]] if len(names) > 1 else None)):
        count = 1 if len(names) == 1 else min(MAX_CURVES, len(np.unique(columns[names[0]])))
        color = CATEGORIES[1][0] if len(names) == 1 else ramp_color(index, count)
        middle = {name: np.full(50, np.exp(np.log(np.maximum(v[rows], 1e-300)).mean())) for name, v in columns.items()}
        middle[along] = np.geomspace(columns[along][rows].min(), columns[along][rows].max(), 50)
        plot.add_scatter(
            x=columns[along][rows], y=loss[rows], mode="markers", name=label, legendgroup=label,
            marker={"color": color, "symbol": symbol(index), "size": 7},
            hovertemplate=f"{along} %{{x:.3s}}<br>{fit.law.target} %{{y:.4f}}<extra>{label}</extra>",
        )  # fmt: skip
        plot.add_scatter(
            x=middle[along], y=fit.value(middle), mode="lines", legendgroup=label, showlegend=False,
            line={"color": color, "width": 1.6}, hoverinfo="skip",
        )  # fmt: skip
    if len(names) > 1:
        plot.update_layout(legend={"title": {"text": f"{names[0].replace('_', ' ')}:  "}})
    plot.update_layout(
        xaxis={"title": {"text": along.replace("_", " ")}, "type": "log", "exponentformat": "SI"},
        yaxis={"title": {"text": fit.law.target}, "type": "log" if (loss > 0).all() and np.ptp(loss) > 1 else "linear"},
    )
    table = Table(
        name="data-and-fit",
        columns=(*columns, fit.law.target, "fitted"),
        rows=tuple(
            (*(float(column[k]) for column in columns.values()), float(loss[k]), float(value))
            for k, value in enumerate(fit.value(columns))
        ),
    )
    grouped = f" Each curve is the law at the middle of its group of {names[0].replace('_', ' ')}."
    return Figure(
        title="Measured runs and the fitted law",
        plot=plot,
        table=table,
        caption=f"Points: runs. Lines: {fit.law.formula}." + (grouped if len(names) > 1 else ""),
        height=430,
    )


def _groups(column: Array | None) -> list[tuple[Index | slice, str]]:
    """Rows by value of a column, or by range where there are many values; smallest first."""
    if column is None:
        return [(slice(None), "measured")]
    values = np.unique(column)
    if len(values) <= MAX_CURVES:
        return [(np.flatnonzero(column == value), f"{value:.3g}") for value in values]
    edges = np.quantile(column, np.linspace(0, 1, MAX_CURVES + 1))
    numbers = np.clip(np.searchsorted(edges, column, side="right") - 1, 0, MAX_CURVES - 1)
    return [
        (np.flatnonzero(numbers == k), f"{edges[k]:.2g} to {edges[k + 1]:.2g}")
        for k in range(MAX_CURVES)
        if (numbers == k).any()
    ]


def residual_figure(summary: Summary) -> Figure:
    """Residuals against cost, with the band that holds 90 % of them."""
    fit = summary.fit
    scale, unit = (100.0, "%") if fit.problem.log_residuals else (fit.problem.scales[fit.law.target], fit.law.target)
    x, y = costs(summary), -fit.residuals * scale
    order = np.argsort(x)
    plot = go.Figure()
    low, high = np.quantile(y, [0.05, 0.95])
    color = CATEGORIES[1][0]
    plot.add_hrect(y0=low, y1=high, fillcolor=translucent(color), line_width=0)
    plot.add_hline(y=0, line={"color": MUTED[0], "width": 1})
    plot.add_scatter(
        x=x, y=y, mode="markers", name="runs", marker={"color": INK[0], "size": 6, "opacity": 0.65},
        hovertemplate="cost %{x:.3s}<br>%{y:.3f} " + unit + "<extra></extra>",
    )  # fmt: skip
    if len(x) >= 12:
        window = max(len(x) // 6, 5)
        middles = [order[k : k + window] for k in range(0, len(x) - window + 1, max(window // 3, 1))]
        plot.add_scatter(
            x=[float(np.exp(np.log(x[rows]).mean())) for rows in middles],
            y=[float(np.median(y[rows])) for rows in middles],
            mode="lines", name="running median", line={"color": CATEGORIES[0][0], "width": 2.4},
        )  # fmt: skip
    # a wild row is told, not drawn: it would flatten all others
    reach = 6 * max(high - low, 1e-12)
    far = int((np.abs(y) > reach).sum())
    plot.update_layout(
        xaxis={"title": {"text": cost_label(summary)}, "type": "log", "exponentformat": "power"},
        yaxis={"title": {"text": f"measured − fitted ({unit})"}, "range": [-reach, reach] if far else None},
    )
    rows = tuple((float(a), float(b)) for a, b in zip(x[order], y[order], strict=True))
    return Figure(
        title="Measured minus fitted, against cost",
        plot=plot,
        table=Table(name="residuals", columns=("cost", f"measured - fitted ({unit})"), rows=rows),
        caption="The band holds 90 % of the runs." + (f" {far} runs lie outside the picture." if far else ""),
    )


def band(plot: go.Figure, x: Sequence[float], low: Array, high: Array, *, color: str, name: str) -> None:
    """A shaded interval along a line."""
    plot.add_scatter(
        x=[*x, *x[::-1]], y=[*high, *low[::-1]], mode="lines", fill="toself", fillcolor=translucent(color),
        line={"width": 0, "color": color}, name=name, hoverinfo="skip",
    )  # fmt: skip


def extrapolation_figure(summary: Summary) -> Figure:
    """The forecast along a straight line in logarithms from the cheap runs to the target, with its interval."""
    p, fit = summary.ray_forecast, summary.fit
    x = list(costs(summary, dict(summary.ray)))
    plot = go.Figure()
    color = CATEGORIES[1][0]
    plot.add_scatter(
        x=costs(summary), y=observed(summary), mode="markers", name="measured",
        marker={"color": INK[0], "size": 5, "opacity": 0.35},
    )  # fmt: skip
    band(plot, x, p.low, p.high, color=color, name=f"{p.level:.0%} for a new run")
    plot.add_scatter(x=x, y=p.value, mode="lines", name="forecast", line={"color": color, "width": 2.4})
    edge = float(costs(summary).max())
    plot.add_vline(x=edge, line={"color": MUTED[0], "dash": "dot"})
    if summary.forecast is not None:
        f = summary.forecast
        plot.add_scatter(
            x=costs(summary, dict(summary.points)), y=f.value, mode="markers", name="asked for",
            marker={"symbol": "star", "size": 15, "color": CATEGORIES[0][0], "line": {"color": INK[0], "width": 1}},
            error_y={"type": "data", "array": f.high - f.value, "arrayminus": f.value - f.low},
        )  # fmt: skip
    plot.update_layout(
        xaxis={"title": {"text": cost_label(summary)}, "type": "log", "exponentformat": "power"},
        yaxis={"title": {"text": fit.law.target}},
    )
    names = tuple(summary.ray)
    rows = tuple(
        (*(float(summary.ray[name][k]) for name in names), float(p.value[k]), float(p.low[k]), float(p.high[k]))
        for k in range(len(p.value))
    )
    return Figure(
        title=f"Forecast up to {p.decades.max():.1f} decades beyond the runs",
        plot=plot,
        table=Table(name="extrapolation", columns=(*names, fit.law.target, "low", "high"), rows=rows),
        caption="The line runs straight in logarithms from the middle of the cheapest runs to the target; measured "
        "runs off that line need not lie on the curve. Dotted: the dearest run.",
        height=430,
    )


def backtest_figure(summary: Summary) -> Figure:
    """Held-out errors against how far out they lie, coloured by split."""
    test, fit = summary.backtest, summary.fit
    scale, unit = (100.0, "%") if fit.problem.log_residuals else (fit.problem.scales[fit.law.target], fit.law.target)
    plot = go.Figure()
    plot.add_hline(y=0, line={"color": MUTED[0], "width": 1})
    for k in range(test.num_splits):
        rows = test.split == k
        plot.add_scatter(
            x=test.decades[rows], y=scale * test.error[rows], mode="markers",
            name=f"fitted to {test.num_train[k]} rows",
            marker={"color": ramp_color(test.num_splits - 1 - k, test.num_splits), "symbol": symbol(k), "size": 7,
                    "opacity": 0.75},
        )  # fmt: skip
    low, high = np.quantile(scale * test.error, [0.01, 0.99])
    pad = 0.15 * max(high - low, 1e-12)
    plot.update_layout(
        xaxis={"title": {"text": "decades beyond the rows that were fitted"}},
        yaxis={"title": {"text": f"predicted − measured ({unit})"}, "range": [low - pad, high + pad]},
    )
    rows_out = tuple(
        (int(k) + 1, int(i), float(d), float(scale * e))
        for k, i, d, e in zip(test.split, test.row, test.decades, test.error, strict=True)
    )
    return Figure(
        title="Errors on held-out runs",
        plot=plot,
        table=Table(name="backtest", columns=("split", "row", "decades", f"error ({unit})"), rows=rows_out),
        caption=f"Mean error over splits: {scale * test.mean_error:.2g} {unit}. The widest errors may lie outside.",
        height=400,
    )


def correlation_figure(summary: Summary) -> Figure:
    """Correlations of the parameters over resamples."""
    names = list(summary.fit.law.names)
    values = summary.correlations
    plot = go.Figure(
        go.Heatmap(
            z=values, x=names, y=names, zmin=-1, zmax=1, colorscale="RdBu", text=np.round(values, 2),
            texttemplate="%{text}", colorbar={"title": {"text": ""}, "thickness": 10},
            hovertemplate="%{y}, %{x}: %{z:.3f}<extra></extra>",
        )
    )  # fmt: skip
    plot.update_layout(yaxis={"autorange": "reversed"})
    rows: list[tuple[Cell, ...]] = [(name, *(float(v) for v in row)) for name, row in zip(names, values, strict=True)]
    return Figure(
        title="How the parameters trade against each other",
        plot=plot,
        table=Table(name="correlations", columns=("", *names), rows=tuple(rows)),
        caption="Over resamples of the rows, coefficients by their logarithms. Near ±1: only a combination is known.",
        height=120 + 52 * len(names),
    )
