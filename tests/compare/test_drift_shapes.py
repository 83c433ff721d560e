"""Intervals of the drift on valleys that are no parabolas: lopsided, with a cliff, flat."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from limes.compare.optimum import pooled_spread, size_optimum
from limes.compare.result import LrCurve
from limes.numerics.vertex import fit_vertex

TRIES = 150
SHAPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "parabola": lambda u: 0.05 * u**2,
    "jump": lambda u: 0.05 * u**2 + 0.3 * (u > 1.2),
    "steep_below": lambda u: 0.05 * u**2 * np.where(u < 0, 2.5, 1.0),
    "cubic": lambda u: 0.05 * u**2 + 0.01 * u**3,
    "exponential": lambda u: 0.05 * (np.exp(0.9 * u) - 0.9 * u - 1),
}


def studies(
    shape: Callable[[np.ndarray], np.ndarray],
    drift: float,
    *,
    seeds: int,
    noise: float,
    jitter: float,
    off_grid: float = 0.5,
) -> list[tuple[float, float]]:
    """(measured drift, half-width) of made-up two-size studies whose optima were found."""
    generator, found = np.random.default_rng(0), []
    for _ in range(TRIES):
        place, curves, optima = -6 + generator.uniform(-off_grid, off_grid), [], []
        for size, moved in ((32, 0.0), (64, drift)):
            grid = np.arange(-9.0, -2.0) + round(moved)
            group = [
                _curve(size, seed, grid, shape(grid - place - moved - generator.normal(0, jitter)), generator, noise)
                for seed in range(seeds)
            ]
            curves += group
            optima.append(size_optimum(group))
        spread = pooled_spread(optima, curves, prior=0.35, level=0.9)
        if optima[0].mean is not None and optima[1].mean is not None:
            found.append((optima[1].mean - optima[0].mean, spread.half_width(optima)))
    return found


def _curve(size: int, seed: int, grid: np.ndarray, loss: np.ndarray, generator, noise: float) -> LrCurve:
    values = loss + generator.normal(0, noise, len(grid))
    return LrCurve(
        size=size,
        seed=seed,
        log2_lr=tuple(grid),
        loss=tuple(values),
        diverged=(False,) * len(grid),
        keys=("",) * len(grid),
        vertex=fit_vertex(grid, values, step=1.0),
    )


@pytest.mark.parametrize("drift", [0.9, 2.5])
@pytest.mark.parametrize("name", SHAPES)
def test_intervals_cover_whatever_the_valley(name: str, drift: float) -> None:
    """90 % for the parabola, 85 % for valleys that no parabola fits, each less a binomial bound at 1e-4."""
    found = studies(SHAPES[name], drift, seeds=3, noise=0.002, jitter=0.15)
    hits = sum(abs(measured - drift) <= half for measured, half in found)
    assert len(found) > 0.9 * TRIES
    assert hits >= stats.binom.ppf(1e-4, len(found), 0.9 if name == "parabola" else 0.85)


def test_a_valley_without_its_shape_would_not_be_covered(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the grid at one end and off it at the other, the cliff moves the two vertices by different amounts."""

    def hits() -> int:
        found = studies(SHAPES["jump"], 1.3, seeds=3, noise=0.002, jitter=0.05, off_grid=0.0)
        return sum(abs(measured - 1.3) <= half for measured, half in found)

    assert hits() >= stats.binom.ppf(1e-4, TRIES, 0.9)
    monkeypatch.setattr("limes.compare.optimum._shape", lambda optima: 0.0)
    assert hits() < stats.binom.ppf(1e-4, TRIES, 0.9)


def test_noise_alone_moves_nothing() -> None:
    found = studies(lambda u: 0 * u, 0.0, seeds=1, noise=0.005, jitter=0.0)
    moved = sum(abs(measured) - half > 1 for measured, half in found)
    assert moved <= stats.binom.ppf(1 - 1e-4, TRIES, 0.05)
