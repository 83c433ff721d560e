"""Learning-rate sensitivity over a sweep: the common grid, diverged runs, and panels that have none."""

import math
from dataclasses import replace

import pytest

from limes.compare.sensitivity import sweep_sensitivity
from limes.core.status import RunStatus
from limes.store import SweepRow
from support.sweep_rows import make_row


def row(
    size: int, rate: float, loss: float | None, *, seed: int = 0, label: str = "mup", done: bool = True
) -> SweepRow:
    """One run of a sweep; without a loss one that diverged."""
    made = make_row(axis="width", parametrization=label, size=size, seed=seed, log2_lr=rate, loss=loss)
    return made if done else replace(made, status=RunStatus.PENDING, loss=None, initial_loss=None)


def test_sizes_are_compared_on_what_they_have_in_common() -> None:
    rows = [row(8, rate, loss) for rate, loss in ((-8.0, 4.5), (-7.0, 3.0), (-6.0, 2.0), (-5.0, 2.5))]
    rows += [row(16, rate, loss) for rate, loss in ((-7.0, 2.5), (-6.0, 1.5), (-5.0, None), (-4.0, None))]
    narrow, wide = sweep_sensitivity(rows)
    assert (narrow.size, wide.size) == (8, 16)
    # -8 and -4 belong to one size alone; the diverged run costs what an untrained network costs.
    assert narrow.value == pytest.approx((1.0 + 0.0 + 0.5) / 3)
    assert wide.value == pytest.approx((1.0 + 0.0 + 3.5) / 3) and wide.num_diverged == 1
    assert narrow.by_seed[0].lowest_lr == 2.0**-7 and narrow.by_seed[0].highest_lr == 2.0**-5


def test_seeds_are_averaged_and_a_seed_that_never_trains_says_so() -> None:
    rows = [row(8, rate, loss, seed=s) for s in (0, 1) for rate, loss in ((-3.0, 2.0 + s), (-2.0, 2.0), (-1.0, 3.0))]
    (found,) = sweep_sensitivity(rows)
    assert found.value == pytest.approx(((0 + 0 + 1) / 3 + (1 + 0 + 1) / 3) / 2)
    dead = [row(8, rate, None, seed=2) for rate in (-3.0, -2.0, -1.0)]
    (found,) = sweep_sensitivity(rows + dead)
    assert math.isnan(found.value) and found.num_diverged == 3


def test_panels_without_a_common_even_grid_are_left_out() -> None:
    apart = [row(8, rate, 2.0) for rate in (-9.0, -8.0, -7.0)] + [row(16, rate, 2.0) for rate in (-5.0, -4.0, -3.0)]
    assert sweep_sensitivity(apart) == []
    uneven = [row(8, rate, 2.0) for rate in (-9.0, -8.0, -5.0)]
    assert sweep_sensitivity(uneven) == []
    unfinished = [row(8, rate, 2.0, done=rate < -1) for rate in (-3.0, -2.0, -1.0)]
    assert sweep_sensitivity(unfinished) == [] and sweep_sensitivity([]) == []
