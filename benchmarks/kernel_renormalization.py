"""Nonlinear kernel renormalization beside sampled networks with as many samples as neurons: means and variances.

    python benchmarks/kernel_renormalization.py

One hidden layer of width 16, 16 samples of 12 inputs, NTK scaling. The approximation replaces the NNGP kernel K by u K
with u from the saddle of a linear network that has the kernel K; variances are means over six test inputs, over those
of the NNGP.
"""

import numpy as np
import torch

from limes.theory.kernels import nngp_kernel
from limes.theory.statics import (
    FiniteNetwork,
    NNGPProblem,
    ProportionalProblem,
    simulate_posterior,
    solve_nngp,
    solve_proportional,
)

SAMPLES, DIM, TESTS, WIDTH, BETA = 16, 12, 6, 16, 20.0


def main() -> None:
    """One row per activation and size of the targets."""
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(SAMPLES, DIM)), rng.normal(size=(TESTS, DIM))
    print("activation scale      u   mean off: NNGP, renormalized (error)   variance: sampled (error), renormalized")
    for activation in ("erf", "relu"):
        for scale in (0.3, 2.0):
            targets = scale * np.tanh(train @ rng.normal(size=DIM) / DIM**0.5)
            both = torch.from_numpy(np.vstack([train, test]))
            kernel = nngp_kernel(both, depth=1, activation=activation, weight_var=1.0, bias_var=0.0)
            close = solve_proportional(
                ProportionalProblem(
                    kernel[:SAMPLES, :SAMPLES],
                    targets,
                    [WIDTH],
                    inverse_temperature=BETA,
                    kernel_test_train=kernel[SAMPLES:, :SAMPLES],
                    kernel_test=kernel[SAMPLES:, SAMPLES:].diagonal(),
                )
            )
            wide = solve_nngp(NNGPProblem(train, targets, test, activation=activation, inverse_temperature=BETA))
            # gamma0 = width^(-1/2) is NTK scaling.
            network = FiniteNetwork(
                train,
                targets,
                test,
                width=WIDTH,
                activation=activation,
                gamma0=WIDTH**-0.5,
                inverse_temperature=BETA,
            )
            sampled = simulate_posterior(
                network, generator=torch.Generator().manual_seed(0), num_chains=48, num_draws=400, num_warmup=200
            )
            ratio = sampled.test_fluctuation / WIDTH / wide.test_variance
            error = float((sampled.test_fluctuation_error / WIDTH / wide.test_variance).norm()) / TESTS
            gaps = [float((sampled.test_mean - mean).norm()) for mean in (wide.test_mean, close.saddle_test_mean)]
            renormalized = float((close.saddle_test_variance / wide.test_variance).mean())
            means = f"{gaps[0]:9.3f} {gaps[1]:9.3f} ({float(sampled.test_error.norm()):.3f})"
            spreads = f"{float(ratio.mean()):24.3f} ({error:.3f}) {renormalized:9.3f}"
            print(f"{activation:10s} {scale:5.1f} {close.saddle_scale:6.3f}   {means} {spreads}")


if __name__ == "__main__":
    main()
