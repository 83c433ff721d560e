"""Draw the pictures of docs/theory/dmft_*.md and p2_spin_glass.md; needs `pip install -e '.[plots]'`.

python benchmarks/dmft_pictures.py
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
from cycler import cycler

from limes.theory.dynamics import (
    MLPProblem,
    Observable,
    SpinGlassProblem,
    finite_width_covariance,
    initial_weights,
    solve_dmft_alternating,
    solve_dmft_linear,
    solve_dmft_mlp,
    solve_dmft_two_layer,
    solve_gradient_independence,
    solve_learning_rule,
    solve_small_gamma0,
    solve_spin_glass,
    solve_static_ntk,
    spin_glass_flow_overlap,
    train_network,
)

matplotlib.use("svg")
OUT = Path(__file__).resolve().parent.parent / "docs" / "theory"
COLOURS = ("#1f4e79", "#c0504d", "#4f8f3a", "#7f6bb3")
Curve = tuple[str, Sequence[float], Sequence[float]]
# Equal runs must write equal files: no date, no random identifiers.
matplotlib.rcParams.update({"svg.hashsalt": "limes", "svg.fonttype": "none", "axes.prop_cycle": cycler(color=COLOURS)})


def picture(name: str, curves: list[Curve], *, x: str, y: str) -> None:
    """One line plot: curves with a legend."""
    figure, axes = plt.subplots(figsize=(6.4, 3.7), layout="constrained")
    for index, (label, horizontal, vertical) in enumerate(curves):
        axes.plot(horizontal, vertical, label=label, linestyle="--" if index else "-")
    axes.set(xlabel=x, ylabel=y)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(OUT / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)


def problem(**changes: object) -> MLPProblem:
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((4, 10))
    fields = {"inputs": inputs, "targets": np.sign(rng.standard_normal(4)), "depth": 2, "activation": "tanh"}
    return MLPProblem(**(fields | {"gamma0": 1.0, "lr": 0.3, "num_times": 30} | changes))


def learning() -> None:
    stated = problem()
    t = np.arange(stated.num_times)
    solved = solve_dmft_mlp(stated)
    lazy, independent = solve_static_ntk(stated), solve_gradient_independence(stated)
    dropped = solve_dmft_mlp(stated, responses=False)
    approximations = [
        ("full solution", t, solved.loss),
        ("static tangent kernel", t, lazy.loss),
        ("gradient independence", t, independent.loss),
        ("responses dropped, output read out", t, dropped.loss),
    ]
    picture("dmft_approximations", approximations, x="update", y="training loss")
    names = ("gradient_descent", "feedback_alignment", "direct_feedback_alignment", "hebbian")
    rules = [(n.replace("_", " "), t, solve_learning_rule(stated, rule=n).loss) for n in names]
    picture("dmft_rules", rules, x="update", y="training loss")


def special_cases() -> None:
    linear = problem(activation="linear", num_times=25)
    t = np.arange(25)
    exact = solve_dmft_linear(linear)
    kernels = [(f"layer {l}", t, [exact.feature_kernel(l, s)[0, 0] for s in t]) for l in (1, 2)]
    picture("dmft_linear", kernels, x="update", y="feature kernel of one sample, linear")
    two = solve_dmft_two_layer(problem(depth=1, gamma0=2.0), num_particles=16384)
    bins = np.linspace(-4, 4, 81)
    centres = 0.5 * (bins[1:] + bins[:-1])
    shapes = [
        (label, centres, np.histogram(two.preactivations(1, s)[0], bins, density=True)[0])
        for label, s in (("after training", 29), ("at initialization", 0))
    ]
    picture("dmft_two_layer", shapes, x="pre-activation of one sample", y="density, gamma0 = 2")
    gammas = np.linspace(0.05, 1.0, 12)
    moved = {"closed equations": solve_dmft_linear, "second order": solve_small_gamma0}
    curves = []
    for label, solve in moved.items():
        values = [
            solve(problem(activation="linear", gamma0=g, num_times=25)).feature_kernel(2, 24)[0, 0] for g in gammas
        ]
        curves.append((label, gammas, values))
    picture("dmft_small_gamma0", curves, x="gamma0", y="final feature kernel, layer 2")
    short = problem(inputs=problem().inputs[:2], targets=[-1.0, 1.0], num_times=15)
    steps = np.arange(15)
    checked = [
        ("conditioning", steps, solve_dmft_mlp(short).loss),
        ("alternating", steps, solve_dmft_alternating(short, tolerance=1e-3).loss),
    ]
    picture("dmft_alternating", checked, x="update", y="training loss")


def finite_width() -> None:
    t = np.arange(16)
    stated = problem(num_times=16)
    watched = [Observable(kind="output", time=s, sample=0) for s in range(1, 16)]
    predicted = np.diag(finite_width_covariance(stated, watched, num_particles=512))
    generator = torch.Generator().manual_seed(1)
    outputs = np.array(
        [
            train_network(stated, weights=initial_weights(stated, width=128, generator=generator)).outputs[1:, 0]
            for _ in range(300)
        ]
    )
    spread = [("influence functions", t[1:], predicted), ("300 networks of width 128", t[1:], 128 * outputs.var(0))]
    picture("dmft_finite_width", spread, x="update", y="width x variance of an output")


def spin_glass() -> None:
    curves = []
    for eta in (0.05, 0.2):
        num = round(4.0 / eta)
        overlap = solve_spin_glass(SpinGlassProblem(eta=eta, num_times=num + 1)).overlap[:, 0]
        curves.append((f"eta = {eta}", eta * np.arange(num + 1), overlap))
    times = np.linspace(0, 4, 60)
    curves.insert(0, ("gradient flow", times, [spin_glass_flow_overlap(s, 0.0) for s in times]))
    picture("p2_spin_glass", curves, x="time eta t", y="overlap with the start")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for draw in (spin_glass, special_cases, learning, finite_width):
        draw()
