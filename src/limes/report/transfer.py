"""The page of a transfer study: does the tuned learning rate survive when the network grows?"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from limes.compare.result import Forecast, PanelResult, Recommendation, TransferResult, rule_sentence
from limes.report.curves import lr_figures
from limes.report.forecast import forecast_figure
from limes.report.page import Block, Card, Cards, Folded, Grid, Page, Section, Text, write_page
from limes.report.scaling import (
    drift_figure,
    fixed_lr_figures,
    optimum_figure,
    optimum_table,
    panel_colors,
)
from limes.report.tables import counts_table, flat_table, recommendation_table
from limes.report.training import Curves, training_figures
from limes.report.words import BADGES, TONES, answer_lines, claim_sentence, panel_details, panel_sentence, signed, span

QUESTION = "Does the tuned {swept} survive when the network grows?"


def write_transfer_report(result: TransferResult, path: Path, *, curves: Curves) -> None:
    """Write what a transfer study found as one HTML file that opens offline.

    Args:
        result: The findings; whatever was not found is None there and said to be missing on the page.
        path: The file; it is replaced whole or not at all.
        curves: Arrays of a run by its key, with `train_loss` (num_steps,), as `Store.curve` gives them. A KeyError
            or StoreError leaves that curve out.

    Raises:
        StoreError: The file cannot be written.
    """
    write_page(transfer_page(result, curves=curves), path)


def transfer_page(result: TransferResult, *, curves: Curves) -> Page:
    """The same page, not yet rendered."""
    unit = result.loss_unit
    axes = dict.fromkeys(panel.axis for panel in result.panels)
    colors = panel_colors(result.panels)
    name = str(result.study.get("name", "unnamed"))
    return Page(
        title=f"limes: transfer study {name}",
        question=QUESTION.format(swept=result.swept[0]),
        answer=answer_lines(result.panels),
        sections=(
            _verdict_section(result, unit),
            *(
                _axis_section([panel for panel in result.panels if panel.axis == axis], result, curves, colors)
                for axis in axes
            ),
            _settings_section(result.recommendation),
            _forecast_section(result.forecast, unit),
            _provenance_section(result),
        ),
    )


def _verdict_section(result: TransferResult, unit: str) -> Section:
    blocks: list[Block] = []
    if result.status != "complete":
        blocks.append(
            Text(lines=(f"The study is {result.status}; what follows rests on the runs that ended.",), tone="warning")
        )
    if result.notes:
        tone = "quiet" if result.status == "complete" else "warning"
        blocks.append(Text(lines=result.notes, bullets=True, tone=tone))
    if result.panels:
        blocks.append(Cards(cards=tuple(_card(panel, result, unit) for panel in result.panels)))
        blocks.append(drift_figure(result.panels, tolerance=result.tolerance_octaves, level=result.level))
    if result.claims:
        lines = tuple(claim_sentence(claim, result.level) for claim in result.claims)
        blocks.append(Text(heading="Which drifts less", lines=lines, bullets=True))
    rule = rule_sentence(result.level, result.tolerance_octaves, result.prior_octaves, swept=result.swept[0])
    blocks.append(Text(heading="The rule", lines=(rule.replace("+-", "±"),), tone="quiet"))
    return Section(anchor="verdict", title="Verdict", blocks=tuple(blocks))


def _card(panel: PanelResult, result: TransferResult, unit: str) -> Card:
    return Card(
        tone=TONES[panel.verdict],
        badge=BADGES[panel.verdict],
        title=f"{panel.parametrization}, {span(panel)}",
        sentence=panel_sentence(panel, level=result.level, tolerance=result.tolerance_octaves),
        details=panel_details(panel, unit),
    )


def _axis_section(
    panels: Sequence[PanelResult],
    result: TransferResult,
    curves: Curves,
    colors: Mapping[str, tuple[str, str, str]],
) -> Section:
    axis, label = panels[0].axis, f"loss ({result.loss_unit})"
    bigger = "Wider" if axis == "width" else "Deeper"
    return Section(
        anchor=axis,
        title=f"Growing {axis}",
        blocks=(
            Text(
                heading=f"Loss against {result.swept[0]}",
                lines=(
                    "A star marks the optimum of each size; thin lines are single seeds, thick ones their mean; open "
                    "markers along the top are runs that diverged or left the picture.",
                ),
                tone="quiet",
            ),
            Grid(figures=lr_figures(panels, loss_label=f"validation {label}")),
            Text(heading=f"The optimum against {axis}", lines=()),
            optimum_figure(panels, colors, level=result.level),
            Folded(label="The optimum of every size as a table", block=optimum_table(panels, level=result.level)),
            Text(
                heading="Loss curves",
                lines=("Lowest seed. Faint: every step; bold: running mean over a twentieth of the run.",),
                tone="quiet",
            ),
            Grid(figures=training_figures(panels, curves, loss_label=label)),
            Text(
                heading=f"{bigger} is better?",
                lines=(f"Each line keeps one base {result.swept[0]} while the network grows; mean over seeds.",),
                tone="quiet",
            ),
            Grid(figures=fixed_lr_figures(panels, loss_label=f"validation {label}")),
        ),
    )


def _size_words(sizes: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {sizes[name]}" for name in ("width", "depth") if sizes.get(name) is not None)


def _settings_section(recommendation: Recommendation | None) -> Section:
    title = "Settings for the bigger network"
    if recommendation is None:
        none = Text(lines=("No settings are recommended: the study has no usable optimum to rest them on.",))
        return Section(anchor="settings", title=title, blocks=(none,))
    lines = (
        f"Target: {_size_words(recommendation.target)}. Base: {_size_words(recommendation.base)}. "
        f"Base learning rate {2.0**recommendation.log2_lr:.4g} (log2: {signed(recommendation.log2_lr)}): "
        f"{recommendation.lr_note.rstrip('.')}.",
        f"Attention scale of the target: {recommendation.attention_scale:g}.",
    )
    return Section(anchor="settings", title=title, blocks=(Text(lines=lines), recommendation_table(recommendation)))


def _forecast_section(forecast: Forecast | None, unit: str) -> Section:
    title = "Forecast of its loss"
    if forecast is None:
        return Section(anchor="forecast", title=title, blocks=(Text(lines=("No forecast was made.",)),))
    target = (
        f"{_size_words(forecast.target)}, {forecast.num_params:,} parameters, {forecast.num_tokens:,} training tokens"
    )
    if forecast.value is None:
        line = f"No loss can be forecast for the target ({target})."
    else:
        line = f"The target ({target}) is expected to reach {forecast.value:.3f} {unit}"
        if forecast.low is not None and forecast.high is not None:
            line += f", {forecast.level:.0%} interval {forecast.low:.3f} to {forecast.high:.3f}"
        line += "."
    blocks: list[Block] = [Text(lines=(line,))]
    if forecast.warnings:
        blocks.append(Text(lines=forecast.warnings, bullets=True, tone="warning"))
    if forecast.sizes or forecast.curve:
        blocks.append(forecast_figure(forecast, unit=unit))
    return Section(anchor="forecast", title=title, blocks=tuple(blocks))


def _provenance_section(result: TransferResult) -> Section:
    return Section(
        anchor="provenance",
        title="What ran",
        blocks=(
            counts_table(result),
            flat_table("provenance", result.provenance, title="Data, versions and seeds"),
            Folded(label="The whole study", block=flat_table("study", result.study)),
        ),
    )
