"""The page of `limes compare`: do trained networks tend to the infinitely wide one?"""

from pathlib import Path

from limes.compare.limit_result import ComparisonResult, GammaComparison
from limes.report.dynamics import KERNEL_NOTE
from limes.report.limit_figures import (
    convergence_figure,
    layer_figures,
    limit_figure,
    loss_figure,
    rich_figure,
    spread_figure,
)
from limes.report.page import Block, Card, Cards, Cell, Folded, Grid, Page, Section, Table, write_page
from limes.report.tables import flat_table

QUESTION = "Do trained networks tend to the infinitely wide one, as the theory says?"


def write_limit_report(result: ComparisonResult, path: Path) -> None:
    """Write what a comparison found as one HTML file that opens offline.

    Args:
        result: The findings.
        path: The file; it is replaced whole or not at all.

    Raises:
        StoreError: The file cannot be written.
    """
    write_page(limit_page(result), path)


def limit_page(result: ComparisonResult) -> Page:
    """The same page, not yet rendered."""
    spec = result.spec
    steps = spec.steps
    summary: tuple[Block, ...] = (
        Cards(cards=tuple(_card(gamma) for gamma in result.gammas)),
        rich_figure(result.gammas),
    )
    return Page(
        title=f"limes: comparison with the limit on {spec.data.source}",
        question=QUESTION,
        answer=answer_lines(result),
        sections=(
            Section(anchor="summary", title="Lazy against rich", blocks=summary),
            *(_gamma_section(gamma, index, steps=steps) for index, gamma in enumerate(result.gammas)),
            Section(anchor="numbers", title="Numbers", blocks=_number_blocks(result)),
        ),
    )


def answer_lines(result: ComparisonResult) -> tuple[str, ...]:
    """The findings, one sentence each; also what the command prints."""
    checks = [check for gamma in result.gammas for check in gamma.limits]
    met = sum(check.agrees for check in checks)
    first, last = result.spec.widths[0], result.spec.widths[-1]
    lines = [
        f"Mean losses of networks of width {first} to {last}, extrapolated to infinite width, agree with the theory in "
        f"{met} of {len(checks)} checks (at 99 %)."
    ]
    fits = [gamma.convergence[0] for gamma in result.gammas]
    spans = ", ".join(f"{fit.slope:.2f} ({fit.interval[0]:.2f}, {fit.interval[1]:.2f})" for fit in fits)
    lines.append(
        f"The squared distance of their outputs from the limit falls as width to the power {spans}; expected -1."
    )
    ratios = [(gamma.gamma0, gamma.spread.ratio) for gamma in result.gammas if gamma.spread.ratio is not None]
    if ratios:
        words = ", ".join(f"{r[0]:.2f} ({r[1]:.2f}, {r[2]:.2f})" for _, r in ratios)
        lines.append(f"Their spread over initializations is {words} times the predicted one.")
    values = ", ".join(f"{gamma.gamma0:g}" for gamma in result.gammas)
    moved = ", ".join(f"{gamma.feature_movement:.0%}" for gamma in result.gammas)
    lines.append(f"From lazy to rich (gamma0 {values}) the last feature kernel moves by {moved}.")
    return tuple(lines)


def _card(gamma: GammaComparison) -> Card:
    last, outputs, ratio = gamma.limits[-1], gamma.convergence[0], gamma.spread.ratio
    good = all(check.agrees for check in gamma.limits)
    details = [
        f"Outputs: distance ~ width^{outputs.slope:.2f}, 95 % interval {outputs.interval[0]:.2f} to "
        f"{outputs.interval[1]:.2f}.",
        f"Last feature kernel moves by {gamma.feature_movement:.0%}.",
    ]
    if ratio is not None:
        details.append(f"Spread: {ratio[0]:.2f} times the predicted one ({ratio[1]:.2f} to {ratio[2]:.2f}).")
    if gamma.num_left_out:
        details.append(f"{gamma.num_left_out} networks diverged or are unfinished and were left out.")
    return Card(
        tone="good" if good else "bad",
        badge="agrees" if good else "differs",
        title=f"gamma0 {gamma.gamma0:g}",
        sentence=(
            f"Loss after {last.step} steps: {last.limit:.4g} ± {last.half_width:.2g} extrapolated from networks, "
            f"{last.predicted:.4g} ± {last.predicted_half_width:.1g} by the theory."
        ),
        details=tuple(details),
    )


def _gamma_section(gamma: GammaComparison, index: int, *, steps: int) -> Section:
    blocks: list[Block] = [
        Grid(figures=(loss_figure(gamma), spread_figure(gamma))),
        Grid(figures=(convergence_figure(gamma), limit_figure(gamma))),
        KERNEL_NOTE,
        *(Grid(figures=layer_figures(gamma, layer, step=steps)) for layer in range(1, gamma.problem.depth + 1)),
    ]
    return Section(anchor=f"gamma{index}", title=f"gamma0 = {gamma.gamma0:g}", blocks=tuple(blocks))


def _number_blocks(result: ComparisonResult) -> tuple[Block, ...]:
    rows: list[tuple[Cell, ...]] = []
    for gamma in result.gammas:
        rows += [
            (
                gamma.gamma0,
                check.step,
                check.limit,
                check.half_width,
                check.predicted,
                check.predicted_half_width,
                check.slope,
                check.agrees,
            )
            for check in gamma.limits
        ]
    columns = ("gamma0", "step", "networks", "networks ± (95 %)", "theory", "theory ± (95 %)", "bias x width", "agrees")
    checks = Table(name="checks", columns=columns, rows=tuple(rows), title="Losses at infinite width")
    slopes = Table(
        name="slopes",
        columns=("gamma0", "quantity", "slope", "low (95 %)", "high (95 %)"),
        rows=tuple(
            (gamma.gamma0, fit.quantity, fit.slope, *fit.interval)
            for gamma in result.gammas
            for fit in gamma.convergence
        ),
        title="Powers of the width; expected -1",
    )
    settings = flat_table("settings", result.spec.to_dict())
    return (checks, slopes, Folded(label="what was compared", block=settings))
