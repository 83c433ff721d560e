"""Error of the loss curve against CPU seconds: conditioning solver, alternating solver, direct simulation.
One run, one plot.

    python benchmarks/dmft_accuracy.py --out dmft_accuracy.html [--quick]

The problem is the target's: tanh, two hidden layers, gamma0 1, 4 samples, 50 times. Errors are relative L2
norms over times, root mean square over independent repetitions; CPU time is of one thread. Simulation is
float32 with in-place rank-P updates, the fastest form we know; its error at n networks is sqrt(bias^2 +
scatter^2 / n), from the networks that were run.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np  # noqa: E402
import torch  # noqa: E402

from limes.theory.dynamics import MLPProblem, solve_dmft_alternating, solve_dmft_mlp  # noqa: E402

TARGET = 1e-3


def make_problem(num_times: int = 50) -> MLPProblem:
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((4, 10))
    targets = np.sign(rng.standard_normal(4))
    return MLPProblem(
        inputs=inputs, targets=targets, depth=2, activation="tanh", gamma0=1.0, lr=0.3, num_times=num_times
    )


def simulate(problem: MLPProblem, *, width: int, generator: torch.Generator) -> np.ndarray:
    """Loss curve of one network, float32, weights updated in place."""
    x = torch.tensor(problem.inputs, dtype=torch.float32) / problem.inputs.shape[1] ** 0.5
    y = torch.tensor(problem.targets, dtype=torch.float32)
    w0 = torch.randn((width, x.shape[1]), generator=generator)
    w1 = torch.randn((width, width), generator=generator)
    w = torch.randn(width, generator=generator)
    gain, root = problem.lr * problem.gamma0 / len(y), width**-0.5
    losses, start = [], torch.zeros(())
    for t in range(problem.num_times):
        phi1 = torch.tanh(x @ w0.T)
        phi2 = torch.tanh(phi1 @ w1.T * root)
        outputs = phi2 @ w / (problem.gamma0 * width)
        start = outputs if t == 0 else start
        error = y - outputs + start
        losses.append(0.5 * (error**2).mean().item())
        g2 = (1 - phi2**2) * w * error[:, None]
        g1 = (1 - phi1**2) * (g2 @ w1) * root
        w1.addmm_(g2.T, phi1, alpha=gain * root)
        w0.addmm_(g1.T, x, alpha=gain)
        w.add_(phi2.T @ error, alpha=gain)
    return np.array(losses)


def timed(call: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    start = time.process_time()
    value = call()
    return value, time.process_time() - start


def solver_rows(problem: MLPProblem, reference: np.ndarray, *, repeats: int, sizes: list[int]) -> list[dict]:
    rows = []
    solve_dmft_mlp(problem, num_particles=256)
    for size in sizes:
        errors, seconds = [], []
        for seed in range(1, repeats + 1):
            loss, cpu = timed(lambda size=size, seed=seed: solve_dmft_mlp(problem, num_particles=size, seed=seed).loss)
            errors.append(np.linalg.norm(loss - reference) / np.linalg.norm(reference))
            seconds.append(cpu)
        rows.append({"method": "conditioning solver", "size": size, "error": rms(errors), "seconds": np.mean(seconds)})
    return rows


def alternating_rows(problem: MLPProblem, reference: np.ndarray, *, repeats: int) -> list[dict]:
    """On a shorter horizon: the tangents' cost grows as the cube of times * samples."""
    rows = []
    for paths, tangents in ((250, 50), (1000, 100)):
        errors, seconds = [], []
        for seed in range(repeats):
            settings = {"num_paths": paths, "num_tangents": tangents, "num_scrambles": 1, "seed": seed}
            loss, cpu = timed(lambda s=settings: solve_dmft_alternating(problem, tolerance=1e-3, throw=False, **s).loss)
            errors.append(np.linalg.norm(loss - reference) / np.linalg.norm(reference))
            seconds.append(cpu)
        rows.append({"method": "alternating solver", "size": paths, "error": rms(errors), "seconds": np.mean(seconds)})
    return rows


def simulation_rows(problem: MLPProblem, reference: np.ndarray, *, networks: dict[int, int]) -> list[dict]:
    rows = []
    norm = np.linalg.norm(reference)
    for width, count in networks.items():
        generator = torch.Generator().manual_seed(width)
        curves, seconds = [], []
        for _ in range(count):
            loss, cpu = timed(lambda w=width, g=generator: simulate(problem, width=w, generator=g))
            curves.append(loss)
            seconds.append(cpu)
        stack = np.array(curves)
        scatter = np.sqrt((stack.var(0, ddof=1)).sum()) / norm
        mean_error = np.linalg.norm(stack.mean(0) - reference) / norm
        bias = np.sqrt(max(mean_error**2 - scatter**2 / count, 0.0))
        for n in (1, count):
            error = np.hypot(bias, scatter / np.sqrt(n))
            rows.append(
                {"method": f"networks of width {width}", "size": n, "error": error, "seconds": n * np.mean(seconds)}
            )
        needed = (scatter / TARGET) ** 2
        print(
            f"width {width:5d}: {np.mean(seconds):.3f} CPU s a network, scatter {scatter:.2e}, bias {bias:.1e} "
            f"(resolved to {scatter / np.sqrt(count):.1e}); scatter alone needs {needed:.0f} networks, "
            f"{needed * np.mean(seconds):.0f} CPU s"
        )
    return rows


def rms(values: list[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def plot(rows: list[dict], out: Path) -> None:
    import plotly.graph_objects as go

    figure = go.Figure()
    for method in dict.fromkeys(row["method"] for row in rows):
        mine = [row for row in rows if row["method"] == method]
        figure.add_scatter(
            x=[row["seconds"] for row in mine],
            y=[row["error"] for row in mine],
            text=[row["size"] for row in mine],
            name=method,
            mode="lines+markers",
        )
    figure.add_hline(y=TARGET, line_dash="dot")
    figure.update_xaxes(type="log", title="CPU seconds")
    figure.update_yaxes(type="log", title="relative error of the loss curve")
    figure.write_html(out, include_plotlyjs=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("dmft_accuracy.html"))
    parser.add_argument("--quick", action="store_true", help="smaller sizes, under a minute")
    options = parser.parse_args()
    torch.set_num_threads(1)
    problem = make_problem()
    best = 16384 if options.quick else 65536
    truth = solve_dmft_mlp(problem, num_particles=best, tolerance=1e-7, seed=999)
    print(f"reference: {best} particles x 4, half-width {truth.relative_error:.1e}")
    sizes = [512, 1024, 2048, 4096] + ([] if options.quick else [8192])
    rows = solver_rows(problem, truth.loss, repeats=4 if options.quick else 10, sizes=sizes)
    networks = {256: 32, 1024: 4} if options.quick else {256: 200, 1024: 40, 4096: 6}
    rows += simulation_rows(problem, truth.loss, networks=networks)
    short = make_problem(20)
    short_truth = solve_dmft_mlp(short, num_particles=8192, seed=999)
    rows += alternating_rows(short, short_truth.loss, repeats=2 if options.quick else 4)
    for row in rows:
        print(f"{row['method']:26s} {row['size']:6d}  error {row['error']:.2e}  {row['seconds']:.3f} CPU s")
    plot(rows, options.out)
    print(f"plot: {options.out}")


if __name__ == "__main__":
    main()
