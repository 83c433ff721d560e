"""The page of `limes spectrum`: a network's modes, its exponents, and its loss predicted before training."""

from pathlib import Path

import numpy as np

from limes.compare.spectrum import SpectrumCurve, SpectrumStudy
from limes.report.dynamics import Line, line_figure
from limes.report.page import Figure, Grid, Page, Section, Table, Text, quiet, write_page
from limes.report.style import MUTED, ramp_color
from limes.theory.scaling import ScalingExponents


def write_spectrum_report(study: SpectrumStudy, path: Path) -> None:
    """Write the study as one HTML file that opens offline.

    Raises:
        StoreError: The file cannot be written.
    """
    write_page(spectrum_page(study), path)


def answer_lines(study: SpectrumStudy) -> tuple[str, ...]:
    """What the study says, one sentence for each parametrization."""
    lines = []
    for name in dict.fromkeys(curve.parametrization for curve in study.curves):
        curves = [curve for curve in study.curves if curve.parametrization == name]
        widths = ", ".join(str(curve.width) for curve in curves)
        off = ", ".join(f"{np.exp(curve.deviation):.2f}" for curve in curves)
        lines.append(f"{name}: trained and predicted loss differ by a factor of at most {off} at widths {widths}.")
        lost = ", ".join(f"{curve.width} (step {curve.diverged_step})" for curve in curves if curve.diverged_step)
        if lost:
            lines.append(f"{name}: training diverged at width {lost}, where its curves end.")
    widest = max(study.curves, key=lambda curve: curve.width)
    found = widest.exponents
    lines.append(
        f"At width {widest.width} eigenvalues fall as k^-{found.b:.2f} ({found.b_interval[0]:.2f} to "
        f"{found.b_interval[1]:.2f}), the target's power as k^-{found.a:.2f} ({found.a_interval[0]:.2f} to "
        f"{found.a_interval[1]:.2f}), over modes {found.modes[0]} to {found.modes[1]}.{_theory_words(widest)}"
    )
    return tuple(lines)


def _claimed(curve: SpectrumCurve) -> ScalingExponents | None:
    """What the theory makes of a and b, where their whole intervals are within its reach."""
    found = curve.exponents
    return curve.theory if min(found.a_interval[0], found.b_interval[0]) > 1 else None


def _theory_words(curve: SpectrumCurve) -> str:
    theory = _claimed(curve)
    if theory is None:
        return " These intervals reach below 1, where the theory's power laws have no meaning: no exponent is claimed."
    name, time = theory.task, theory.time
    return f" By the theory of random features that is a {name} task, whose lazy loss falls as t^-{time:.2f}."


def spectrum_page(study: SpectrumStudy) -> Page:
    """The same page, not yet rendered."""
    names = tuple(dict.fromkeys(curve.parametrization for curve in study.curves))
    by_name = {name: [curve for curve in study.curves if curve.parametrization == name] for name in names}
    caption = quiet(
        "Solid: trained. Dashed: the full sum over the modes measured before training, which is exact for a "
        "network whose tangent kernel stays put. Where features move, training leaves the prediction."
    )
    return Page(
        title=f"limes: spectrum of {study.data}",
        question="What does a network's spectrum say of its loss before it is trained?",
        answer=answer_lines(study),
        sections=(
            Section(
                anchor="loss",
                title="Predicted and trained",
                blocks=(caption, Grid(figures=tuple(_loss(curves) for curves in by_name.values()))),
            ),
            Section(
                anchor="modes",
                title="Modes",
                blocks=(Grid(figures=(_modes(by_name[names[0]], "eigenvalues"), _modes(by_name[names[0]], "power"))),),
            ),
            Section(anchor="numbers", title="Numbers", blocks=(_table(study), _setting(study))),
        ),
    )


def _loss(curves: list[SpectrumCurve]) -> Figure:
    lines = []
    for index, curve in enumerate(curves):
        color = ramp_color(index, len(curves))
        lines.append(Line(label=f"width {curve.width}", x=curve.steps, y=curve.trained, color=color))
        lines.append(
            Line(label=f"width {curve.width}, predicted", x=curve.steps, y=curve.predicted, color=color, dash="dash")
        )
    name = curves[0].parametrization
    return line_figure(
        lines,
        title=f"{name}: training loss",
        name=f"{name}-loss",
        x_title="step",
        y_title="half mean squared error",
        log_x=True,
        log_y=True,
    )


def _modes(curves: list[SpectrumCurve], which: str) -> Figure:
    lines = []
    for index, curve in enumerate(curves):
        values = getattr(curve.spectrum, which)
        modes = np.arange(1, len(values) + 1, dtype=float)
        lines.append(Line(label=f"width {curve.width}", x=modes, y=values, color=ramp_color(index, len(curves))))
    found = curves[-1].exponents
    slope = found.b if which == "eigenvalues" else found.a
    window = np.array(found.modes, dtype=float)
    values = getattr(curves[-1].spectrum, which)
    inside = np.arange(found.modes[0], found.modes[1] + 1)
    level = np.mean(values[inside - 1] * inside**slope)
    lines.append(Line(label=f"k^-{slope:.2f}", x=window, y=level * window**-slope, color=MUTED[0], dash="dash"))
    title = "Eigenvalues of the tangent kernel" if which == "eigenvalues" else "Power of the target by mode"
    return line_figure(lines, title=title, name=f"modes-{which}", x_title="mode", y_title=which, log_x=True, log_y=True)


def _table(study: SpectrumStudy) -> Table:
    rows = tuple(
        (
            c.parametrization,
            c.width,
            c.exponents.a,
            c.exponents.b,
            None if (theory := _claimed(c)) is None else theory.time,
            c.deviation,
            float(c.trained[-1]),
            float(c.predicted[-1]),
        )
        for c in study.curves
    )
    columns = ("parametrization", "width", "a", "b", "time exponent", "deviation", "final loss", "predicted")
    return Table(
        name="spectrum",
        columns=columns,
        rows=rows,
        title="Every network",
        caption="Deviation: largest |ln(trained / predicted)|. Time exponent: of the lazy loss, from a and b where "
        "their intervals are above 1.",
    )


def _setting(study: SpectrumStudy) -> Text:
    return quiet(
        f"{study.data}, {study.num_samples} samples, all in every step; {study.depth} hidden layers of "
        f"{study.activation}, base width {study.base_width}; half the largest stable learning rate; trained on "
        "f - f(0), float64."
    )
