"""The covariance SDE beside finite networks of width 1024 to the same standard error: ratio of CPU times.

    python benchmarks/covariance_sde_vs_networks.py

Both estimate the mean correlation of two inputs at depth = width. One path and one network have the same variance, so
the same standard error takes as many of one as of the other; networks are timed over a few and in proportion. They are
drawn at their conditional law, without weights, which is already the cheap way.
"""

import time

import torch

from limes.theory.initialization import (
    CovarianceProblem,
    ShapedReLU,
    correlation_law,
    simulate_covariance,
    solve_covariance_sde,
)

NUM_PATHS, NUM_NETWORKS, WIDTH = 20_000, 16, 1024


def main() -> None:
    """Print both times and both means."""
    problem = CovarianceProblem([[1.0, 0.3], [0.3, 1.0]], 1.0, ShapedReLU(0.0, -1.0))
    start = time.process_time()
    paths = solve_covariance_sde(problem, num_paths=NUM_PATHS, num_steps=100)
    fast = time.process_time() - start
    start = time.process_time()
    generator = torch.Generator().manual_seed(0)
    networks = simulate_covariance(problem, width=WIDTH, num_draws=NUM_NETWORKS, generator=generator)
    slow = (time.process_time() - start) * NUM_PATHS / NUM_NETWORKS
    start = time.process_time()
    law = correlation_law(problem)
    grid = time.process_time() - start
    rho = paths.correlation()
    error = float(rho.std()) / NUM_PATHS**0.5
    print(f"paths     {float(rho.mean()):.4f} +- {error:.4f}  sd {float(rho.std()):.4f}  {fast:9.2f} s")
    print(f"law       {law.mean:.4f}            sd {law.std:.4f}  {grid:9.2f} s")
    print(f"networks  sd {float(networks.correlation().std()):.2f} of {NUM_NETWORKS}; {NUM_PATHS} of them {slow:.0f} s")
    print(f"networks over paths {slow / fast:.0f}x, over the law {slow / grid:.0f}x")


if __name__ == "__main__":
    main()
