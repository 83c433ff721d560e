"""Draw the pictures of docs/theory/dmft*.md and p2_spin_glass.md as small SVG files: python
benchmarks/dmft_pictures.py.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from limes.theory.dynamics import (
    MLPProblem,
    Observable,
    ResNetProblem,
    SpinGlassProblem,
    finite_width_covariance,
    initial_weights,
    solve_dmft_alternating,
    solve_dmft_linear,
    solve_dmft_mlp,
    solve_dmft_resnet,
    solve_dmft_two_layer,
    solve_gradient_independence,
    solve_learning_rule,
    solve_small_gamma0,
    solve_spin_glass,
    solve_static_ntk,
    spin_glass_flow_overlap,
    train_network,
)

OUT = Path(__file__).resolve().parent.parent / "docs" / "theory"
COLOURS = ("#1f4e79", "#c0504d", "#4f8f3a", "#7f6bb3", "#b8860b")
WIDTH, HEIGHT, PAD = 520, 300, 46
Curve = tuple[str, Sequence[float], Sequence[float]]


def picture(name: str, curves: list[Curve], *, x: str, y: str, band: Curve | None = None) -> None:
    """One line plot: curves with a legend, and an optional band given by (label, low, high) over the
    first x.
    """
    xs = np.concatenate([np.asarray(c[1], float) for c in curves])
    ys = np.concatenate([np.asarray(c[2], float) for c in curves] + ([np.array(band[1:]).ravel()] if band else []))
    low, high = float(min(ys.min(), 0.0)), float(ys.max())

    def point(a: float, b: float) -> str:
        u = PAD + (a - xs.min()) / (xs.max() - xs.min()) * (WIDTH - PAD - 14)
        v = HEIGHT - PAD + 10 - (b - low) / (high - low) * (HEIGHT - PAD - 8)
        return f"{u:.1f},{v:.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="11">'
    ]
    parts.append(f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>')
    if band:
        first = list(np.asarray(curves[0][1], float))
        ring = [point(a, b) for a, b in zip(first, band[2])]
        ring += [point(a, b) for a, b in zip(first[::-1], list(band[1])[::-1])]
        parts.append(f'<polygon points="{" ".join(ring)}" fill="#1f4e79" opacity="0.18"/>')
    for index, (label, a, b) in enumerate(curves):
        colour, dash = COLOURS[index % len(COLOURS)], "" if index == 0 else ' stroke-dasharray="5 3"'
        line = " ".join(point(u, v) for u, v in zip(a, b))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.8"{dash}/>')
        parts.append(f'<text x="{WIDTH - 14}" y="{20 + 14 * index}" fill="{colour}" text-anchor="end">{label}</text>')
    if band:
        parts.append(
            f'<text x="{WIDTH - 14}" y="{20 + 14 * len(curves)}" fill="#557" text-anchor="end">{band[0]}</text>'
        )
    base = HEIGHT - PAD + 10
    parts.append(f'<path d="M{PAD} 8V{base}H{WIDTH - 14}" fill="none" stroke="#444"/>')
    for value in np.linspace(xs.min(), xs.max(), 5):
        parts.append(
            f'<text x="{point(value, low).split(",")[0]}" y="{base + 14}" text-anchor="middle">{value:.3g}</text>'
        )
    for value in np.linspace(low, high, 5):
        v = float(point(xs.min(), value).split(",")[1])
        parts.append(f'<text x="{PAD - 5}" y="{v + 4:.1f}" text-anchor="end">{value:.2g}</text>')
    parts.append(f'<text x="{(WIDTH + PAD) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{x}</text>')
    parts.append(f'<text x="{PAD + 6}" y="18">{y}</text></svg>')
    (OUT / f"{name}.svg").write_text("\n".join(parts) + "\n")


def problem(**changes: object) -> MLPProblem:
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((4, 10))
    fields = {"inputs": inputs, "targets": np.sign(rng.standard_normal(4)), "depth": 2, "activation": "tanh"}
    return MLPProblem(**(fields | {"gamma0": 1.0, "lr": 0.3, "num_times": 30} | changes))


def networks(stated: MLPProblem, *, width: int, count: int) -> np.ndarray:
    generator = torch.Generator().manual_seed(0)
    weights = [initial_weights(stated, width=width, generator=generator) for _ in range(count)]
    return np.array([train_network(stated, weights=w).loss for w in weights])


def learning() -> None:
    stated = problem()
    t = np.arange(stated.num_times)
    curves = networks(stated, width=128, count=40)
    band = ("40 networks of width 128: +- 1 sd", curves.mean(0) - curves.std(0), curves.mean(0) + curves.std(0))
    solved = solve_dmft_mlp(stated)
    tangent = [("infinite width", t, solved.loss), ("mean of the networks", t, curves.mean(0))]
    picture("dmft", tangent, x="update", y="training loss", band=band)
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


def depth_and_width() -> None:
    base = problem(inputs=problem().inputs[:3], targets=[-1.0, 1.0, 1.0], num_times=16)
    fields = {"inputs": base.inputs, "targets": base.targets, "activation": "tanh", "gamma0": 1.0, "lr": 0.3}
    t = np.arange(16)
    curves = []
    for depth in (16, 4, 2, 1):
        stated = ResNetProblem(depth=depth, num_times=16, **fields)
        curves.append((f"{depth} blocks", t, solve_dmft_resnet(stated, num_particles=2048).loss))
    picture("dmft_resnet", curves, x="update", y="training loss")
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
    for draw in (spin_glass, special_cases, learning, depth_and_width):
        draw()
