"""Adaptive kernel beside Langevin sampling of finite networks to the same error on the outputs: ratio of CPU times.

    python benchmarks/adaptive_kernel_vs_langevin.py

Both estimate the outputs of the infinitely wide network. Networks of four widths are sampled and extrapolated as
a + b / N; their error falls as one over the root of the time, so the time to the solver's own error is the measured one
times the squared ratio of errors. In the plane the solver is on a grid and far more exact than any sampling: there the
common error is 1e-3. Extrapolation leaves a bias of order 1 / N^2, which counts as nothing here: in favour of sampling.
"""

import time

import numpy as np
import torch

from limes.cli.inputs import load_samples
from limes.core.rng import stream
from limes.numerics.ensemble import limit_estimate
from limes.theory.statics import AdaptiveProblem, FiniteNetwork, simulate_posterior, solve_adaptive

WIDTHS = (24, 36, 54, 80)
PLANE = (
    np.array([[1.0, 0.5], [-0.4, 1.2], [0.8, -1.0], [-1.1, -0.3]]),
    np.array([1.0, -0.5, 0.7, -0.9]),
    np.array([[0.3, 0.9], [1.5, -0.2]]),
)


def sampled(data: tuple, *, num_chains: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Limits of all outputs, their standard errors, CPU seconds."""
    start, chains = time.process_time(), []
    for width in WIDTHS:
        network = FiniteNetwork(*data, width=width, inverse_temperature=5.0)
        found = simulate_posterior(
            network, generator=stream(0, "init", str(width)), num_chains=num_chains, num_draws=150, num_warmup=120
        )
        assert found.rhat < 1.1, found.rhat
        chains.append(found.chain_outputs.numpy())
    limits = [limit_estimate(WIDTHS, [rows[:, k] for rows in chains]) for k in range(chains[0].shape[1])]
    seconds = time.process_time() - start
    return np.array([one.value for one in limits]), np.array([one.error for one in limits]), seconds


def main() -> None:
    """Print errors, times and ratios."""
    for name, data, num_chains in (
        ("plane", PLANE, 64),
        ("16 digits", load_samples("digits", num_samples=16, num_test=4), 16),
    ):
        start = time.process_time()
        fit = solve_adaptive(AdaptiveProblem(*data, inverse_temperature=5.0), num_particles=1024, num_replicas=4)
        fast = time.process_time() - start
        stated = float(torch.cat([fit.train_error, fit.test_error]).square().mean().sqrt())
        common = max(stated, 1e-3) if fit.method == "quadrature" else stated
        limits, errors, seconds = sampled(data, num_chains=num_chains)
        rms = float(np.sqrt(np.mean(errors**2)))
        slow = seconds * (rms / common) ** 2
        scores = (limits - torch.cat([fit.train_mean, fit.test_mean]).numpy()) / np.hypot(errors, stated)
        print(f"{name}: solver ({fit.method}) error {stated:.1g} in {fast:.2f} s")
        print(
            f"  networks of widths {WIDTHS}: error {rms:.2g} in {seconds:.1f} s, "
            f"largest difference {abs(scores).max():.1f} errors"
        )
        print(f"  to an error of {common:.2g}: networks {slow:.1f} s, ratio {slow / fast:.0f}x")


if __name__ == "__main__":
    main()
