"""The forecast: right on a known law, wide when it should be, silent when it must be."""

import numpy as np
import pytest

from limes.compare.forecast import forecast_loss
from limes.compare.transfer import analyse_panels
from limes.spec import parse_study
from support.sweep_rows import make_row


def panels_of(sizes: list[int], law, *, seeds: int = 2, noise: float = 0.003, generator=None):
    generator = generator or np.random.default_rng(0)
    rows = [
        make_row(
            axis="width",
            parametrization="mup",
            size=size,
            seed=seed,
            log2_lr=float(log2_lr),
            loss=law(12 * size * size) + 0.05 * (log2_lr + 6) ** 2 + bump,
        )
        for size in sizes
        for seed in range(seeds)
        for bump in [generator.normal(0, noise)]
        for log2_lr in range(-9, -3)
    ]
    panel = {"axis": "width", "sizes": sizes, "seeds": [seeds] * len(sizes), "parametrizations": [{"name": "mup"}]}
    return analyse_panels(parse_study({"name": "made-up", "panels": [panel]}, name="test"), rows)


def law(num_params: float) -> float:
    return 1.9 + 6.0 / num_params**0.3


def forecast(panels, num_params: int):
    return forecast_loss(
        panels,
        parametrization="mup",
        target={"width": 1, "depth": 1},
        num_params=num_params,
        num_tokens=1000,
        level=0.9,
    )


def test_the_interval_holds_the_truth_at_about_its_level() -> None:
    """40 made-up studies of five widths, target 16 times the parameters: at least the binomial share of 0.9."""
    generator = np.random.default_rng(1)
    sizes, target = [32, 64, 128, 256, 512], 12 * 2048**2
    hits = 0
    for _ in range(40):
        result = forecast(panels_of(sizes, law, generator=generator), target)
        hits += result.low <= law(target) <= result.high
    assert hits >= 31, f"{hits} of 40; at 0.9 fewer than 31 happen once in 200"


def test_far_targets_widen_the_interval_and_warn() -> None:
    panels = panels_of([32, 64, 128, 256], law)
    near, far = forecast(panels, 12 * 512**2), forecast(panels, 12 * 8192**2)
    assert far.high - far.low > near.high - near.low
    assert any("times the parameters" in warning for warning in far.warnings)
    assert any("4 sizes" in warning for warning in near.warnings)


def test_too_few_sizes_give_no_number() -> None:
    result = forecast(panels_of([32, 64, 128], law), 12 * 512**2)
    assert result.value is None and "needs a loss at 4 sizes" in result.warnings[0]


def test_the_base_counts_once_however_many_panels_hold_it() -> None:
    panels = panels_of([32, 64, 128, 256], law)
    assert len(forecast(panels + panels, 12 * 512**2).sizes) == 4


def test_one_seed_per_size_says_which_noise_is_assumed() -> None:
    result = forecast(panels_of([32, 64, 128, 256], law, seeds=1), 12 * 512**2)
    assert any("0.016" in warning for warning in result.warnings)
    assert result.low < result.value < result.high


def test_a_loss_that_rises_with_size_is_forecast_flat_not_falling() -> None:
    """The law cannot rise, so the best it can do is its floor: inside the range of the data, at any size."""
    panels = panels_of([32, 64, 128, 256], lambda num_params: 2.5 - 1.0 / num_params**0.3)
    (losses,) = [panel.best_loss for panel in panels]
    result = forecast(panels, 12 * 512**2)
    assert min(losses) <= result.value <= max(losses)
    assert result.value == pytest.approx(forecast(panels, 12 * 8192**2).value, rel=1e-3)
