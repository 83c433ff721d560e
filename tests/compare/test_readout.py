"""Where the common path of networks with trained readouts ends: measured, and predicted from a measured spectrum."""

import numpy as np
import pytest
import torch

from limes.compare.bottleneck import predicted_crossovers
from limes.compare.readout import readout_study
from limes.core.errors import SpecError


def task(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = 2.0 * torch.randn(size, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return inputs, inputs[:, 0].sign() + 0.5 * inputs[:, 1].sin()


@pytest.mark.sim
def test_the_end_of_the_path_is_where_the_measured_spectrum_puts_it() -> None:
    times = np.geomspace(1.0, 3e5, 26)
    found = readout_study(*task(1500), widths=(16, 32, 64, 128), seeds=64, num_samples=400, times=times, level=0.99)
    for losses, predicted in zip(found.losses, found.predicted, strict=True):
        # Features of a tanh network are not Gaussian, and the sizes are finite: of the order 1 / width.
        np.testing.assert_allclose(losses.mean(0), predicted, rtol=1 / 16)
    assert all(one.low <= other.time <= one.high for one, other in zip(found.ends, found.predicted_ends, strict=True))
    # The mutant: the theory of networks twice as wide.
    mutant = predicted_crossovers(found.problem, 2.0 * np.array(found.widths), times)
    outside = [not one.low <= other.time <= one.high for one, other in zip(found.ends, mutant, strict=True)]
    assert sum(outside) >= 2


def test_the_modes_hold_the_whole_target() -> None:
    inputs, targets = task(200)
    found = readout_study(
        inputs, targets, widths=(2, 4), seeds=2, num_samples=50, times=[1.0, 2.0, 4.0], reference_width=2048
    )
    assert found.problem.total_power == pytest.approx(float(targets.square().mean()), rel=1e-6)
    assert found.problem.num_samples == 50 and (np.diff(found.predicted, axis=1) < 0).all()


@pytest.mark.parametrize("changes", [{"num_samples": 101}, {"num_samples": 0}, {"reference_width": 4}])
def test_bad_settings_are_one_sentence(changes) -> None:
    settings = {"widths": (2, 4), "seeds": 2, "num_samples": 50, "times": [1.0, 2.0, 4.0], "reference_width": 64}
    with pytest.raises(SpecError, match="expected at most half"):
        readout_study(*task(200), **settings | changes)
