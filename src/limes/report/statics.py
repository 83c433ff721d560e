"""The page of `limes theory statics`: NNGP, adaptive kernel and sampled networks on the same data."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import torch

from limes.compare.statics import (
    COLUMNS,
    Prediction,
    StaticsStudy,
    alignment,
    kernel_distance,
    output_distance,
)
from limes.report.dynamics import KERNEL_NOTE, Line, kernel_figure, line_figure
from limes.report.page import Block, Figure, Folded, Grid, Page, Section, Table, write_page
from limes.report.style import category_color, ramp_color, symbol
from limes.report.tables import flat_table
from limes.store.files import write_atomically
from limes.theory.statics import HyperparameterChoice, LearningCurve

MAX_MAPS = 5
# A logarithmic axis has no place for the best pair itself.
LEAST_NATS = 0.1


def write_statics_report(study: StaticsStudy, folder: Path) -> Path:
    """Write statics.csv, statics.json and the page statics.html into a folder, which is made; returns the page.

    Raises:
        StoreError: A file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(study.rows())
    write_atomically(folder / "statics.csv", text.getvalue().encode())
    write_atomically(folder / "statics.json", (json.dumps(study.to_dict(), indent=1) + "\n").encode())
    page = folder / "statics.html"
    write_page(statics_page(study), page)
    return page


def answer_lines(study: StaticsStudy) -> tuple[str, ...]:
    """What the posterior does, and whether sampled networks agree."""
    problem = study.adaptive.problem
    lazy, rich, *networks = study.predictions
    before, after = (alignment(one.kernel, problem.targets) for one in (lazy, rich))
    lines = [
        f"At gamma0 {problem.gamma0:g} and inverse temperature {problem.inverse_temperature:g} the kernel "
        f"{'turns' if after > before else 'does not turn'} towards the targets: alignment {before:.3f} without feature "
        f"learning, {after:.3f} with it.",
        f"ln p(y) at width {study.at_width}: {study.evidence[0]:.4g} with the adaptive kernel, {study.evidence[1]:.4g} "
        "with the kernel of the prior.",
    ]
    if networks:
        last, kind = networks[-1], "test" if len(rich.test) else "training"
        lines.append(
            f"Sampled networks of width {last.width}: {kind} outputs differ by {output_distance(last, rich):.2g} (rms) "
            f"from the adaptive kernel and by {output_distance(last, lazy):.2g} from the NNGP, kernels by "
            f"{kernel_distance(last.kernel, rich.kernel):.1%} and {kernel_distance(last.kernel, lazy.kernel):.1%}."
        )
        worst = max(one.rhat for one in study.posteriors)
        if worst > 1.05:
            lines.append(f"The chains have not met (R-hat {worst:.2f}, expected below 1.05): raise --draws.")
    lines += [_choice_line(choice) for choice in study.choices]
    if study.curve is not None:
        gain, error = (values[-1].item() for values in study.curve.gain())
        lines.append(
            f"With {study.curve.sample_counts[-1]} samples feature learning changes the test error of the NNGP, "
            f"{study.curve.nngp[-1].mean().item():.3g}, by {-gain:+.2g} ({error:.1g} standard error)."
        )
    return tuple(lines)


def _choice_line(choice: HyperparameterChoice) -> str:
    kind = "adaptive kernel" if choice.feature_learning else "kernel of the prior"
    ends = f" ({' and '.join(choice.at_end).replace('_', ' ')} at an end of the grid)" if choice.at_end else ""
    return (
        f"Largest evidence of the {kind}, width {choice.width}: inverse temperature {choice.inverse_temperature:.3g}, "
        f"gamma0 {choice.gamma0:.3g}, ln p(y) = {choice.log_evidence:.4g}{ends}."
    )


def statics_page(study: StaticsStudy) -> Page:
    """The same page, not yet rendered."""
    problem = study.adaptive.problem
    sections = [
        Section(anchor="kernels", title="Kernels", blocks=_kernel_blocks(study)),
        Section(anchor="outputs", title="Predictions", blocks=_output_blocks(study)),
    ]
    if study.choices:
        sections.append(
            Section(anchor="evidence", title="Evidence", blocks=(Grid(figures=tuple(map(_evidence, study.choices))),))
        )
    if study.curve is not None:
        sections.append(Section(anchor="curve", title="Learning curve", blocks=(_curve_figure(study.curve),)))
    sections.append(Section(anchor="numbers", title="Numbers", blocks=_number_blocks(study)))
    return Page(
        title=f"limes: Bayesian networks on {study.data}",
        question="What does a Bayesian network believe after seeing the data?",
        answer=answer_lines(study),
        sections=tuple(sections),
        footer=f"One hidden layer, {problem.phi.name}. Written by limes. This file loads nothing from the network.",
    )


def _name(prediction: Prediction) -> str:
    if prediction.width is not None:
        return f"networks of width {prediction.width}"
    return "NNGP" if prediction.name == "nngp" else "adaptive kernel"


def _kernel_blocks(study: StaticsStudy) -> tuple[Block, ...]:
    order = torch.argsort(study.adaptive.problem.targets, stable=True)
    lazy, rich, *networks = study.predictions
    shown = [lazy, rich, *networks[-(MAX_MAPS - 2) :]] if networks else [lazy, rich]
    maps = [(_name(one), one.kernel[order][:, order].numpy()) for one in shown]
    change = [("adaptive less NNGP", maps[1][1] - maps[0][1])]
    change += [(f"{name} less NNGP", kernel - maps[0][1]) for name, kernel in maps[2:]]
    return (
        kernel_figure(maps, title="Feature kernels of the hidden layer", name="kernels"),
        kernel_figure(change, title="What the data changed", name="kernel-change"),
        KERNEL_NOTE,
    )


def _output_blocks(study: StaticsStudy) -> tuple[Block, ...]:
    lazy, rich, *networks = study.predictions
    kind = "test" if len(rich.test) else "train"
    order = np.argsort(getattr(lazy, kind).numpy(), kind="stable")
    lines = []
    for index, one in enumerate([lazy, rich, *networks[-1:]]):
        mean, deviation = (getattr(one, f"{kind}{part}").numpy()[order] for part in ("", "_deviation"))
        lines.append(
            Line(
                label=_name(one),
                x=np.asarray(np.arange(len(order)) + 1.0 + 0.22 * (index - 1), dtype=np.float64),
                y=mean,
                color=category_color(index),
                low=mean - deviation,
                high=mean + deviation,
                markers=True,
                symbol=symbol(index),
            )
        )
    figures = [
        line_figure(
            lines,
            title=f"Outputs on {'held-out' if kind == 'test' else 'training'} samples",
            name="outputs",
            x_title="sample, by its NNGP output",
            y_title="output",
            caption=f"Bars: deviation of the outputs of one posterior network of width {study.at_width}.",
        )
    ]
    if networks:
        figures.append(_approach_figure(study))
    return (Grid(figures=tuple(figures)),)


def _approach_figure(study: StaticsStudy) -> Figure:
    lazy, rich, *networks = study.predictions
    widths = np.array([float(one.width or 0) for one in networks])
    lines = [
        Line(
            label=f"{what} from the {name}",
            x=widths,
            y=np.array([distance(one) for one in networks]),
            color=category_color(index),
            dash="solid" if what == "outputs" else "dash",
        )
        for index, (name, other) in enumerate((("NNGP", lazy), ("adaptive kernel", rich)))
        for what, distance in (
            ("outputs", lambda one, other=other: output_distance(one, other)),
            ("kernel", lambda one, other=other: kernel_distance(one.kernel, other.kernel)),
        )
    ]
    return line_figure(
        lines,
        title="Distance of sampled networks from both limits",
        name="approach",
        x_title="width",
        y_title="rms of outputs; relative, of kernels",
        log_x=True,
        log_y=True,
        ticks=widths.tolist(),
        caption="From the adaptive kernel: as 1/width until the noise of the chains and of the particles is reached.",
    )


def _evidence(choice: HyperparameterChoice) -> Figure:
    kind = "adaptive kernel" if choice.feature_learning else "kernel of the prior"
    lines = [
        Line(
            label=f"gamma0 {gamma0:.3g}",
            x=choice.inverse_temperatures.numpy(),
            y=(choice.log_evidence - choice.grid[:, column]).clamp_min(LEAST_NATS).numpy(),
            color=ramp_color(column, len(choice.gamma0s)),
        )
        for column, gamma0 in enumerate(choice.gamma0s.tolist())
    ]
    return line_figure(
        lines,
        title=f"Evidence with the {kind}",
        name=f"evidence-{'adaptive' if choice.feature_learning else 'prior'}",
        x_title="inverse temperature",
        y_title="nats below the best pair",
        log_x=True,
        log_y=True,
        ticks=choice.inverse_temperatures.tolist(),
        caption=f"Best: inverse temperature {choice.inverse_temperature:.3g}, gamma0 {choice.gamma0:.3g}; "
        f"width {choice.width}. Less than {LEAST_NATS:g} is drawn as {LEAST_NATS:g}.",
    )


def _curve_figure(curve: LearningCurve) -> Figure:
    lines = []
    for index, (name, errors) in enumerate((("NNGP", curve.nngp), ("adaptive kernel", curve.adaptive))):
        mean, error = errors.mean(1).numpy(), (errors.std(1) / errors.shape[1] ** 0.5).numpy()
        x = np.array(curve.sample_counts, dtype=float)
        lines.append(Line(label=name, x=x, y=mean, color=category_color(index), low=mean - error, high=mean + error))
    return line_figure(
        lines,
        title="Test error against the number of training samples",
        name="learning-curve",
        x_title="training samples",
        y_title="mean squared error",
        log_x=True,
        ticks=[float(count) for count in curve.sample_counts],
        caption=f"Bands: standard error over {curve.nngp.shape[1]} draws of the training set.",
    )


def _number_blocks(study: StaticsStudy) -> tuple[Block, ...]:
    lazy, rich, *_ = study.predictions
    y = study.adaptive.problem.targets
    rows = tuple(
        (
            _name(one),
            alignment(one.kernel, y),
            float(((one.train - y) ** 2).mean()),
            kernel_distance(one.kernel, rich.kernel),
            kernel_distance(one.kernel, lazy.kernel),
            output_distance(one, rich),
            output_distance(one, lazy),
        )
        for one in study.predictions
    )
    columns = (
        "posterior",
        "alignment",
        "training error",
        "kernel: from adaptive",
        "from NNGP",
        "outputs: from adaptive",
        "outputs: from NNGP",
    )
    note = (
        "Alignment: cosine of the kernel and y y'. Training error: mean square. Kernels: relative distance; outputs: "
        "rms distance on held-out samples, or on the training samples where there are no others."
    )
    blocks: list[Block] = [Table(name="statics", columns=columns, rows=rows, caption=note)]
    if study.posteriors:
        chains = tuple(
            (
                one.problem.width,
                one.rhat,
                one.effective_size,
                float(one.sample.acceptance.mean()),
                one.sample.step_size,
                one.sample.num_gradients,
            )
            for one in study.posteriors
        )
        heads = ("width", "R-hat, largest", "effective draws, least", "acceptance", "step", "gradients of each chain")
        blocks.append(Table(name="chains", columns=heads, rows=chains, title="Chains"))
    problem = study.adaptive.problem
    settings = {
        "data": study.data,
        "samples": len(y),
        "inputs per sample": problem.inputs.shape[1],
        "activation": problem.phi.name,
        "gamma0": problem.gamma0,
        "inverse temperature": problem.inverse_temperature,
        "averages over the neuron": study.adaptive.method,
        "residual of the saddle": study.adaptive.residual,
        "bound on what the dual lacks": study.adaptive.gap,
        "largest error of an output": float(study.adaptive.train_error.max()),
    }
    blocks.append(Folded(label="problem and solver", block=flat_table("problem", settings)))
    return tuple(blocks)
