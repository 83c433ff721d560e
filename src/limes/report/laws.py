"""The page of a scaling-law fit: data, residuals, extrapolation, backtest, frontier, correlations, checklist."""

from pathlib import Path

import numpy as np

from limes.laws.fit import LawFit
from limes.laws.interval import Prediction
from limes.laws.lint import Answer
from limes.laws.summary import Summary
from limes.report.law_figures import (
    backtest_figure,
    correlation_figure,
    data_figure,
    extrapolation_figure,
    residual_figure,
)
from limes.report.law_frontier import frontier_section
from limes.report.page import Block, Card, Cards, Folded, Page, Section, Table, Text, write_page

TONES = {Answer.OK: ("good", "ok"), Answer.WARN: ("bad", "look"), Answer.UNKNOWN: ("open", "not known")}


def write_law_report(summary: Summary, path: Path, *, source: str) -> None:
    """Write what is known of a fit as one HTML file that opens offline.

    Args:
        summary: The fit and what follows from it.
        path: The file; it is replaced whole or not at all.
        source: Name of the table, for the title.

    Raises:
        StoreError: The file cannot be written.
    """
    write_page(law_page(summary, source=source), path)


def law_page(summary: Summary, *, source: str) -> Page:
    """The same page, not yet rendered."""
    sections = [
        _fit_section(summary),
        Section(
            anchor="residuals",
            title="Residuals",
            blocks=(
                Text(lines=("A trend here is a flaw of the law, which grows beyond the runs.",), tone="quiet"),
                residual_figure(summary),
            ),
        ),
        _extrapolation_section(summary),
        _backtest_section(summary),
    ]
    if summary.shapes is not None:
        sections.append(frontier_section(summary.shapes, summary.fit))
    sections += [_parameters_section(summary), _checklist_section(summary)]
    return Page(
        title=f"limes: scaling law of {source}",
        question=f"What does {summary.fit.law.name} say about {source}, and how far can it be trusted?",
        answer=_answer(summary),
        sections=tuple(sections),
    )


def forecast_words(prediction: Prediction, k: int) -> str:
    """One forecast in words.

    Args:
        prediction: Forecasts.
        k: Which.
    """
    return (
        f"{prediction.value[k]:.4g} ({prediction.level:.0%}: {prediction.low[k]:.4g} to {prediction.high[k]:.4g}), "
        f"{prediction.decades[k]:.1f} decades beyond the runs"
    )


def _answer(summary: Summary) -> tuple[str, ...]:
    fit = summary.fit
    size = np.median(np.abs(fit.residuals))
    lines = [
        f"{fit.law.formula}, fitted to {fit.num_rows} rows; half of the residuals are below {_percent(fit, size)}."
    ]
    if summary.forecast is not None:
        for k in range(len(summary.forecast.value)):
            place = ", ".join(f"{name} = {values[k]:.3g}" for name, values in summary.points.items())
            lines.append(f"Forecast at {place}: {forecast_words(summary.forecast, k)}.")
    if summary.shapes is not None:
        best = summary.shapes.frontier
        lines.append(
            f"At {best.budget[-1]:.2g} FLOPs the best shape has {best.first[-1]:.3g} parameters and "
            f"{best.second[-1]:.3g} tokens ({best.ratio[-1]:.3g} per parameter)."
        )
    warnings = sum(check.answer is Answer.WARN for check in summary.checks)
    lines.append(f"Checks that ask for a look: {warnings} of {len(summary.checks)}.")
    return tuple(lines)


def _percent(fit: LawFit, size: float) -> str:
    return f"{100 * size:.2g} %" if fit.problem.log_residuals else f"{size:.2g}"


def _fit_section(summary: Summary) -> Section:
    rows = tuple(
        (
            parameter.name,
            summary.fit.params[parameter.name],
            *summary.errors[parameter.name],
            parameter.unit,
            parameter.meaning,
        )
        for parameter in summary.fit.law.parameters
    )
    level = f"{summary.level:.0%}"
    table = Table(
        name="parameters",
        columns=("parameter", "value", f"low ({level})", f"high ({level})", "unit", "meaning"),
        rows=rows,
        title="Parameters",
        caption="Intervals by resampling rows; they hold if the law is true, and say nothing about extrapolation.",
    )
    return Section(anchor="fit", title="Data and fit", blocks=(data_figure(summary), table))


def _extrapolation_section(summary: Summary) -> Section:
    blocks: list[Block] = [extrapolation_figure(summary)]
    prediction = summary.forecast
    if prediction is not None:
        names = tuple(summary.points)
        rows = tuple(
            (
                *(float(summary.points[name][k]) for name in names),
                float(prediction.value[k]),
                float(prediction.low[k]),
                float(prediction.high[k]),
                float(prediction.decades[k]),
            )
            for k in range(len(prediction.value))
        )
        level = f"{prediction.level:.0%}"
        columns = (*names, summary.fit.law.target, f"low ({level})", f"high ({level})", "decades beyond the runs")
        blocks.append(Table(name="forecast", columns=columns, rows=rows, title="Forecast"))
    blocks.append(Text(lines=(f"How the interval was made: {summary.ray_forecast.evidence}",), tone="quiet"))
    return Section(anchor="extrapolation", title="Extrapolation", blocks=tuple(blocks))


def _backtest_section(summary: Summary) -> Section:
    test = summary.backtest
    if not test.num_splits:
        none = Text(lines=("Too few rows, or too little range, to hold any out.",), tone="warning")
        return Section(anchor="backtest", title="Backtest", blocks=(none,))
    rows = tuple(
        (
            k + 1,
            float(test.cost_limit[k]),
            int(test.num_train[k]),
            int(test.num_test[k]),
            float(np.abs(test.error[test.split == k]).mean()),
            float(test.error[test.split == k].mean()),
        )
        for k in range(test.num_splits)
    )
    columns = ("split", "costs fitted, of the largest", "rows fitted", "rows held out", "mean |error|", "mean error")
    table = Table(name="backtest-splits", columns=columns, rows=rows, title="By split")
    lead = Text(
        lines=("The law is fitted to the cheap runs and predicts the dear ones, again and again; positive: too high.",),
        tone="quiet",
    )
    return Section(anchor="backtest", title="Backtest", blocks=(lead, backtest_figure(summary), table))


def _parameters_section(summary: Summary) -> Section:
    certificate = summary.fit.certificate
    lines = (
        f"{certificate.agreement:.0%} of {certificate.num_starts} starts reach the best objective "
        f"({summary.fit.objective:.7g}, {summary.fit.problem.objective}, delta {summary.fit.problem.delta:g}).",
        f"Relative gradient {certificate.gradient_norm:.1e}; condition {certificate.condition:.1e}; second-order check "
        + ("passed." if certificate.second_order else "failed."),
        f"SHA-256 of the fitted columns: {summary.data_hash}.",
    )
    blocks: tuple[Block, ...] = (
        correlation_figure(summary),
        Text(heading="Certificate", lines=lines, bullets=True, tone="quiet"),
    )
    return Section(anchor="parameters", title="Parameter correlations", blocks=blocks)


def _checklist_section(summary: Summary) -> Section:
    cards = tuple(
        Card(tone=TONES[c.answer][0], badge=TONES[c.answer][1], title=c.code.replace("_", " "), sentence=c.sentence)
        for c in summary.checks
        if c.answer is not Answer.UNKNOWN
    )
    unknown = tuple(f"{c.code.replace('_', ' ')}: {c.sentence}" for c in summary.checks if c.answer is Answer.UNKNOWN)
    blocks: list[Block] = [Cards(cards=cards)]
    if unknown:
        label = f"{len(unknown)} questions that the table does not answer"
        blocks.append(Folded(label=label, block=Text(lines=unknown, bullets=True)))
    return Section(anchor="checklist", title="Checklist", blocks=tuple(blocks))
