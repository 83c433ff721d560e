"""Figures of a study of consistency: one set for each parametrization."""

import math
from collections.abc import Sequence

import numpy as np

from limes.compare.consistency_result import Array, Observable, PathResult
from limes.compare.convergence import Convergence
from limes.report.dynamics import Line, kernel_figure, line_figure
from limes.report.page import Figure
from limes.report.style import INK, MUTED, category_color, ramp_color, symbol
from limes.spec.consistency import ConsistencySpec

NUM_TIMES = 4


def loss_figure(spec: ConsistencySpec, path: PathResult, *, unit: str) -> Figure:
    """Loss on the fixed batch at every size over each other, with a band of one deviation over networks."""
    lines, steps = [], np.maximum(np.array(path.steps, dtype=float), 0.5)
    for index, (size, group) in enumerate(zip(spec.sizes, path.losses, strict=True)):
        mean, deviation = group.mean(0), group.std(0, ddof=1)
        color = ramp_color(index, len(spec.sizes))
        label = f"{_axis(spec)} {size}"
        lines.append(Line(label=label, x=steps, y=mean, color=color, low=mean - deviation, high=mean + deviation))
    limit = path.observables["probe loss"].limit
    if limit is not None:
        lines.append(Line(label="infinite width", x=steps, y=limit[:, 0], color=INK[0], dash="dash"))
    return line_figure(
        lines,
        title="Loss of all sizes, on one fixed batch",
        name=f"loss-{path.label}",
        x_title="step (the start at 1/2)",
        y_title=unit,
        log_x=True,
        caption="Bands: one standard deviation over networks of a size.",
        height=430,
    )


def power_figure(spec: ConsistencySpec, path: PathResult) -> Figure:
    """Power with which the spread falls, along training."""
    some = ("outputs", "loss of examples", "tangent kernel")
    names: list[str] = [name for name in some if name in path.observables]
    names += [name for name in path.observables if name.startswith("feature kernel")][-1:]
    names += [name for name in path.observables if name.startswith("attention,")][-1:]
    lines = []
    for index, name in enumerate(names):
        steps, powers = _known_powers(path.observables[name])
        # Side by side, so that error bars do not hide each other.
        x = steps * 1.04 ** (index - (len(names) - 1) / 2)
        lines.append(
            Line(label=name, x=x, y=powers[:, 0], low=powers[:, 1], high=powers[:, 2], color=category_color(index),
                 markers=True, symbol=symbol(index))
        )  # fmt: skip
    ends = np.array([max(float(path.steps[1]), 0.5), float(path.steps[-1])])
    if spec.axis != "depth":
        lines.append(Line(label="1 / size", x=ends, y=np.ones(2), color=MUTED[0], dash="dash"))
    return line_figure(
        lines,
        title="Spread over initializations falls as size^-power",
        name=f"powers-{path.label}",
        x_title="step",
        y_title="power",
        log_x=True,
        caption=f"Squared deviations from the mean network; {spec.level:.0%} intervals over networks.",
        height=430,
    )


def deviation_figure(spec: ConsistencySpec, path: PathResult, name: str) -> Figure:
    """Squared deviation of one network against size, at several times."""
    item = path.observables[name]
    places = [k for k, found in enumerate(item.found) if found is not None]
    chosen = sorted({places[round(x)] for x in np.linspace(0, len(places) - 1, NUM_TIMES)}) if places else []
    lines = []
    for index, k in enumerate(chosen):
        found = item.found[k]
        assert found is not None
        lines += _deviation_lines(found, f"step {item.steps[k]}", ramp_color(index, len(chosen)), symbol(index))
    return line_figure(
        lines,
        title=f"{name[:1].upper()}{name[1:]}: squared deviation against {_axis(spec)}",
        name=f"deviation-{name}-{path.label}",
        x_title=_axis(spec),
        y_title="relative squared deviation",
        log_x=True,
        log_y=True,
        ticks=spec.sizes,
        caption="Filled: spread over networks. Open: squared distance of their mean from the limit, where it is above "
        "its noise. Lines: fitted powers.",
        height=430,
    )


def _deviation_lines(found: Convergence, label: str, color: str, shape: str) -> list[Line]:
    power = found.spread_power
    words = f"{label}: power {-power.value:.2f} ({-power.high:.2f}, {-power.low:.2f})" if power.known else label
    x = found.sizes
    seen = np.where(found.mean_deviation > 2 * found.noise, found.mean_deviation, np.nan)
    lines = [Line(label=words, x=x, y=found.spread, color=color, markers=True, symbol=shape)]
    if power.known:
        level = math.exp(float(np.mean(np.log(found.spread) + power.value * np.log(x))))
        lines.append(Line(label=f"fit, {label}", x=x, y=level * x**-power.value, color=color, legend=False))
    if np.isfinite(seen).any():
        open_ = f"{shape}-open"
        lines.append(Line(label=f"{label}, mean", x=x, y=seen, color=color, markers=True, symbol=open_, legend=False))
    return lines


def growth_figures(spec: ConsistencySpec, path: PathResult) -> tuple[Figure, ...]:
    """How far features have moved, and sharpness, against size at several times."""
    moves = [item for name, item in path.growths.items() if name.startswith("movement")]
    chosen = [*moves[-1:], *(item for name, item in path.growths.items() if name == "sharpness")]
    figures = []
    for item in chosen:
        places = [k for k in range(len(item.steps)) if np.isfinite(item.slopes[k, 0])]
        some = sorted({places[round(x)] for x in np.linspace(0, len(places) - 1, NUM_TIMES)}) if places else []
        lines = []
        for index, k in enumerate(some):
            slope, low, high = item.slopes[k]
            label = f"step {item.steps[k]}: power {slope:.2f} ({low:.2f}, {high:.2f})"
            x, color = np.array(spec.sizes, dtype=float), ramp_color(index, len(some))
            lines.append(Line(label=label, x=x, y=item.means[k], color=color, markers=True, symbol=symbol(index)))
            lines.append(Line(label=f"line {k}", x=x, y=item.means[k], color=color, legend=False))
        title = {"sharpness": "Sharpness, in units of the learning rates"}
        name = "Features of the last layer: how far they have moved"
        figures.append(
            line_figure(
                lines,
                title=f"{title.get(item.name, name)}, against {_axis(spec)}",
                name=f"{item.name}-{path.label}",
                x_title=_axis(spec),
                y_title="largest eigenvalue" if item.name == "sharpness" else "relative to their start",
                log_x=True,
                log_y=True,
                ticks=spec.sizes,
                caption="Power 0: alike at all sizes. Below: lazy. Above: unstable.",
            )
        )
    return tuple(figures)


def distance_figure(
    spec: ConsistencySpec, path: PathResult, names: Sequence[str], *, title: str, y_title: str
) -> Figure:
    """Distance of the average network from the limit at the last step, against size."""
    lines = []
    for index, name in enumerate(names):
        distance = path.observables[name].distance
        if distance is None:
            continue
        stop = len(spec.sizes) if path.observables[name].limit is not None else len(spec.sizes) - 1
        x, color = np.array(spec.sizes[:stop], dtype=float), category_color(index)
        lines.append(Line(label=name, x=x, y=distance[-1, :stop], color=color, markers=True, symbol=symbol(index)))
        lines.append(Line(label=f"line of {name}", x=x, y=distance[-1, :stop], color=color, legend=False))
    return line_figure(
        lines,
        title=f"{title}, at the end",
        name=f"distance-{y_title}-{path.label}",
        x_title=_axis(spec),
        y_title=y_title,
        log_x=True,
        log_y=True,
        ticks=spec.sizes,
        caption="Of averages over networks; noise of few networks stands in it.",
        height=440,
    )


def agreement_figure(spec: ConsistencySpec, path: PathResult) -> Figure:
    """Predictions of sizes and seeds against each other, along training."""
    found = path.agreement
    assert found is not None
    steps = np.maximum(np.array(path.steps, dtype=float), 0.5)
    lines = []
    for index, size in enumerate(spec.sizes):
        color = ramp_color(index, len(spec.sizes))
        label = f"{_axis(spec)} {size}"
        if index < len(spec.sizes) - 1:
            lines.append(Line(label=f"{label}, with the largest", x=steps, y=found.with_largest[:, index], color=color))
        seeds = found.between_seeds[:, index]
        lines.append(Line(label=f"{label}, between seeds", x=steps, y=seeds, color=color, dash="dot"))
    gain = found.single[-1] - found.ensemble[-1]
    words = ", ".join(f"{value:.3g} at {size}" for size, value in zip(spec.sizes, gain, strict=True))
    return line_figure(
        lines,
        title="Share of examples on which predictions agree",
        name=f"agreement-{path.label}",
        x_title="step (the start at 1/2)",
        y_title="share",
        log_x=True,
        caption="Averages of a size against the largest's, and pairs of networks. At the end an ensemble's loss is "
        f"below that of one network by {words}.",
        height=440,
    )


def quantile_figure(spec: ConsistencySpec, path: PathResult, name: str) -> Figure:
    """Distribution of pre-activations at the end, at every size."""
    item, lines = path.observables[name], []
    for index, size in enumerate(spec.sizes):
        centre, density = _density(item.means[-1, index])
        color = ramp_color(index, len(spec.sizes))
        lines.append(Line(label=f"{_axis(spec)} {size}", x=centre, y=density, color=color))
    if item.limit is not None:
        centre, density = _density(item.limit[-1])
        lines.append(Line(label="infinite width", x=centre, y=density, color=INK[0], dash="dash"))
    return line_figure(
        lines,
        title=f"{name[:1].upper()}{name[1:]}: distribution at the end",
        name=f"{name}-{path.label}",
        x_title="pre-activation",
        y_title="density",
        caption=f"From {item.means.shape[-1]} quantiles, averaged over networks.",
    )


def _density(quantiles: Array) -> tuple[Array, Array]:
    """Density between every fourth quantile."""
    some = quantiles[1::4]
    gaps = np.maximum(np.diff(some), 1e-12)
    return (some[1:] + some[:-1]) / 2, 4 / len(quantiles) / gaps


def kernel_maps(spec: ConsistencySpec, path: PathResult, name: str) -> Figure:
    """A kernel at the end as heat maps: smallest, middle and largest size, and the theory's."""
    item = path.observables[name]
    places = (0, len(spec.sizes) // 2, len(spec.sizes) - 1)
    maps = [(f"{_axis(spec)} {spec.sizes[place]}", item.means[-1, place]) for place in places]
    if item.limit is not None:
        maps.append(("infinite width", item.limit[-1]))
    return kernel_figure(
        maps,
        title=f"{name[:1].upper()}{name[1:]} at the end",
        name=f"{name}-{path.label}",
        caption="Averages over networks of a size, of the same inputs.",
    )


def _known_powers(item: Observable) -> tuple[Array, Array]:
    pairs = [(step, p) for step, p in zip(item.steps, item.powers("spread_power"), strict=True) if p.known and step > 0]
    steps = np.array([step for step, _ in pairs], dtype=float)
    return steps, np.array([(p.value, p.low, p.high) for _, p in pairs]).reshape(-1, 3)


def _axis(spec: ConsistencySpec) -> str:
    return "heads" if spec.axis == "heads" else spec.axis
