"""Powers of the size from few networks: intervals hold what they say, on vectors whose powers are known."""

import math

import numpy as np
import pytest

from limes.compare.convergence import Convergence, converge
from limes.core.errors import DataError

SIZES = np.array([16.0, 32.0, 64.0, 128.0, 256.0])


def draw(
    rng: np.random.Generator, *, runs: int, spread: float, mean: float, offset: float, exact: bool
) -> tuple[list[np.ndarray], np.ndarray | None]:
    """Networks with spread N^-spread and deviation of the mean offset N^-mean, in forty directions that differ."""
    scale = np.arange(1, 41) ** -0.5
    direction, limit = rng.standard_normal(40) * scale, 3 * rng.standard_normal(40)
    groups = [
        limit + offset * direction * n**-mean + rng.standard_normal((runs, 40)) * scale * n ** (-spread / 2)
        for n in SIZES
    ]
    return groups, limit if exact else None


def trials(count: int, **settings: object) -> list[Convergence]:
    rng = np.random.default_rng(3)
    found = []
    for _ in range(count):
        groups, limit = draw(rng, **settings)
        found.append(converge(SIZES, groups, limit=limit, level=0.9))
    return found


@pytest.mark.sim
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("mean", [0.5, 1.0])
def test_intervals_hold_the_true_powers_as_often_as_they_say(exact: bool, mean: float) -> None:
    """Nominal 90 %: of 60 trials, 43 hold the power or more with probability 0.998 even if the level were 85 %."""
    found = trials(60, runs=6, spread=1.0, mean=mean, offset=20.0 if mean == 1.0 else 3.0, exact=exact)
    assert sum(item.spread_power.holds(1.0) for item in found) >= 43
    assert sum(item.mean_power.holds(mean) for item in found) >= 43
    # The mutants: powers that are not there are excluded almost always.
    assert sum(item.spread_power.holds(0.5) for item in found) <= 6
    assert sum(item.mean_power.holds(1.5 - mean) for item in found) <= (20 if not exact else 6)


def test_a_mean_that_does_not_move_is_not_given_a_power() -> None:
    found = trials(25, runs=6, spread=1.0, mean=1.0, offset=0.0, exact=False)
    known = sum(item.mean_power.known for item in found)
    assert known <= 3, "noise of few networks was taken for a deviation"
    assert all(item.mean_power.why for item in found if not item.mean_power.known)
    # Unbiased: the squared distance of the means scatters around zero.
    values = np.array([item.mean_deviation[0] for item in found])
    assert abs(values.mean()) < 4 * values.std(ddof=1) / math.sqrt(len(values))


def test_without_the_correction_for_a_finite_largest_size_the_power_is_too_steep() -> None:
    """The mutant: a line through logarithms of the distance to the largest size, which is finite itself."""
    found = trials(16, runs=10, spread=1.0, mean=0.5, offset=10.0, exact=False)
    naive = [
        -0.5 * np.polyfit(np.log(SIZES[:-1]), np.log(np.maximum(item.mean_deviation[:-1], 1e-12)), 1)[0]
        for item in found
    ]
    assert np.mean(naive) > 0.7
    assert abs(np.mean([item.mean_power.value for item in found]) - 0.5) < 0.1


def test_deviation_is_spread_plus_mean_and_free_of_units() -> None:
    rng = np.random.default_rng(0)
    groups, _ = draw(rng, runs=5, spread=1.0, mean=1.0, offset=20.0, exact=False)
    found, scaled = converge(SIZES, groups), converge(SIZES, [7.0 * group for group in groups])
    np.testing.assert_allclose(found.deviation[:-1], (found.spread + found.mean_deviation)[:-1], rtol=1e-12)
    np.testing.assert_allclose(found.spread, scaled.spread, rtol=1e-10)
    assert found.mean_power.value == pytest.approx(scaled.mean_power.value, rel=1e-8)
    variance = np.array([group.var(0, ddof=1).sum() for group in groups]) / found.scale
    np.testing.assert_allclose(found.spread, variance, rtol=1e-10)


@pytest.mark.parametrize(
    ("sizes", "runs", "words"),
    [
        ((1.0, 2.0), [np.ones((3, 2))] * 2, "three or more"),
        ((1.0, 2.0, 2.0), [np.ones((3, 2))] * 3, "increasing"),
        ((1.0, 2.0, 3.0), [np.ones((2, 2))] * 3, "at least 3"),
        ((1.0, 2.0, 3.0), [np.ones((3, 2)), np.ones((3, 2)), np.ones((3, 4))], "one D"),
        ((1.0, 2.0, 3.0), [np.full((3, 2), np.nan)] * 3, "not finite"),
    ],
)
def test_bad_tables_are_one_sentence(sizes, runs, words) -> None:
    with pytest.raises(DataError, match=words):
        converge(sizes, runs)
