"""Trends over size: exact lines, coverage of the intervals, crossings by a search over the confidence band."""

import math

import numpy as np
import pytest
from scipy import stats

from limes.compare.scales import extrapolate, size_trend, trends_by_size
from limes.core.errors import DataError

SIZES = np.repeat([32.0, 64.0, 128.0, 256.0], 3)


def runs(exponent: float, *, seed: int, noise: float = 0.1) -> np.ndarray:
    """Three runs per size of a power law with noise."""
    return np.exp(exponent * np.log(SIZES) + noise * np.random.default_rng(seed).standard_normal(len(SIZES)))


def test_trend_equals_scipy() -> None:
    values = runs(0.7, seed=0)
    trend = size_trend(SIZES, values, level=0.95)
    expected = stats.linregress(np.log(SIZES), np.log(values))
    half = stats.t.ppf(0.975, len(SIZES) - 2) * expected.stderr
    assert (trend.slope, trend.intercept) == pytest.approx((expected.slope, expected.intercept))
    assert trend.interval == pytest.approx((expected.slope - half, expected.slope + half))
    assert trend.grows is True and trend.straight is True


def test_intervals_hold_what_they_promise() -> None:
    """Slope, new run at a far size and crossing are each inside their 90 % interval in 90 % of 400 tables."""
    exponent, target, line = 0.5, 2048.0, 60.0
    truth, inside = math.exp(math.log(line) / exponent), np.zeros(3)
    generator = np.random.default_rng(1)
    for seed in range(400):
        trend = size_trend(SIZES, runs(exponent, seed=seed))
        crossing = extrapolate(trend, danger=line, target=target)
        new = math.exp(exponent * math.log(target) + 0.1 * generator.standard_normal())
        inside += [
            trend.interval[0] <= exponent <= trend.interval[1],
            crossing.value_low <= new <= crossing.value_high,
            crossing.low <= truth <= crossing.high,
        ]
    # Exact binomial interval of 0.9 at level 1e-4, for each of the three.
    low, high = stats.binom.ppf([5e-5, 1 - 5e-5], 400, 0.9)
    assert (inside >= low).all() and (inside <= high).all(), inside


def test_crossing_is_where_the_band_meets_the_line() -> None:
    values = runs(0.6, seed=3)
    trend = size_trend(SIZES, values)
    found = extrapolate(trend, danger=200.0)
    x, y = np.log(SIZES), np.log(values)
    design = np.stack([np.ones_like(x), x], 1)
    covariance = np.linalg.inv(design.T @ design) * trend.deviation**2
    grid = np.linspace(math.log(1000), math.log(100_000_000), 400_001)
    basis = np.stack([np.ones_like(grid), grid], 1)
    half = stats.t.ppf(0.95, len(x) - 2) * np.sqrt(np.einsum("ij,jk,ik->i", basis, covariance, basis))
    middle = basis @ np.linalg.lstsq(design, y, rcond=None)[0]
    held = grid[np.abs(middle - math.log(200.0)) <= half]
    assert math.log(found.low) == pytest.approx(held[0], abs=1e-4)
    assert math.log(found.high) == pytest.approx(held[-1], abs=1e-4)
    assert "crosses 200" in found.sentence


def test_falling_entropy_in_its_own_units() -> None:
    values = 0.9 - 0.1 * np.log(SIZES / 32) + 1e-3 * np.random.default_rng(0).standard_normal(len(SIZES))
    trend = size_trend(SIZES, values, log_values=False)
    found = extrapolate(trend, danger=0.1, target=1024)
    assert trend.grows is False and found.size == pytest.approx(32 * math.exp(8), rel=0.2)
    assert found.value == pytest.approx(0.9 - 0.1 * math.log(32), abs=0.02)


def test_no_trend_a_bend_and_lines_already_crossed() -> None:
    flat = size_trend(SIZES, runs(0.0, seed=0))
    found = extrapolate(flat, danger=100.0)
    assert flat.grows is None and found.high == math.inf and "no trend" in found.sentence
    bent = size_trend(SIZES, np.exp(0.3 * np.log(SIZES) ** 2 + 0.01 * np.random.default_rng(0).standard_normal(12)))
    assert bent.straight is False and "bend" in extrapolate(bent, danger=1e9).sentence
    assert size_trend([1, 2, 4], [1.0, 2.0, 4.1]).straight is None
    assert "already" in extrapolate(size_trend(SIZES, runs(1.0, seed=0)), danger=50.0).sentence


def test_runs_without_a_value_are_counted() -> None:
    values = runs(0.5, seed=0)
    values[[0, 5]] = [math.nan, 0.0]
    assert size_trend(SIZES, values).num_left_out == 2
    with pytest.raises(DataError, match="2 sizes are left"):
        size_trend([1, 2, 4], [1.0, 2.0, math.inf])
    with pytest.raises(DataError, match="positive size"):
        size_trend([0, 1, 2], [1.0, 2.0, 3.0])
    with pytest.raises(DataError, match="danger"):
        extrapolate(size_trend(SIZES, values), danger=0.0)


def test_every_measurement_of_a_table() -> None:
    rows = [
        {"width": size, "max_attention_logit/a": value, "loss": 1.0 + 1 / size}
        for size, value in zip(SIZES, runs(0.5, seed=0))
    ]
    rows[0]["only_here"] = 1.0
    trends = trends_by_size(rows, axis="width")
    assert set(trends) == {"max_attention_logit/a", "loss"}
    assert trends["loss"].grows is False
    with pytest.raises(DataError, match="depth"):
        trends_by_size(rows, axis="depth")
