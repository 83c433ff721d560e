"""Figures of a comparison with the infinitely wide limit."""

from collections.abc import Sequence

import numpy as np

from limes.compare.limit_result import GammaComparison, LimitCheck
from limes.report.dynamics import Line, Sample, density_figure, kernel_figure, line_figure
from limes.report.page import Figure
from limes.report.style import CATEGORIES, INK, MUTED, category_color, ramp_color, symbol


def rich_figure(gammas: Sequence[GammaComparison]) -> Figure:
    """Loss of every gamma0: the limit as a line, the widest networks as markers."""
    lines = []
    for index, gamma in enumerate(gammas):
        color, t = ramp_color(index, len(gammas)), np.arange(len(gamma.theory.loss), dtype=float)
        lines.append(Line(label=f"gamma0 {gamma.gamma0:g}, limit", x=t, y=gamma.theory.loss, color=color))
        widest = gamma.samples[-1]
        shown = np.unique(np.linspace(0, len(t) - 1, 9).round().astype(int))
        mean, error = widest.losses.mean(0), widest.losses.std(0, ddof=1) / np.sqrt(len(widest.losses))
        lines.append(
            Line(
                label=f"gamma0 {gamma.gamma0:g}, width {widest.width}",
                x=t[shown],
                y=mean[shown],
                color=color,
                low=(mean - 2 * error)[shown],
                high=(mean + 2 * error)[shown],
                markers=True,
                symbol=symbol(index),
            )
        )
    lazy = gammas[0].lazy_loss
    t = np.arange(len(lazy), dtype=float)
    lines.append(Line(label="lazy limit (gamma0 to 0)", x=t, y=lazy, color=MUTED[0], dash="dash"))
    return line_figure(
        lines,
        title="Loss at each gamma0: infinitely wide networks, and the widest that were trained",
        name="lazy-against-rich",
        x_title="step",
        y_title="half mean squared error",
        caption="Lines: infinitely wide. Markers: mean of the widest networks, plus or minus two standard errors.",
        height=460,
    )


def loss_figure(gamma: GammaComparison) -> Figure:
    """Mean loss of each width with a band of one standard deviation over networks, and the limit."""
    lines, t = [], np.arange(len(gamma.theory.loss), dtype=float)
    for index, sample in enumerate(gamma.samples):
        mean, deviation = sample.losses.mean(0), sample.losses.std(0, ddof=1)
        color = ramp_color(index, len(gamma.samples))
        lines.append(
            Line(label=f"width {sample.width}", x=t, y=mean, color=color, low=mean - deviation, high=mean + deviation)
        )
    lines.append(Line(label="infinite width", x=t, y=gamma.theory.loss, color=INK[0], dash="dash"))
    return line_figure(
        lines,
        title="Loss of trained networks, and of the infinitely wide one",
        name=f"loss-{gamma.gamma0:g}",
        x_title="step",
        y_title="half mean squared error",
        caption="Bands: one standard deviation over networks.",
    )


def convergence_figure(gamma: GammaComparison) -> Figure:
    """Squared distance from the limit against width, with fitted powers."""
    lines = []
    for index, fit in enumerate(gamma.convergence):
        widths, color = np.array(fit.widths, dtype=float), category_color(index)
        label = f"{fit.quantity}: slope {fit.slope:.2f} ({fit.interval[0]:.2f}, {fit.interval[1]:.2f})"
        error = 2 * fit.error
        lines.append(
            Line(
                label=label,
                x=widths,
                y=fit.distance,
                color=color,
                # On a logarithmic axis an error bar cannot reach zero.
                low=np.maximum(fit.distance - error, 0.2 * fit.distance),
                high=fit.distance + error,
                markers=True,
                symbol=symbol(index),
            )
        )
        line = fit.prefactor * widths**fit.slope
        lines.append(Line(label=f"fit, {fit.quantity}", x=widths, y=line, color=color, legend=False))
        if fit.predicted is not None:
            predicted = f"{fit.quantity}, predicted"
            lines.append(Line(label=predicted, x=widths, y=fit.predicted, color=color, dash="dash"))
    return line_figure(
        lines,
        title="Squared distance from the limit against width",
        name=f"convergence-{gamma.gamma0:g}",
        x_title="width",
        y_title="relative squared distance",
        log_x=True,
        log_y=True,
        ticks=gamma.convergence[0].widths,
        caption="Slopes with 95 % intervals; the theory's is -1. Error bars: two standard errors.",
        height=470,
    )


def limit_figure(gamma: GammaComparison) -> Figure:
    """Mean losses against 1 / width, the fitted line, and the theory at 0."""
    lines = []
    for index, check in enumerate(gamma.limits):
        lines += _limit_lines(check, category_color(index), symbol(index))
    return line_figure(
        lines,
        title="Mean loss extrapolated to infinite width, and the theory",
        name=f"limit-{gamma.gamma0:g}",
        x_title="1 / width",
        y_title="half mean squared error",
        caption="Stars: the theory at infinite width. Error bars: 95 % intervals.",
        height=470,
    )


def _limit_lines(check: LimitCheck, color: str, shape: str) -> list[Line]:
    x = 1.0 / np.array(check.widths, dtype=float)
    ends = np.array([0.0, x.max()])
    label, reach = f"step {check.step}", 2 * check.error
    zero, own = np.zeros(1), check.predicted_half_width
    predicted, limit = np.array([check.predicted]), np.array([check.limit])
    return [
        Line(label=f"{label}, fit", x=ends, y=check.limit + check.slope * ends, color=color, legend=False),
        Line(
            label=f"{label}, networks",
            x=x,
            y=check.mean,
            color=color,
            low=check.mean - reach,
            high=check.mean + reach,
            markers=True,
            symbol=shape,
        ),
        Line(
            label=f"{label}, extrapolated",
            x=zero,
            y=limit,
            color=color,
            low=limit - check.half_width,
            high=limit + check.half_width,
            markers=True,
            symbol=f"{shape}-open",
        ),
        Line(
            label=f"{label}, theory",
            x=zero,
            y=predicted,
            color=INK[0],
            low=predicted - own,
            high=predicted + own,
            markers=True,
            symbol="star",
        ),
    ]


def spread_figure(gamma: GammaComparison) -> Figure:
    """Width times the variance of an output over networks, measured and predicted."""
    spread, lines = gamma.spread, []
    steps = np.array(spread.steps, dtype=float)
    # Beside each other, so that error bars do not hide each other.
    gap = 0.1 * float(np.diff(steps).min()) if len(steps) > 1 else 0.0
    for index, sample in enumerate(gamma.samples):
        shift = gap * (index - (len(gamma.samples) - 1) / 2)
        measured, half = spread.measured[index], spread.half_width[index]
        lines.append(
            Line(
                label=f"width {sample.width}",
                x=steps + shift,
                y=measured,
                color=ramp_color(index, len(gamma.samples)),
                low=measured - half,
                high=measured + half,
                markers=True,
                symbol=symbol(index),
            )
        )
    if spread.predicted is not None:
        lines.append(Line(label="predicted", x=steps, y=spread.predicted, color=INK[0], dash="dash"))
    return line_figure(
        lines,
        title="Spread over initializations, measured and predicted",
        name=f"spread-{gamma.gamma0:g}",
        x_title="step",
        y_title="width x variance of an output",
        caption=spread.note or f"Mean over {spread.num_samples} samples; error bars: 95 % over networks.",
    )


def layer_figures(gamma: GammaComparison, layer: int, *, step: int) -> tuple[Figure, ...]:
    """Feature kernel, gradient kernel and pre-activations of one layer after training."""
    widest, theory = gamma.samples[-1], gamma.theory
    order = np.argsort(gamma.problem.targets, kind="stable")
    shown = np.ix_(order, order)
    pairs = (
        ("feature", widest.feature_kernels, theory.feature_kernel),
        ("gradient", widest.gradient_kernels, theory.gradient_kernel),
    )
    figures = [
        kernel_figure(
            [
                (f"width {widest.width}", kernels[:, -1, layer - 1].mean(0)[shown]),
                ("limit", limit(layer, step)[shown]),
                ("limit, untrained", limit(layer, 0)[shown]),
            ],
            title=f"Layer {layer}: {kind} kernel after {step} steps",
            name=f"{kind}-kernel-{layer}-{gamma.gamma0:g}",
            caption=f"Networks: mean of {len(kernels)}.",
        )
        for kind, kernels, limit in pairs
    ]
    neurons = widest.preactivations[:, -1, layer - 1].reshape(-1)
    fields = density_figure(
        [
            Sample(label=f"width {widest.width}", values=neurons, color=CATEGORIES[1][0], filled=True),
            Sample(label="limit", values=theory.preactivations(layer, step)[0], color=CATEGORIES[0][0]),
            Sample(label="limit, untrained", values=theory.preactivations(layer, 0)[0], color=MUTED[0], dash="dash"),
        ],
        title=f"Layer {layer}: pre-activations of the first sample after {step} steps",
        name=f"preactivations-{layer}-{gamma.gamma0:g}",
        x_title="pre-activation",
        caption=f"{len(neurons):,} neurons of {len(widest.preactivations)} networks.",
    )
    return (*figures, fields)
