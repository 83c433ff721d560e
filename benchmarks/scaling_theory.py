"""Speed and accuracy of the scaling theories: contour against time domain, a billion modes, frontiers, exponents.

    python benchmarks/scaling_theory.py [--quick]

CPU seconds of one thread. The time-domain solver is the reference of the tests: two-time functions as T x T matrices.
It pays for the whole curve at once, the contour for each time that is asked for.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import numpy as np  # noqa: E402

from limes.theory.scaling import (  # noqa: E402
    FeatureLearningProblem,
    compute_frontier,
    local_exponents,
    power_law_problem,
    ridge_equivalent,
    scaling_exponents,
    solve_feature_learning,
    solve_random_features,
)
from support.two_time import solve_in_time  # noqa: E402


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    value = call()
    return value, time.process_time() - start


def against_time_domain(num_steps: int, num_modes: int) -> None:
    problem = power_law_problem(1.5, 1.25, num_modes, num_features=60, num_samples=90, noise_var=0.1, lr=0.2)
    sizes = {"num_features": 60.0, "num_samples": 90.0, "noise_var": 0.1}
    slow, seconds = timed(
        lambda: solve_in_time(problem.spectrum, problem.target_power, lr=0.2, num_steps=num_steps, **sizes)
    )
    print(f"time domain, T = {num_steps}, M = {num_modes}: {seconds:.1f} CPU s for the whole curve")
    curve = np.unique(np.round(np.geomspace(1, num_steps, 60)))[-40:]
    for name, times in (("last time", [num_steps]), (f"{len(curve)} log-spaced times", curve)):
        result, quick = timed(lambda times=times: solve_random_features(problem, times))
        steps = np.asarray(times, dtype=int)
        gap = max(np.abs(result.test_loss - slow[0][steps]).max(), np.abs(result.train_loss - slow[1][steps]).max())
        print(f"  contour, {name}: {quick:.4f} CPU s, ratio {seconds / quick:.0f}, largest difference {gap:.1e}")


def many_modes() -> None:
    print("binned modes, a = 1.5, b = 1.25, N = 200, P = 300, noise 0.1, t = 1, 1e3, 1e6")
    sizes = {"num_features": 200.0, "num_samples": 300.0, "noise_var": 0.1}
    times = [1.0, 1e3, 1e6]
    full, slow = timed(
        lambda: solve_random_features(power_law_problem(1.5, 1.25, 1e5, num_exact=10**5, **sizes), times)
    )
    few, quick = timed(lambda: solve_random_features(power_law_problem(1.5, 1.25, 1e5, **sizes), times))
    gap = np.abs(few.test_loss / full.test_loss - 1.0).max()
    entries = len(few.problem.spectrum)
    print(f"  M = 1e5: all modes {slow:.2f} CPU s, {entries} entries {quick:.3f} CPU s, relative difference {gap:.1e}")
    for per_octave in (8, 16):
        problem = power_law_problem(1.5, 1.25, 1e9, nodes_per_octave=per_octave, num_exact=16 * per_octave, **sizes)
        result, seconds = timed(lambda problem=problem: solve_random_features(problem, times))
        fine = power_law_problem(1.5, 1.25, 1e9, nodes_per_octave=32, num_exact=1024, **sizes)
        gap = np.abs(result.test_loss / solve_random_features(fine, times).test_loss - 1.0).max()
        print(f"  M = 1e9: {len(problem.spectrum)} entries, {seconds:.3f} CPU s, relative error {gap:.1e}")


def frontiers(quick: bool) -> None:
    problem = power_law_problem(1.75, 1.5, 1e9)
    compute = np.geomspace(1e3, 1e9, 15)
    best, seconds = timed(lambda: compute_frontier(problem, compute, num_sizes=15))
    law = scaling_exponents(1.75, 1.5)
    print(
        f"frontier over (N, t), 15 computes x 15 widths (and 135 refined): {seconds:.2f} CPU s; loss exponent "
        f"{best.loss_exponents[-1]:.4f} (law {law.compute:.4f}), width {best.width_exponents[-1]:.4f} "
        f"(law {law.optimal_width:.4f})"
    )
    best, seconds = timed(
        lambda: compute_frontier(problem, np.geomspace(1e6, 1e10, 5), optimize_samples=True, num_sizes=12)
    )
    print(
        f"frontier over (N, P, t), {best.num_evaluated} losses: {seconds:.2f} CPU s; loss exponent "
        f"{best.loss_exponents[-1]:.4f} (law {3 / 14:.4f})"
    )
    if quick:
        return
    for beta in (0.6, 1.15, 2.2):
        noisy = power_law_problem(1.0 + 1.5 * beta, 1.5, 1e8, batch_noise=0.3)
        best, seconds = timed(lambda noisy=noisy: compute_frontier(noisy, np.geomspace(1e4, 1e8, 5), num_sizes=25))
        law = scaling_exponents(1.0 + 1.5 * beta, 1.5)
        print(
            f"frontier of one-pass SGD, beta = {beta}: {seconds:.1f} CPU s; loss exponents "
            f"{best.loss_exponents.round(3).tolist()} (law {law.compute:.3f}), widths "
            f"{best.width_exponents.round(3).tolist()} (law {law.optimal_width:.3f})"
        )


def exponents() -> None:
    print("exponents of the floors, last decade 1e4 to 1e5: width (law min(a-1, b)), samples (law min(a-1, 2b))")
    sizes = np.array([1e4, 1e5])
    for b in (1.25, 1.5, 2.0):
        for beta in (0.3, 0.6, 1.3, 1.7, 2.5):
            a = 1.0 + beta * b
            width, samples = (
                local_exponents(
                    sizes,
                    [ridge_equivalent(replace(power_law_problem(a, b, 1e13), **{axis: n})).test_loss for n in sizes],
                )[0]
                for axis in ("num_features", "num_samples")
            )
            law = scaling_exponents(a, b)
            print(
                f"  a = {a:.3f}, b = {b:.2f} ({law.task}): width {width:.3f} ({law.width:.3f}), samples {samples:.3f} "
                f"({law.samples:.3f})"
            )


def features() -> None:
    for beta in (0.25, 0.5, 1.25):
        law = power_law_problem(1.0 + 2.0 * beta, 2.0, 1e12)
        problem = FeatureLearningProblem(law.spectrum, law.target_power, gamma=1.0, multiplicity=law.multiplicity)
        times = np.geomspace(1e2, 1e6, 5)
        exact, slow = timed(lambda problem=problem, times=times: solve_feature_learning(problem, times))
        cheap, quick = timed(
            lambda problem=problem, times=times: solve_feature_learning(problem, times, method="surrogate")
        )
        slopes = local_exponents(times, exact.test_loss).round(4).tolist()
        print(
            f"feature learning, b = 2, beta = {beta}: exact {slow:.2f} CPU s, surrogate {quick:.2f}; slopes {slopes} "
            f"(rich law {scaling_exponents(1 + 2 * beta, 2.0, rich=True).time:.4f}, lazy {beta:.4f}); surrogate over "
            f"exact {(cheap.test_loss / exact.test_loss).round(3).tolist()}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a shorter time domain, no SGD frontiers")
    quick = parser.parse_args().quick
    solve_random_features(power_law_problem(1.5, 1.25, 50, num_features=10, num_samples=10, lr=0.2), [10])
    against_time_domain(60 if quick else 200, 100 if quick else 300)
    many_modes()
    frontiers(quick)
    exponents()
    features()


if __name__ == "__main__":
    main()
