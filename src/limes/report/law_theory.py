"""The page of `limes theory laws`: what limits measured runs, and their exponents beside the theory's."""

from pathlib import Path

import numpy as np

from limes.compare.law_terms import resource_terms
from limes.compare.law_theory import Direction, RegimeStudy
from limes.report.dynamics import Line, line_figure
from limes.report.page import Figure, Grid, Page, Section, Table, quiet, write_page
from limes.report.style import CATEGORIES, MUTED


def write_regime_report(study: RegimeStudy, path: Path, *, source: str) -> None:
    """Write the study as one HTML file that opens offline.

    Raises:
        StoreError: The file cannot be written.
    """
    write_page(regime_page(study, source=source), path)


def regime_page(study: RegimeStudy, *, source: str) -> Page:
    """The same page, not yet rendered."""
    caption = quiet(
        "Points: the loss of every run, less the fitted floor; where another resource limits it they lie above. "
        "Line: this resource's own term. Dashed: the theory's exponent, through its middle."
    )
    setting = quiet(
        f"{source}: {study.runs_used}, least squares in ln loss, scatter {study.residual:.2g}; "
        f"{study.fit.law.formula}; intervals at {study.level:.0%}."
    )
    return Page(
        title=f"limes: the laws of {source} and the theory",
        question="Do the runs fall as the theory of their task says?",
        answer=study.sentences,
        sections=(
            Section(
                anchor="directions",
                title="Each resource",
                blocks=(caption, Grid(figures=tuple(_figure(study, one) for one in study.directions))),
            ),
            Section(anchor="numbers", title="Numbers", blocks=(_table(study), setting)),
        ),
    )


def _figure(study: RegimeStudy, one: Direction) -> Figure:
    name = one.resource
    terms, left = resource_terms(study.fit, study.fit.law.input_names)
    values = study.fit.problem.columns[name] * study.fit.problem.scales[name]
    order = np.argsort(values)
    x, own = values[order], terms[name][order]
    lines = [
        Line(label="runs", x=x, y=left[order], color=CATEGORIES[0][0], markers=True),
        Line(label=f"fitted {one.column}^-{one.fitted.value:.2f}", x=x, y=own, color=CATEGORIES[0][0]),
    ]
    if one.predicted is not None:
        middle = np.sqrt(x[0] * x[-1])
        level = np.exp(np.interp(np.log(middle), np.log(x), np.log(own)))
        guide = level * (x / middle) ** -one.predicted.value
        label = f"theory {one.column}^-{one.predicted.value:.2f}"
        lines.append(Line(label=label, x=x, y=guide, color=MUTED[0], dash="dash"))
    return line_figure(
        lines,
        title=f"{name.capitalize()}: {one.verdict}",
        name=f"regime-{name}",
        x_title=one.column,
        y_title="loss, less the floor",
        log_x=True,
        log_y=True,
    )


def _table(study: RegimeStudy) -> Table:
    def cells(one: Direction) -> tuple[str | float | None, ...]:
        parts: list[float | None] = []
        for found in (one.fitted, one.predicted, one.difference):
            parts += [None] * 3 if found is None else [found.value, found.low, found.high]
        return (one.resource, one.verdict, *parts, one.leads)

    kinds = ("fitted", "theory", "difference")
    return Table(
        name="exponents",
        columns=(
            "resource",
            "verdict",
            *(f"{kind}{end}" for kind in kinds for end in ("", ", low", ", high")),
            "runs it limits",
        ),
        rows=tuple(cells(one) for one in study.directions),
    )
