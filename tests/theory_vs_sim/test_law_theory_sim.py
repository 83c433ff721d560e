"""From a network's measured spectrum to a verdict on its runs: gradient flow on samples of a power-law task."""

import numpy as np
import pytest
import torch
from torch import nn

from limes.compare.law_theory import Measured, RegimeStudy, compare_regimes
from limes.measure import fit_source_capacity, measure_spectrum

pytestmark = pytest.mark.sim

NUM_MODES, NUM_SEEDS = 2000, 16
SIZES, TIMES = (25, 50, 100, 200, 400), np.geomspace(3.0, 1e4, 6)


def draw(a: float, b: float, count: int, seed: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs (count, modes) with variances k^-b, and the weights of a target with power k^-a."""
    k = np.arange(1, NUM_MODES + 1.0)
    inputs = np.random.default_rng(seed).standard_normal((count, NUM_MODES)) * k ** (-b / 2)
    return inputs, k ** ((b - a) / 2), k**-b


def losses_of_runs(a: float, b: float, seed: int) -> dict[str, np.ndarray]:
    """Population losses of gradient flow of a linear model on samples of several sizes, four draws of each."""
    rows = []
    for count in SIZES:
        total = np.zeros(len(TIMES))
        for number in range(4):
            inputs, weights, variances = draw(a, b, count, [seed, count, number])
            values, vectors = np.linalg.eigh(inputs @ inputs.T / count)
            values = values.clip(1e-12)
            reached = vectors.T @ (inputs @ weights) / count
            learned = -np.expm1(-np.outer(TIMES, values)) / values * reached
            total += ((weights - learned @ vectors.T @ inputs) ** 2) @ variances
        rows += [(time, count, loss / 4) for time, loss in zip(TIMES, total, strict=True)]
    time, count, loss = np.array(rows).T
    return {"t": time, "P": count, "loss": loss}


def study(seed: int, *, rich: bool = False, a: float = 1.75, other: float | None = None) -> RegimeStudy:
    """Exponents measured from a network's kernel on 400 samples, and runs of the same task, or of another one."""
    inputs, weights, _ = draw(a, 1.5, 400, [seed])
    network = nn.Linear(NUM_MODES, 1, bias=False).double()
    spectrum = measure_spectrum(
        network, torch.tensor(inputs), torch.tensor(inputs @ weights), center_output=True, block_size=400
    )
    found = fit_source_capacity(spectrum)
    first, second = (
        Measured(value=value, low=ends[0], high=ends[1])
        for value, ends in ((found.a, found.a_interval), (found.b, found.b_interval))
    )
    table = losses_of_runs(a if other is None else other, 1.5, seed)
    return compare_regimes(table, {"time": "t", "samples": "P"}, a=first, b=second, rich=rich, floor="none")


def test_runs_agree_with_the_exponents_of_the_measured_spectrum() -> None:
    verdicts = np.array([[one.verdict for one in study(seed).directions] for seed in range(NUM_SEEDS)])
    agree = (verdicts == "agree").sum(0)
    # Intervals of level 0.9: fewer than 11 of 16 happens once in 300 tries.
    assert (agree >= 11).all(), f"{agree} of {NUM_SEEDS} in time and samples"
    # The mutants: moving features change the exponent of time alone, another target both.
    moving = [study(seed, rich=True).directions[0].verdict for seed in range(NUM_SEEDS)]
    assert moving.count("disagree") >= 11
    swapped = np.array([[one.verdict for one in study(seed, other=2.4).directions] for seed in range(NUM_SEEDS)])
    assert ((swapped == "disagree").sum(0) >= 11).all()
