"""Shaped networks as deep as they are wide: the correlation of two inputs is random, with the law of an SDE.

Source: arXiv:2206.02768, theorem 3.2 and Eq. 1.4. Letters: n width, rho the correlation.
"""

import numpy as np
import torch

from limes.compare.gallery.picture import NEUTRAL, Array, Curve, Panel, Picture, Progress, Reading, interval
from limes.theory.initialization import (
    CovarianceLaw,
    CovarianceProblem,
    ShapedReLU,
    correlation_law,
    simulate_covariance,
    solve_covariance_sde,
)
from limes.theory.kernels import dual_activation

START = [[1.0, 0.3], [0.3, 1.0]]
WIDTHS = (32, 64, 128)
MEAN, SPREAD = "mean correlation, networks of width {}", "deviation of the correlation, networks of width {}"
PATHS = "mean correlation, paths of the SDE"
EDGES = np.linspace(-1.0, 1.0, 17)


def draw(*, reduced: bool, progress: Progress) -> Picture:
    """The law of the correlation, networks of growing width, paths of the SDE; and the plain network beside it."""
    count = 400 if reduced else 4000
    widths = WIDTHS[:2] if reduced else WIDTHS
    stated = CovarianceProblem(START, 1.0, ShapedReLU(0.0, -1.0))
    law = correlation_law(stated, num_cells=1000, num_steps=400)
    paths = solve_covariance_sde(stated, num_paths=count, num_steps=100).correlation().numpy()
    generator = torch.Generator().manual_seed(0)
    finite: dict[int, Array] = {}
    for place, width in enumerate(widths):
        run = simulate_covariance(stated, width=width, num_draws=count, generator=generator)
        finite[width] = run.correlation().numpy()
        progress((place + 1) / len(widths))
    source = "law of the SDE, arXiv:2206.02768, Eq. 1.4"
    readings = [_mean_reading(PATHS, paths, law.mean, source)]
    readings.append(_mean_reading(MEAN.format(widths[-1]), finite[widths[-1]], law.mean, source))
    readings.append(_spread_reading(SPREAD.format(widths[-1]), finite[widths[-1]], law.std, source))
    plain = _plain(200)
    readings.append(
        Reading(
            name="(1 - correlation) x layer^2 in a plain relu network, layer 200",
            measured=float((1.0 - plain[-1]) * 200**2),
            expected=4.5 * np.pi**2,
            source="9 pi^2 / 2 as the layer grows",
        )
    )
    return Picture(
        question="Do two inputs stay different on their way through a deep network?",
        answer=(
            f"In a plain relu network they become the same: their correlation is {plain[50]:.2f} after 50 layers and "
            f"{plain[-1]:.3f} after 200, from 0.3.",
            "With the activation shaped, as many layers as neurons leave a correlation that is random, of mean "
            f"{law.mean:.2f} and deviation {law.std:.2f}; networks of width {widths[-1]} have "
            f"{finite[widths[-1]].mean():.2f} and {finite[widths[-1]].std(ddof=1):.2f}.",
        ),
        panels=(_density_panel(law, finite, paths), _layer_panel(plain, law)),
        readings=tuple(readings),
        setting=(
            "Two inputs of correlation 0.3; relu with slopes 1 and 1 - 1 / sqrt(width), depth equal to the width; "
            f"{count} networks of each width, sampled exactly, and {count} paths."
        ),
    )


def _mean_reading(name: str, samples: Array, expected: float, source: str) -> Reading:
    mean, half = float(samples.mean()), float(interval(samples))
    return Reading(name=name, measured=mean, half_width=half, expected=expected, source=source)


def _spread_reading(name: str, samples: Array, expected: float, source: str) -> Reading:
    """Standard deviation; its interval from the fourth moment."""
    centred = samples - samples.mean()
    spread = float(centred.std(ddof=1))
    error = np.sqrt((np.mean(centred**4) / spread**4 - 1.0) / (4.0 * len(samples))) * spread
    return Reading(name=name, measured=spread, half_width=float(1.96 * error), expected=expected, source=source)


def _plain(num_layers: int) -> Array:
    """Correlation after every layer of an infinitely wide relu network, variances kept."""
    one = torch.ones(1, dtype=torch.float64)
    rows, rho = [0.3], torch.tensor([0.3], dtype=torch.float64)
    for _ in range(num_layers):
        rho = (2.0 * dual_activation("relu", one, var2=one, cov=rho)[0]).clamp_max(1.0)
        rows.append(float(rho))
    return np.array(rows)


def _density(samples: Array) -> Array:
    return np.histogram(samples, EDGES, density=True)[0]


def _density_panel(law: CovarianceLaw, finite: dict[int, Array], paths: Array) -> Panel:
    centres = 0.5 * (EDGES[1:] + EDGES[:-1])
    exact = np.histogram(law.values, EDGES, weights=law.mass)[0] / (EDGES[1] - EDGES[0])
    curves = [
        Curve(label="law of the SDE", x=centres, y=exact, color=len(finite)),
        Curve(label="paths of the SDE", x=centres, y=_density(paths), color=NEUTRAL, style="dash"),
    ]
    curves += [
        Curve(label=f"networks of width {width}", x=centres, y=_density(samples), color=color, style="points")
        for color, (width, samples) in enumerate(finite.items())
    ]
    return Panel(
        title="Correlation at the last layer of shaped networks",
        x_title="correlation of the two inputs",
        y_title="density",
        curves=tuple(curves),
        ordered=True,
    )


def _layer_panel(plain: Array, law: CovarianceLaw) -> Panel:
    layers = np.arange(len(plain), dtype=float)
    width = len(plain) - 1
    shares = np.linspace(0.0, 1.0, 11)
    means, spreads = [0.3], [0.0]
    for share in shares[1:]:
        part = correlation_law(CovarianceProblem(START, float(share), law.problem.shape), num_cells=600, num_steps=200)
        means.append(part.mean)
        spreads.append(part.std)
    mean, spread = np.array(means), np.array(spreads)
    shaped = Curve(
        label=f"shaped, width {width}: mean and deviation",
        x=shares * width,
        y=mean,
        color=1,
        low=mean - spread,
        high=np.minimum(mean + spread, 1.0),
    )
    return Panel(
        title="Through the layers",
        x_title="layer",
        y_title="correlation of the two inputs",
        curves=(Curve(label="plain relu, infinitely wide", x=layers, y=plain, color=0), shaped),
    )
