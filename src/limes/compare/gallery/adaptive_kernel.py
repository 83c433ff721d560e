"""The adaptive kernel of Bayesian networks that learn features, beside the fixed kernel of the lazy limit.

Source: arXiv:2502.07998 (adaptive kernel), arXiv:1711.00165 (NNGP). Letters: C chains, y targets, Phi
the kernel.
"""

import numpy as np
import torch
from torch import Tensor

from limes.compare.gallery.picture import NEUTRAL, Array, Curve, Panel, Picture, Progress, Reading, points
from limes.compare.gallery.readings import limit_reading
from limes.theory.kernels import nngp_kernel
from limes.theory.statics import (
    AdaptiveProblem,
    AdaptiveResult,
    FiniteNetwork,
    simulate_posterior,
    solve_adaptive,
)

INPUTS = ((1.0, 0.5), (-0.4, 1.2), (0.8, -1.0), (-1.1, -0.3))
TARGETS = (1.0, -0.5, 0.7, -0.9)
INVERSE_TEMPERATURE = 5.0
WIDTHS, NUM_CHAINS = (48, 128), 24
SAMPLED = (0.3, 1.0, 2.0)
LAZY = "output on the first sample, theory at gamma0 0.01"
OUTPUT = "output on the first sample, networks as width grows, gamma0 {:g}"
ALIGNMENT = "alignment of the kernel with the targets, networks as width grows, gamma0 {:g}"


def draw(*, reduced: bool, progress: Progress) -> Picture:
    """Solve the saddle over gamma0, and sample the posterior of finite networks at some."""
    gammas = np.geomspace(0.05, 3.0, 13)
    curve = [_solve(float(gamma0)) for gamma0 in gammas]
    sampled = {}
    chosen = SAMPLED[1:2] if reduced else SAMPLED
    for index, gamma0 in enumerate(chosen):

        def tell(share: float, index: int = index) -> None:
            progress((index + share) / len(chosen))

        sampled[gamma0] = _chains(gamma0, num_draws=150 if reduced else 600, progress=tell)
    kernel = nngp_kernel(_inputs(), depth=1, activation="erf", weight_var=1.0, bias_var=0.0)
    lazy_output = _nngp_output(kernel)
    source = "NNGP, arXiv:1711.00165"
    readings = [
        Reading(name=LAZY, measured=float(_solve(0.01).train_mean[0]), expected=lazy_output, source=source),
        *_sampled_readings(sampled),
    ]
    start, end = _alignment(kernel), _alignment(curve[-1].kernel)
    return Picture(
        question="What does feature learning do to the kernel of a Bayesian network?",
        answer=(
            f"Lazy networks keep the kernel they were born with (the NNGP): its alignment with the targets is "
            f"{start:.2f}, and it predicts {lazy_output:.3f} where the target is {TARGETS[0]:g}.",
            f"As gamma0 grows the kernel turns towards the targets: alignment {end:.2f} at gamma0 {gammas[-1]:g}, and "
            f"an output of {float(curve[-1].train_mean[0]):.3f}.",
        ),
        panels=(
            _panel(
                gammas,
                [float(result.train_mean[0]) for result in curve],
                sampled,
                column=0,
                level=lazy_output,
                title="Output on the first sample",
                y_title="mean output (its target is 1)",
            ),
            _panel(
                gammas,
                [_alignment(result.kernel) for result in curve],
                sampled,
                column=1,
                level=start,
                title="The kernel turns towards the targets",
                y_title="y' Phi y / (|y|^2 tr Phi)",
            ),
        ),
        readings=tuple(readings),
        setting=(
            f"One hidden erf layer, 4 samples of 2 inputs, inverse temperature {INVERSE_TEMPERATURE:g} of the summed "
            f"half squares; networks of width {WIDTHS[0]} and {WIDTHS[1]} sampled by Hamiltonian Monte Carlo, "
            f"{NUM_CHAINS} chains whose spread is the interval."
        ),
    )


def _inputs() -> Tensor:
    return torch.tensor(INPUTS, dtype=torch.float64)


def _solve(gamma0: float) -> AdaptiveResult:
    return solve_adaptive(
        AdaptiveProblem(INPUTS, TARGETS, activation="erf", gamma0=gamma0, inverse_temperature=INVERSE_TEMPERATURE)
    )


def _nngp_output(kernel: Tensor) -> float:
    """Posterior mean of a Gaussian process on the first training input."""
    noisy = kernel + torch.eye(len(kernel), dtype=torch.float64) / INVERSE_TEMPERATURE
    return float(kernel[0] @ torch.linalg.solve(noisy, torch.tensor(TARGETS, dtype=torch.float64)))


def _alignment(kernel: Tensor) -> float:
    y = torch.tensor(TARGETS, dtype=torch.float64)
    return float(y @ kernel @ y / (y @ y * kernel.trace()))


def _chains(gamma0: float, *, num_draws: int, progress: Progress) -> list[Array]:
    """For each width the means (C, 2) over each chain of output and alignment."""
    found = []
    for index, width in enumerate(WIDTHS):
        share = [sum(WIDTHS[:index]) / sum(WIDTHS), width / sum(WIDTHS)]

        def tell(part: float, share: list[float] = share) -> None:
            progress(share[0] + share[1] * part)

        network = FiniteNetwork(
            INPUTS, TARGETS, width=width, activation="erf", gamma0=gamma0, inverse_temperature=INVERSE_TEMPERATURE
        )
        posterior = simulate_posterior(
            network,
            generator=torch.Generator().manual_seed(width),
            num_chains=NUM_CHAINS,
            num_draws=num_draws,
            num_warmup=num_draws,
            # Most directions are those of the prior, which turn into -q after a time of pi: at steps of 0.3, ten would
            # lose themselves there, and five, half of it, forget the position.
            num_leapfrog=5,
            progress=tell,
        )
        outputs = posterior.chain_outputs[:, 0]
        turned = [_alignment(kernel) for kernel in posterior.chain_kernels[:, 0]]
        found.append(np.stack([outputs.numpy(), np.array(turned)], 1))
    return found


def _sampled_readings(sampled: dict[float, list[Array]]) -> list[Reading]:
    readings = []
    for gamma0, chains in sampled.items():
        theory = _solve(gamma0)
        expected = (float(theory.train_mean[0]), _alignment(theory.kernel))
        for column, name in enumerate((OUTPUT, ALIGNMENT)):
            groups = [means[:, column] for means in chains]
            source = "adaptive kernel, arXiv:2502.07998"
            found = limit_reading(name.format(gamma0), WIDTHS, groups, expected=expected[column], source=source)
            readings.append(found)
    return readings


def _panel(
    gammas: Array,
    theory: list[float],
    sampled: dict[float, list[Array]],
    *,
    column: int,
    level: float,
    title: str,
    y_title: str,
) -> Panel:
    finite = [
        points(
            f"sampled networks of width {width}",
            list(sampled),
            np.stack([chains[place][:, column] for chains in sampled.values()], 1),
            color=1 + place,
        )
        for place, width in enumerate(WIDTHS)
    ]
    lazy = np.full(len(gammas), level)
    return Panel(
        title=title,
        x_title="gamma0 (strength of feature learning)",
        y_title=y_title,
        curves=(
            Curve(label="adaptive kernel", x=gammas, y=np.array(theory), color=0),
            Curve(label="lazy limit (NNGP)", x=gammas, y=lazy, color=NEUTRAL, style="dash"),
            *finite,
        ),
        log_x=True,
        ticks=(0.05, 0.1, 0.3, 1.0, 3.0),
    )
