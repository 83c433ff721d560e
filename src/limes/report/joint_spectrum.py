"""The page of `limes spectrum` for text and for a module of one's own: modes, blocks, losses predicted and trained."""

from pathlib import Path

import numpy as np

from limes.compare.joint_result import JointStudy, LossPair, NetworkSpectrum
from limes.report.dynamics import Line, line_figure
from limes.report.page import Figure, Grid, Page, Section, Table, quiet, write_page
from limes.report.style import ramp_color


def write_joint_report(study: JointStudy, path: Path) -> None:
    """Write the study as one HTML file that opens offline.

    Raises:
        StoreError: The file cannot be written.
    """
    write_page(joint_page(study), path)


def answer_lines(study: JointStudy) -> tuple[str, ...]:
    """What the study says, a sentence for each loss of each kind of network, and one on the modes."""
    lines = []
    for label in dict.fromkeys(one.label for one in study.networks):
        found = [one for one in study.networks if one.label == label]
        lines.append(f"{label}, squared error: {_agreement([(one, one.squared) for one in found])}")
        entropies = [(one, one.entropy) for one in found if one.entropy is not None]
        if entropies:
            lines.append(f"{label}, cross-entropy: {_agreement(entropies)}")
    widest = max(study.networks, key=lambda one: one.width or 0)
    modes, first = widest.modes, max(widest.modes.blocks, key=lambda block: block.rate_share)
    lines.append(
        f"{_name(widest)}: the first {len(modes.eigenvalues)} of {modes.num_points * modes.num_outputs} modes hold "
        f"{modes.eigenvalues.sum() / modes.trace:.0%} of the kernel's trace and "
        f"{modes.power.sum() / modes.total_power:.0%} of the target; {first.name} gives {first.rate_share:.0%} of the "
        "first step's descent."
    )
    return tuple(lines)


def _agreement(pairs: list[tuple[NetworkSpectrum, LossPair]]) -> str:
    off = ", ".join("diverged" if np.isinf(pair.deviation) else f"{pair.deviation:.1%}" for _, pair in pairs)
    where = "" if pairs[0][0].width is None else " at widths " + ", ".join(str(one.width) for one, _ in pairs)
    text = f"training leaves the linearized network by at most {off} of what that has learned{where}"
    late = [(one, step) for one, pair in pairs if (step := one.departs_at(pair)) is not None]
    if not late:
        return f"{text}."
    return f"{text}; by a tenth first at step " + ", ".join(f"{step:.0f} ({_name(one)})" for one, step in late) + "."


def _name(one: NetworkSpectrum) -> str:
    return one.label if one.width is None else f"{one.label} {one.width}"


def joint_page(study: JointStudy) -> Page:
    """The same page, not yet rendered."""
    by_label = {label: [one for one in study.networks if one.label == label] for label in _labels(study)}
    squared = tuple(_losses([(one, one.squared) for one in found]) for found in by_label.values())
    entropy = tuple(
        _losses(pairs)
        for found in by_label.values()
        if (pairs := [(one, one.entropy) for one in found if one.entropy is not None])
    )
    sections = [
        Section(
            anchor="squared", title="Squared error: the sum over modes", blocks=(quiet(SQUARED), Grid(figures=squared))
        )
    ]
    if entropy:
        sections.append(
            Section(
                anchor="entropy",
                title="Cross-entropy: the linearized network",
                blocks=(quiet(ENTROPY), Grid(figures=entropy)),
            )
        )
    first = by_label[_labels(study)[0]]
    sections += [
        Section(
            anchor="modes",
            title="Modes",
            blocks=(quiet(MODES), Grid(figures=(_modes(first, "eigenvalues"), _modes(first, "power")))),
        ),
        Section(anchor="blocks", title="Parts of the network", blocks=(_blocks(study),)),
        Section(anchor="numbers", title="Numbers", blocks=(_table(study), quiet(_setting(study)))),
    ]
    return Page(
        title=f"limes: spectrum on {study.data}",
        question="What does a network's tangent kernel say of its loss before it is trained?",
        answer=answer_lines(study),
        sections=tuple(sections),
    )


SQUARED = (
    "Solid: trained on one-hot or given targets. Dashed band: the lazy loss, between two quadratures of the residual's "
    "spectral measure; where no band is seen, its two edges are one line."
)
ENTROPY = (
    "Solid: trained. Dashed: the linearized network, stepped with products of the same kernel. Cross-entropy is no "
    "quadratic form, so that no sum over modes stands behind it."
)
MODES = (
    "Eigenvalues by Nystrom's method, below the true ones by at most the error in the table; power of the target in "
    "the same modes."
)


def _labels(study: JointStudy) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.label for one in study.networks))


def _losses(pairs: list[tuple[NetworkSpectrum, LossPair]]) -> Figure:
    lines = []
    for index, (one, pair) in enumerate(pairs):
        color, name = ramp_color(index, len(pairs)), _name(one)
        lines.append(Line(label=name, x=one.steps, y=pair.trained, color=color))
        middle = 0.5 * (pair.low + pair.high)
        lines.append(
            Line(label=f"{name}, linear", x=one.steps, y=middle, low=pair.low, high=pair.high, color=color, dash="dash")
        )
    kind = pairs[0][1].name
    return line_figure(
        lines,
        title=f"{pairs[0][0].label}: {kind.split(' (')[0]}",
        name=f"{pairs[0][0].label}-{kind.split()[0]}-loss",
        x_title="step",
        y_title=kind,
        log_x=True,
    )


def _modes(found: list[NetworkSpectrum], which: str) -> Figure:
    lines = []
    for index, one in enumerate(found):
        values = getattr(one.modes, which)
        modes = np.arange(1, len(values) + 1, dtype=float)
        color = ramp_color(index, len(found))
        if which == "power":
            # Single modes scatter as squared normal numbers: what is summed shows how the target is spread.
            values = values.cumsum() / one.modes.total_power
        lines.append(Line(label=_name(one), x=modes, y=values, color=color))
    titles = {
        "eigenvalues": ("Eigenvalues of the tangent kernel", "eigenvalue"),
        "power": ("Share of the target in the first modes", "share of the target"),
    }
    title, axis = titles[which]
    return line_figure(lines, title=title, name=f"modes-{which}", x_title="mode", y_title=axis, log_x=True, log_y=True)


def _blocks(study: JointStudy) -> Table:
    rows = tuple(
        (_name(one), block.name, block.trace_share, block.trace_error, block.rate_share)
        for one in study.networks
        for block in one.modes.blocks
    )
    return Table(
        name="blocks",
        columns=("network", "part", "share of the trace", "its standard error", "share of the first step"),
        rows=rows,
        caption="Trace: how fast any target would be learned. First step: how fast this one is.",
    )


def _table(study: JointStudy) -> Table:
    rows = tuple(
        (
            _name(one),
            float(one.modes.eigenvalues[0]),
            one.modes.error,
            one.modes.trace,
            one.squared.lr,
            one.squared.deviation,
            float(one.squared.trained[-1]),
            float(one.squared.high[-1]),
            None if one.entropy is None else one.entropy.deviation,
            None if one.entropy is None else float(one.entropy.trained[-1]),
            None if one.entropy is None else float(one.entropy.high[-1]),
        )
        for one in study.networks
    )
    columns = (
        "network",
        "largest eigenvalue",
        "its error",
        "trace",
        "learning rate",
        "deviation",
        "final loss",
        "linear",
        "deviation (nats)",
        "final nats",
        "linear (nats)",
    )
    return Table(
        name="networks",
        columns=columns,
        rows=rows,
        title="Every network",
        caption="Error: how far each eigenvalue may be above what is shown. Deviation: how far training is outside the "
        "prediction at most, as a share of what that has learned.",
    )


def _setting(study: JointStudy) -> str:
    return (
        f"{study.data}: {study.num_points} points of {study.num_outputs} outputs, all in every step; {study.setting}; "
        "at most half the largest stable learning rate, twice that for cross-entropy; trained on f - f(0), float64."
    )
