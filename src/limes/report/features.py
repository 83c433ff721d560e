"""The page of `limes theory features`: loss of random-feature learners in time, at several widths."""

from pathlib import Path

import numpy as np

from limes.compare.features import FeatureCurve, FeatureStudy
from limes.report.dynamics import Line, line_figure
from limes.report.page import Figure, Page, Section, quiet, write_page
from limes.report.style import MUTED, ramp_color
from limes.theory.scaling import scaling_exponents


def write_feature_report(study: FeatureStudy, path: Path) -> None:
    """Write the study as one HTML file that opens offline.

    Raises:
        StoreError: The file cannot be written.
    """
    write_page(feature_page(study), path)


def answer_lines(study: FeatureStudy) -> tuple[str, ...]:
    """What the theory says, and whether the simulation agrees."""
    found = scaling_exponents(study.a, study.b, batch_noise=False)
    last = ", ".join(f"{_name(curve)}: {curve.predicted[-1]:.4g}" for curve in study.curves)
    lines = [
        f"A {found.task} task: while nothing else limits it the loss falls as t^-{found.time:.3g}, and a width of N "
        f"leaves N^-{found.width:.3g}.",
        f"Loss at time {study.times[-1]:g}: {last}.",
    ]
    shares = [curve.covered for curve in study.curves if curve.covered is not None]
    if shares:
        lines.append(
            f"{study.num_draws} draws of finite learners: their 95% intervals hold the theory at "
            f"{float(np.mean(shares)):.0%} of all times and widths."
        )
    return tuple(lines)


def feature_page(study: FeatureStudy) -> Page:
    """The same page, not yet rendered."""
    samples = "unlimited samples" if study.num_samples is None else f"{study.num_samples} samples"
    setting = quiet(
        f"Eigenvalues k^-{study.b:g}, target power k^-{study.a:g}, {study.num_modes:,} modes, {samples}, label "
        f"noise of variance {study.noise_var:g}; gradient flow, time in units of the inverse largest eigenvalue; "
        "the loss is E(f - y*)^2, without the noise."
    )
    return Page(
        title="limes: random-feature learners",
        question="How does the loss fall with time and width?",
        answer=answer_lines(study),
        sections=(Section(anchor="loss", title="Loss in time", blocks=(_figure(study), setting)),),
    )


def _name(curve: FeatureCurve) -> str:
    return "infinite width" if curve.num_features is None else f"width {curve.num_features}"


def _figure(study: FeatureStudy) -> Figure:
    lines = []
    for index, curve in enumerate(study.curves):
        wide = curve.num_features is None
        color = MUTED[0] if wide else ramp_color(index, max(len(study.curves) - 1, 1))
        lines.append(
            Line(label=_name(curve), x=study.times, y=curve.predicted, color=color, dash="dash" if wide else "solid")
        )
        if curve.simulated is not None and curve.half_width is not None:
            lines.append(
                Line(
                    label=f"{_name(curve)}, simulated",
                    x=study.times,
                    y=curve.simulated,
                    color=color,
                    low=curve.simulated - curve.half_width,
                    high=curve.simulated + curve.half_width,
                    markers=True,
                )
            )
    return line_figure(
        lines,
        title="Excess loss",
        name="features-loss",
        x_title="time",
        y_title="E(f - y*)^2",
        log_x=True,
        log_y=True,
        caption="Lines: theory. Points: means over draws with 95% intervals." if study.num_draws else "",
    )
