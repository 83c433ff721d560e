"""The forecast: measured losses, its median with a band, the target."""

import plotly.graph_objects as go

from limes.compare.result import Forecast
from limes.report.page import Cell, Figure, Table
from limes.report.style import CATEGORIES, INK, plot_text, symbol, translucent


def forecast_figure(forecast: Forecast, *, unit: str) -> Figure:
    """Measured losses, the forecast with its band, and the target."""
    plot = go.Figure()
    if forecast.curve:
        sizes = [point["num_params"] for point in forecast.curve]
        lows, highs = ([point[end] for point in forecast.curve] for end in ("low", "high"))
        color = CATEGORIES[1][0]
        plot.add_scatter(
            x=[*sizes, *sizes[::-1]],
            y=[*highs, *lows[::-1]],
            mode="lines",
            fill="toself",
            fillcolor=translucent(color),
            line={"width": 0, "color": color},
            name=f"{forecast.level:.0%} interval",
            hoverinfo="skip",
        )
        plot.add_scatter(
            x=sizes, y=[point["value"] for point in forecast.curve], mode="lines", line={"color": color, "width": 2.2},
            name="forecast (median)", hovertemplate="%{x:.3s} parameters<br>loss %{y:.4f}<extra></extra>",
        )  # fmt: skip
    axes = dict.fromkeys(str(row.get("axis", "")) for row in forecast.sizes)
    for index, axis in enumerate(axes):
        chosen = [row for row in forecast.sizes if str(row.get("axis", "")) == axis]
        plot.add_scatter(
            x=[row.get("num_params") for row in chosen],
            y=[row.get("loss") for row in chosen],
            mode="markers",
            name=plot_text(f"measured, {axis}" if axis else "measured"),
            marker={"symbol": symbol(index), "size": 9, "color": INK[0]},
            customdata=[plot_text(f"{axis} {row.get('size', '')}") for row in chosen],
            hovertemplate="%{customdata}<br>%{x:.3s} parameters<br>loss %{y:.4f}<extra></extra>",
        )
    _add_target(plot, forecast)
    plot.update_layout(
        xaxis={"title": {"text": "parameters"}, "type": "log", "exponentformat": "SI"},
        yaxis={"title": {"text": f"validation loss ({unit})"}},
    )
    return Figure(
        title="Loss against parameters, "
        + (
            "no forecast"
            if forecast.value is None
            else f"forecast {forecast.decades:.1f} decades beyond the largest model"
        ),
        plot=plot,
        table=_forecast_table(forecast),
        caption=f"Law: {forecast.law}. All at {forecast.num_tokens:,} training tokens or samples.",
        height=430,
    )


def _add_target(plot: go.Figure, forecast: Forecast) -> None:
    if forecast.value is None:
        return
    high = forecast.high if forecast.high is not None else forecast.value
    low = forecast.low if forecast.low is not None else forecast.value
    plot.add_scatter(
        x=[forecast.num_params],
        y=[forecast.value],
        mode="markers",
        name="target",
        marker={"symbol": "star", "size": 17, "color": CATEGORIES[0][0], "line": {"color": INK[0], "width": 1.2}},
        error_y={"type": "data", "array": [high - forecast.value], "arrayminus": [forecast.value - low]},
        hovertemplate="target<br>%{x:.3s} parameters<br>loss %{y:.4f}<extra></extra>",
    )


def _forecast_table(forecast: Forecast) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (f"measured, {row.get('axis', '')} {row.get('size', '')}", row.get("num_params"), row.get("loss"), None, None)
        for row in forecast.sizes
    ]
    rows += [("law", point["num_params"], point["value"], point["low"], point["high"]) for point in forecast.curve]
    rows.append(("target", forecast.num_params, forecast.value, forecast.low, forecast.high))
    columns = ("what", "parameters", "loss", f"low ({forecast.level:.0%})", f"high ({forecast.level:.0%})")
    return Table(name="forecast", columns=columns, rows=tuple(rows))
