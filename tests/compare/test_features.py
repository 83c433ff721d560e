"""Random-feature learners on a page: theory and simulation agree, and bad settings are refused."""

import numpy as np
import pytest

from limes.compare.features import feature_study
from limes.core.errors import SpecError
from limes.report.features import answer_lines, feature_page


def test_simulated_learners_lie_on_the_theory() -> None:
    study = feature_study(a=1.75, b=1.5, widths=(20, 40), num_samples=60, num_modes=200, longest=100, num_draws=40)
    shares = [curve.covered for curve in study.curves[:-1]]
    # 95 % intervals at 40 correlated times, and a bias of order 1/width at these small sizes.
    assert min(shares) > 0.6
    losses = [curve.predicted[-1] for curve in study.curves]
    assert losses == sorted(losses, reverse=True), "wider is better without noise"
    assert "hold the theory" in answer_lines(study)[-1] and feature_page(study).sections[0].anchor == "loss"
    # The mutant: another target is not on the same points.
    wrong = feature_study(a=2.2, b=1.5, widths=(20, 40), num_samples=60, num_modes=200, longest=100)
    for curve, other in zip(study.curves[:-1], wrong.curves[:-1], strict=True):
        assert np.mean(np.abs(curve.simulated - other.predicted) <= curve.half_width) < 0.2


def test_unlimited_resources_need_no_simulation() -> None:
    study = feature_study(a=1.75, b=1.5, widths=(50,), num_modes=10**9, longest=1e6)
    assert all(curve.simulated is None for curve in study.curves) and len(answer_lines(study)) == 2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_draws": 1, "num_samples": 9, "num_modes": 50}, "at least 2 draws"),
        ({"num_draws": 4, "num_modes": 50}, "number of samples"),
        ({"num_draws": 4, "num_samples": 9, "num_modes": 10**6}, "at most 5000"),
        ({"longest": float("nan")}, "above 1"),
        ({"longest": 1e300}, "at most 1e"),
        ({"b": -1.0}, "b is -1; the sum of the eigenvalues .* only for b above 1"),
    ],
)
def test_bad_settings_are_one_sentence(settings, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        feature_study(**({"a": 1.75, "b": 1.5, "widths": (10,)} | settings))


def test_losses_stay_finite_and_positive_to_the_end() -> None:
    """Two modes are learned to the last digit; the longest time allowed still has a loss."""
    for settings in ({"num_modes": 2, "longest": 1e4}, {"num_modes": 10**5, "longest": 1e100}):
        study = feature_study(a=1.75, b=1.5, widths=(1,), **settings)
        assert all((curve.predicted >= 0.0).all() for curve in study.curves)
