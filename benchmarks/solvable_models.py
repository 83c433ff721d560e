"""Cost of the solvable models: each theory against its own direct simulation, in one run.

    python benchmarks/solvable_models.py [--quick]

CPU seconds of one thread. The simulation is run until the standard error of its limit (extrapolated in 1/size) is below
a stated share of the value; the ratio is what the theory saves at that precision. Its own error is far smaller.
"""

import argparse
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np  # noqa: E402

from limes.core.rng import stream  # noqa: E402
from limes.numerics.ensemble import Estimate, limit_estimate  # noqa: E402
from limes.theory.solvable import (  # noqa: E402
    SOLVABLE_MODELS,
    GaussianMixtureProblem,
    LinearAttentionProblem,
    QuadraticNetworkProblem,
)

BATCH = 16
# Theory, problem, metric, sizes, powers of 1/size in the extrapolation, share of the value that the error must reach.
CASES: Mapping[str, tuple[str, Any, str, tuple[int, ...], int, float]] = {
    "in-context learning": (
        "linear_attention",
        LinearAttentionProblem(context_ratio=2.0, task_ratio=1.5, sequence_ratio=2.0, noise_var=0.1, ridge=0.1),
        "icl_error",
        (12, 16, 20, 28),
        2,
        0.03,
    ),
    "mixture, two classes, logistic": (
        "gaussian_mixture_logistic",
        GaussianMixtureProblem(
            class_weights=[0.5, 0.5], means_gram=np.eye(2), sample_ratio=2.0, within_var=0.5, ridge=0.1
        ),
        "test_error",
        (20, 40, 80, 160),
        1,
        0.003,
    ),
    "mixture, three classes, logistic": (
        "gaussian_mixture_logistic",
        GaussianMixtureProblem(
            class_weights=[0.5, 0.3, 0.2], means_gram=np.eye(3), sample_ratio=2.0, within_var=0.3, ridge=0.05
        ),
        "test_error",
        (20, 40, 80, 160),
        1,
        0.003,
    ),
    "mixture, four classes, least squares": (
        "gaussian_mixture_square",
        GaussianMixtureProblem(
            class_weights=[0.4, 0.3, 0.2, 0.1],
            means_gram=np.eye(4),
            sample_ratio=2.0,
            within_var=0.5,
            ridge=0.1,
            loss="square",
        ),
        "test_error",
        (20, 40, 80, 160),
        1,
        0.003,
    ),
    "quadratic network": (
        "quadratic_network",
        QuadraticNetworkProblem(
            student_overlap=np.eye(4),
            cross_overlap=0.3 * np.eye(4, 2),
            teacher_overlap=np.eye(2),
            lr=0.3,
            times=[12.0],
            noise_var=0.1,
        ),
        "test_loss",
        (50, 100, 200),
        1,
        0.01,
    ),
}


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    value = call()
    return value, time.process_time() - start


def simulated(name: str, row: tuple[str, Any, str, tuple[int, ...], int, float]) -> tuple[Estimate, int]:
    """The limit once its error is below the share asked for, and the draws at each size."""
    model, problem, metric, sizes, terms, share = row
    runs: list[list[float]] = [[] for _ in sizes]
    while True:
        for values, size in zip(runs, sizes, strict=True):
            generator = stream(0, "data", name, str(size), str(len(values)))
            run = SOLVABLE_MODELS[model].simulate(problem, dim=size, num_draws=BATCH, generator=generator)
            values += np.asarray(getattr(run, metric)).reshape(BATCH).tolist()
        estimate = limit_estimate(sizes, list(runs), terms=terms)
        if estimate.error <= share * abs(estimate.value):
            return estimate, len(runs[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the theory alone")
    quick = parser.parse_args().quick
    for name, row in CASES.items():
        model, problem, metric, sizes, _, share = row
        solve = SOLVABLE_MODELS[model].solve
        # The first call: nothing is at hand from an earlier one.
        result, seconds = timed(lambda solve=solve, problem=problem: solve(problem))
        value = float(np.asarray(getattr(result, metric)).reshape(-1)[-1])
        print(f"{name}: {metric} {value:.6f} in {seconds:.4f} CPU s", flush=True)
        if quick:
            continue
        (found, draws), slow = timed(lambda name=name, row=row: simulated(name, row))
        off = (found.value - value) / found.error
        print(
            f"  simulation to {share:.1%}: {found.value:.4f} +- {found.error:.4f} from {draws} draws at each of "
            f"{sizes}, {slow:.1f} CPU s; ratio {slow / seconds:.0f}; {off:.1f} standard errors from the theory",
            flush=True,
        )


if __name__ == "__main__":
    main()
