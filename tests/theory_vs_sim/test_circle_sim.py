"""Trained ReLU networks on the circle against the laws of time: lazy ones as the sum over modes, rich ones faster."""

import numpy as np
import pytest
import torch

from limes.compare.circle import circle_modes, window_exponent
from limes.compare.relu_circle import train_on_circle
from limes.theory.scaling import circle_task, scaling_exponents
from support.stats import assert_limit, assert_mean

pytestmark = pytest.mark.sim

NUM_SEEDS = 16


def exponents(width: int, gamma0: float, *, num_points: int, window: tuple[float, float]) -> tuple[np.ndarray, float]:
    """Of every seed, and of the sum over modes at infinite width."""
    target, eigenvalues, power = circle_modes(1.0, num_points)
    times = np.geomspace(1.0, window[1], 40)
    clock = times / eigenvalues.max()
    loss = train_on_circle(
        target,
        clock,
        width=width,
        gamma0=gamma0,
        num_seeds=NUM_SEEDS,
        generator=torch.Generator().manual_seed(width),
    )
    lazy = np.exp(-2.0 * clock[:, None] * eigenvalues) @ power
    return np.array([window_exponent(times, row, window) for row in loss]), window_exponent(times, lazy, window)


def test_lazy_networks_have_the_exponent_of_the_sum_over_modes() -> None:
    widths, settings = (128, 192, 256, 512), {"num_points": 64, "window": (20.0, 60.0)}
    found = [exponents(width, 0.01, **settings) for width in widths]
    assert_limit(widths, np.array([one for one, _ in found]), found[0][1])
    moved = np.array([exponents(width, 0.5, **settings)[0] for width in widths])
    with pytest.raises(AssertionError, match="limit"):
        assert_limit(widths, moved, found[0][1])


def test_rich_networks_on_a_hard_task_do_not_have_the_lazy_exponent() -> None:
    a, b = circle_task(1.0)
    lazy, rich = (scaling_exponents(a, b, rich=moves).time for moves in (False, True))
    found, modes = exponents(192, 0.5, num_points=128, window=(100.0, 300.0))
    for law in (lazy, modes):
        with pytest.raises(AssertionError, match="mean"):
            assert_mean(found, law)
    assert abs(found.mean() - rich) < abs(found.mean() - lazy), "2 s / (1 + s), not s"
