"""Time, memory and rank of the conditioning solver against samples, steps and depth, beside what was
predicted.

    python benchmarks/dmft_scaling.py [--large] [--huge]

`--large` adds 32 samples x 100 steps, `--huge` 128 x 200 with one scramble (208 CPU s, 3.4 GiB). With four scrambles
of twice the particles it is refused under the default limits, which the last line shows.
"""

import argparse
import os
import time
from typing import Any

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np  # noqa: E402

from limes.core.errors import SpecError  # noqa: E402
from limes.theory.dynamics import MLPProblem, predict_cost, solve_dmft_mlp  # noqa: E402

GRID = [(4, 25, 2), (4, 50, 2), (4, 100, 2), (8, 50, 2), (16, 50, 2), (4, 50, 1), (4, 50, 3), (4, 50, 5)]


def run(num_samples: int, num_times: int, depth: int, *, num_particles: int, num_scrambles: int) -> None:
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((num_samples, 3 * num_samples))
    problem = MLPProblem(
        inputs=inputs,
        targets=np.sign(rng.standard_normal(num_samples)),
        depth=depth,
        activation="tanh",
        gamma0=1.0,
        lr=0.3,
        num_times=num_times,
    )
    settings: dict[str, Any] = {"num_particles": num_particles, "num_scrambles": num_scrambles, "two_time": False}
    cost = predict_cost(problem, **settings)
    head = f"P {num_samples:3d} T {num_times:3d} L {depth} S {num_particles:5d} x {num_scrambles}"
    predicted = f"predicted rank {cost.rank:4d} {cost.seconds:7.2f} s {cost.gibibytes:6.3f} GiB"
    start = time.process_time()
    try:
        result = solve_dmft_mlp(problem, throw=False, **settings)
    except SpecError as error:
        print(f"{head}: {predicted}; refused: {error}")
        return
    seconds = time.process_time() - start
    print(
        f"{head}: {predicted}; rank {result.stats['rank']:4.0f} {seconds:7.2f} s, half-width "
        f"{result.relative_error:.1e}, {result.status.value}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="32 samples x 100 steps")
    parser.add_argument("--huge", action="store_true", help="128 samples x 200 steps, one scramble")
    options = parser.parse_args()
    for num_samples, num_times, depth in GRID:
        run(num_samples, num_times, depth, num_particles=2048, num_scrambles=2)
    if options.huge:
        run(128, 200, 2, num_particles=8192, num_scrambles=1)
    if options.large:
        run(32, 100, 2, num_particles=4096, num_scrambles=2)
    run(128, 200, 2, num_particles=16384, num_scrambles=4)


if __name__ == "__main__":
    main()
