"""A network's spectrum: exponents of known laws, losses of networks that stay lazy, and those that do not."""

import numpy as np
import pytest
import torch
from torch import nn

from limes.compare.spectrum import spectrum_study
from limes.core.errors import SpecError
from limes.measure.spectrum import Spectrum, fit_source_capacity, measure_spectrum
from limes.report.spectrum import answer_lines, spectrum_page
from support.refusals import one_sentence


def task(num_samples: int = 60) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    inputs = generator.standard_normal((num_samples, 6))
    return inputs, np.sign(inputs[:, 0] * inputs[:, 1])


@pytest.mark.parametrize(("a", "b"), [(1.5, 1.2), (2.5, 2.0), (1.2, 3.0)])
def test_exponents_of_a_noisy_power_law(a: float, b: float) -> None:
    """Powers scatter as squared normal numbers do, over 40 draws: the mean estimate is right within three errors."""
    modes, generator = np.arange(1, 1001.0), np.random.default_rng(1)
    found = [
        fit_source_capacity(
            Spectrum(eigenvalues=modes**-b, power=modes**-a * generator.chisquare(1, 1000), num_samples=1000)
        )
        for _ in range(40)
    ]
    estimates = np.array([one.a for one in found])
    assert abs(estimates.mean() - a) < 3 * estimates.std() / np.sqrt(40) + 0.02
    assert found[0].b == pytest.approx(b, abs=0.02)
    covered = sum(one.a_interval[0] <= a <= one.a_interval[1] for one in found)
    assert covered >= 29, "90 % intervals; fewer than 29 of 40 happen once in 2600 tries"


def test_modes_of_a_linear_model_are_those_of_its_inputs() -> None:
    inputs, targets = (torch.from_numpy(array) for array in task())
    found = measure_spectrum(nn.Linear(6, 1, bias=False).double(), inputs, targets, center_output=True)
    exact = torch.linalg.eigvalsh(inputs.T @ inputs / len(inputs)).flip(0)
    assert found.eigenvalues[:6] == pytest.approx(exact.numpy(), rel=1e-9)
    assert found.eigenvalues[6:] == pytest.approx(0, abs=1e-9)
    assert found.power.sum() == pytest.approx(1.0)


def test_the_mode_sum_is_the_loss_of_a_linear_model_step_by_step() -> None:
    inputs, targets = (torch.from_numpy(array) for array in task())
    model = nn.Linear(6, 1, bias=False).double()
    spectrum = measure_spectrum(model, inputs, targets)
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.1), []
    for _ in range(20):
        loss = 0.5 * (model(inputs)[:, 0] - targets).square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert spectrum.loss(np.arange(20), lr=0.1) == pytest.approx(losses, rel=1e-10)


def test_lazy_networks_come_to_the_prediction_and_rich_ones_leave_it() -> None:
    study = spectrum_study(*task(), data="made up", widths=(16, 64, 256), num_steps=200)
    lazy, rich = ([c.deviation for c in study.curves if c.parametrization == name] for name in ("ntk", "mup"))
    assert lazy == sorted(lazy, reverse=True) and lazy[-1] < 0.25 * lazy[0], "sixteen times the width"
    assert rich[-1] > 5 * lazy[-1], "the mutant: features that move are not in the sum"
    assert "differ by a factor of at most" in answer_lines(study)[0]
    assert all(curve.diverged_step is None for curve in study.curves)
    assert [section.anchor for section in spectrum_page(study).sections] == ["loss", "modes", "numbers"]


def test_divergence_is_told() -> None:
    """Deep ReLU networks of maximal update at half the rate that is stable at initialization."""
    settings = {"parametrizations": ("ntk", "meanfield"), "activation": "relu", "depth": 6, "num_steps": 60}
    study = spectrum_study(*task(), data="made up", widths=(256,), **settings)
    steps = [curve.diverged_step for curve in study.curves]
    assert steps[0] is None and steps[1] is not None and study.curves[1].steps[-1] < 59
    assert f"diverged at width 256 (step {steps[1]})" in answer_lines(study)[2]
    assert "diverged" not in answer_lines(study)[0], "the lazy network does not"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x, y: spectrum_study(x, y[:-1], data="d"), "as many targets"),
        (lambda x, y: spectrum_study(x, y, data="d", widths=()), "all >= 1"),
        (lambda x, y: measure_spectrum(nn.Linear(6, 2).double(), torch.from_numpy(x), torch.from_numpy(y)), "outputs'"),
        (lambda x, y: Spectrum(eigenvalues=np.ones(2), power=np.ones(2), num_samples=2).loss(1, lr=3.0), "lr 3"),
        (
            lambda x, y: fit_source_capacity(Spectrum(eigenvalues=y**2, power=y, num_samples=60), modes=(2, 6)),
            "at least 8",
        ),
    ],
)
def test_bad_input_is_one_sentence(call, words: str) -> None:
    with one_sentence(SpecError, words):
        call(*task())
