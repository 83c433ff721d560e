"""The page of `limes rank`: what a budget buys under each parametrization, tuning included."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from limes.compare.ranking import Interval, RankedFamily, Ranking
from limes.compare.shapes import TOLERANCE, EfficientShapes
from limes.report.dynamics import Line, line_figure
from limes.report.page import Cell, Figure, Page, Section, Table, Text, write_page
from limes.report.style import category_color, symbol

COLUMNS = (
    "parametrization",
    "learning rate tuned at",
    "loss at the budget",
    "FLOPs to the loss",
    "FLOPs saved",
    "floor",
    "exponent",
    "drift, octaves",
    "verdict",
    "regret",
    "larger is better at one rate",
)


def write_ranking_report(
    rankings: Sequence[Ranking], shapes: Sequence[EfficientShapes], path: Path, *, paths: Sequence[str] = ()
) -> None:
    """Write the rankings as one HTML file that opens offline.

    Args:
        rankings: One per axis.
        shapes: Of the parametrizations that were grown in width and in depth.
        path: The file.
        paths: Verdicts of a study of consistency, one sentence each.

    Raises:
        StoreError: The file cannot be written.
    """
    write_page(ranking_page(rankings, shapes, paths=paths), path)


def ranking_page(rankings: Sequence[Ranking], shapes: Sequence[EfficientShapes], *, paths: Sequence[str] = ()) -> Page:
    """The same page, not yet rendered."""
    sections = [
        Section(anchor=ranking.axis, title=f"Growing {ranking.axis}", blocks=(_figure(ranking), ranking_table(ranking)))
        for ranking in rankings
    ]
    if shapes:
        sections.append(Section(anchor="shapes", title="Efficient shapes", blocks=(shapes_table(shapes),)))
    if paths:
        sections.append(Section(anchor="paths", title="One path at every size", blocks=(Text(lines=tuple(paths)),)))
    rule = Text(
        lines=(
            "A law, loss = floor + A / FLOPs^exponent, is averaged over what the sizes leave open; its FLOPs are those "
            "of one run at the study's tokens. Tuned at each size, every size pays for its whole grid of learning "
            "rates; tuned at the smallest, only the smallest does, and the others train once at its optimum.",
        ),
        tone="quiet",
    )
    return Page(
        title="limes: which parametrization scales better",
        question="What does the same budget buy?",
        answer=answer_lines(rankings, shapes),
        sections=(*sections, Section(anchor="rule", title="How it is judged", blocks=(rule,))),
    )


def answer_lines(rankings: Sequence[Ranking], shapes: Sequence[EfficientShapes]) -> tuple[str, ...]:
    """What the rankings say, in sentences."""
    return tuple(line for ranking in rankings for line in _sentences(ranking)) + tuple(map(_shape_sentence, shapes))


def _sentences(ranking: Ranking) -> list[str]:
    best = ranking.families[0]
    assert best.loss_at_budget is not None and best.saved is not None
    behind = [lead.other for lead in ranking.leads if lead.holds]
    open_ = [lead.other for lead in ranking.leads if not lead.holds]
    lines = [
        f"{ranking.axis}: {best.label}, buys the lowest loss with {ranking.budget_flops:.2g} FLOPs, "
        f"{_words(best.loss_at_budget, '.3f')}; "
        + (
            f"it is ahead of {'; '.join(behind)} (jointly at {ranking.level:.0%})"
            if behind
            else "ahead of none for sure"
        )
        + (f"; these runs do not tell it from {'; '.join(open_)}." if open_ else ".")
    ]
    if ranking.extrapolation:
        lines.append(f"{ranking.axis}: an extrapolation: {ranking.extrapolation}.")
    if best.label != ranking.reference:
        lines.append(
            f"{ranking.axis}: for loss {ranking.target_loss:.3f} it saves {_words(best.saved, '.0%')} of the compute "
            f"of {ranking.reference}."
        )
    lines += [
        f"{ranking.axis}: {family.label}, has no place: {family.why_not}"
        for family in ranking.families
        if family.why_not
    ]
    return lines


def _shape_sentence(shapes: EfficientShapes) -> str:
    if shapes.best is None or shapes.low is None or shapes.high is None:
        return f"shapes, {shapes.parametrization}: {shapes.why_not}"
    return (
        f"shapes, {shapes.parametrization}: at {shapes.block_params:.2g} block parameters, depth / width from "
        f"{shapes.low:.2g} to {shapes.high:.2g} stays within {TOLERANCE:.0%} of the best loss (best {shapes.best:.2g}; "
        f"law of {shapes.num_networks} networks)."
    )


def ranking_table(ranking: Ranking) -> Table:
    """One row for each family, best first."""
    numbers = tuple(_row(family) for family in ranking.families)
    return Table(
        name=f"ranking-{ranking.axis}",
        columns=COLUMNS,
        rows=numbers,
        title=f"Ranked at {ranking.budget_flops:.3g} FLOPs; loss to reach {ranking.target_loss:.4g}",
        caption=f"Medians with {ranking.level:.0%} intervals; FLOPs saved against {ranking.reference}.",
    )


def _row(family: RankedFamily) -> tuple[Cell, ...]:
    return (
        family.parametrization,
        family.policy,
        _cell(family.loss_at_budget, ".3f") or family.why_not,
        _cell(family.flops_to_loss, ".2g"),
        _cell(family.saved, ".0%"),
        _cell(family.floor, ".2f"),
        _cell(family.exponent, ".2f"),
        None if family.drift_octaves is None else round(family.drift_octaves, 2),
        family.verdict,
        None if family.regret is None else round(family.regret, 4),
        {None: None, True: "yes", False: "no"}[family.improves_with_size],
    )


def shapes_table(shapes: Sequence[EfficientShapes]) -> Table:
    """One row for each parametrization that grows in width and depth."""
    rows = tuple((s.parametrization, s.num_networks, s.block_params, s.best, s.low, s.high, s.why_not) for s in shapes)
    columns = ("parametrization", "networks", "block parameters", "best depth / width", "from", "to", "note")
    return Table(
        name="shapes",
        columns=columns,
        rows=rows,
        title=f"Ratios of depth to width within {TOLERANCE:.0%} of the best loss",
        caption="By the law loss = E + A / width^alpha + B / depth^beta at 12 width^2 depth parameters.",
    )


def _figure(ranking: Ranking) -> Figure:
    names = list(dict.fromkeys(family.parametrization for family in ranking.families))
    lines = []
    for family in ranking.families:
        index = names.index(family.parametrization)
        color, each = category_color(index), family.policy == "each size"
        if family.curve:
            x, y, low, high = np.array(family.curve).T
            dash = "dash" if each else "solid"
            lines.append(Line(label=family.label, x=x, y=y, low=low, high=high, color=color, dash=dash))
        lines.append(
            Line(
                label=family.label,
                x=np.array(family.total_flops),
                y=np.array(family.loss),
                color=color,
                markers=True,
                symbol=symbol(index) + ("-open" if each else ""),
                legend=not family.curve,
            )
        )
    return line_figure(
        lines,
        title=f"Loss against all the compute that reaches it, {ranking.axis}",
        name=f"ranking-{ranking.axis}-curves",
        x_title="FLOPs, tuning included",
        y_title="validation loss",
        log_x=True,
        caption="Points are measured; lines are medians of the laws that the points leave possible, with intervals.",
        height=520,
    )


def _cell(interval: Interval | None, form: str) -> str | None:
    return None if interval is None else _words(interval, form)


def _words(interval: Interval, form: str) -> str:
    value, low, high = (
        format(each, form) if abs(each) < float("inf") else "never"
        for each in (interval.value, interval.low, interval.high)
    )
    return f"{value} ({low} to {high})"
