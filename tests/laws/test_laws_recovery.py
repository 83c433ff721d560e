"""Two hundred synthetic tables of a known law, with noise and outliers: bias and coverage."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from limes.laws import CHINCHILLA, fit_law

TRUE = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}
NUM = 200
POINT = {"num_params": 2e10, "num_tokens": 5e11}


def least_coverage(num: int) -> float:
    """Nominal 90 % less four standard errors of a share over `num` tables."""
    return float(0.9 - 4 * np.sqrt(0.9 * 0.1 / num))


@dataclass(frozen=True)
class Recovery:
    """Estimates over all tables, and the bootstrap interval of the exponent."""

    alpha: np.ndarray
    alpha_low: np.ndarray
    alpha_high: np.ndarray
    forecast: np.ndarray


@cache
def recover() -> Recovery:
    """Fit every table; 0.5 % noise, and one row in fifty 5 to 30 % too high."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(NUM):
        table = {"num_params": 10 ** rng.uniform(7.5, 9.7, 80), "num_tokens": 10 ** rng.uniform(9, 11.3, 80)}
        noise = 0.005 * rng.standard_normal(80) + (rng.random(80) < 0.02) * rng.uniform(0.05, 0.3, 80)
        fit = fit_law(CHINCHILLA, {**table, "loss": CHINCHILLA.value(TRUE, table) * np.exp(noise)}, num_starts=36)
        alpha = fit.bootstrap(100, generator=rng)["alpha"]
        rows.append((fit.params["alpha"], *np.quantile(alpha, [0.05, 0.95]), fit.value(POINT)[0]))
    return Recovery(*np.array(rows).T)


@pytest.mark.sim
def test_bias_is_small_beside_the_scatter() -> None:
    result = recover()
    truth = float(CHINCHILLA.value(TRUE, POINT))
    for estimate, expected in ((result.alpha, 0.35), (np.log(result.forecast), np.log(truth))):
        # the bias of a nonlinear fit is of second order in the noise: a third of a deviation is far above it
        bias, error = estimate.mean() - expected, estimate.std() / np.sqrt(NUM)
        assert abs(bias) < estimate.std() / 3 + 4 * error
        # mutant: a table whose exponent is 10 % off
        assert abs(estimate.mean() - 1.1 * expected) > estimate.std() / 3 + 4 * error


@pytest.mark.sim
def test_bootstrap_intervals_of_a_true_law_cover_its_exponent() -> None:
    result = recover()

    def coverage(shrink: float) -> float:
        low = result.alpha - shrink * (result.alpha - result.alpha_low)
        high = result.alpha + shrink * (result.alpha_high - result.alpha)
        return float(((low <= 0.35) & (high >= 0.35)).mean())

    assert coverage(1.0) > least_coverage(NUM)
    assert coverage(0.5) < least_coverage(NUM)
