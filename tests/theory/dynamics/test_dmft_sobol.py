"""Sobol rows against the engine that hands out points, and as a quadrature rule."""

import numpy as np
import pytest
import torch
from scipy.special import ndtr

from limes.core.errors import SpecError
from limes.numerics.sobol import SobolRows
from support.stats import assert_mean


class _NoScrambling(np.random.Generator):
    def integers(self, *args, **kwargs):
        return np.zeros_like(super().integers(*args, **kwargs))


def test_without_scrambling_the_points_are_those_of_torch() -> None:
    rows = SobolRows(64, seed=0)
    rows._rng = _NoScrambling(np.random.PCG64(0))
    ours = ndtr(rows.take(20)).T - 2.0**-31
    theirs = torch.quasirandom.SobolEngine(20).draw(64, dtype=torch.float64).numpy()
    order = [np.lexsort(points.round(6).T) for points in (ours, theirs)]
    np.testing.assert_allclose(ours[order[0]], theirs[order[1]], atol=1e-9)


def test_every_row_is_stratified_and_seeds_differ() -> None:
    rows = SobolRows(128, seed=1).take(40)
    cells = np.floor(ndtr(rows) * 128).astype(int)
    assert all(sorted(row) == list(range(128)) for row in cells.tolist())
    assert not np.array_equal(rows, SobolRows(128, seed=2).take(40))
    np.testing.assert_array_equal(rows, np.concatenate([SobolRows(128, seed=1).take(40)]))


def test_estimates_are_unbiased_over_seeds() -> None:
    estimates = [np.mean(np.exp(SobolRows(64, seed=seed).take(2).sum(0) / 2)) for seed in range(64)]
    assert_mean(estimates, np.exp(0.25))


@pytest.mark.parametrize("num_points", [0, 1, 100])
def test_counts_that_are_no_power_of_two_are_refused(num_points: int) -> None:
    with pytest.raises(SpecError, match="power of two"):
        SobolRows(num_points, seed=0)
