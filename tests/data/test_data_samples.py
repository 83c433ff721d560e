"""Finite sets: epochs, full batches, splits, digits and synthetic tasks against their definitions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from limes.core.rng import stream
from limes.data import build_data
from limes.data.samples import equal_batches, split_indices
from limes.data.synthetic import OnlineSource
from limes.spec.data import CircleSpec, DigitsSpec, GaussianSpec, PowerLawSpec, TeacherSpec
from support.stats import assert_mean

SYNTHETIC = [
    GaussianSpec(num_inputs=5),
    PowerLawSpec(num_inputs=6),
    TeacherSpec(num_inputs=5),
    CircleSpec(num_modes=9),
]


def _names(inputs: Tensor) -> list[bytes]:
    return [row.numpy().tobytes() for row in inputs]


def test_an_epoch_shows_no_sample_twice_and_epochs_differ() -> None:
    source = build_data(GaussianSpec(num_samples=25), seed=0, batch_size=6)
    epochs = [[name for step in range(4) for name in _names(source.batch(4 * epoch + step)[0])] for epoch in range(40)]
    assert all(len(set(epoch)) == 24 for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert len({name for epoch in epochs for name in epoch}) == 25, "the sample left over changes from epoch to epoch"


def test_full_batch_has_one_order_for_all_steps_and_seeds() -> None:
    spec = GaussianSpec(num_samples=25, noise_std=0.5)
    first, second = (build_data(spec, seed=seed, batch_size=25) for seed in (0, 1))
    for a, b in zip(first.batch(0), second.batch(17), strict=True):
        assert torch.equal(a, b)


def test_full_batch_survives_a_caller_that_writes_into_it() -> None:
    source = build_data(GaussianSpec(num_samples=25), seed=0, batch_size=25)
    expected = [tensor.clone() for tensor in source.batch(0)]
    for tensor in source.batch(0):
        tensor.zero_()
    assert all(torch.equal(a, b) for a, b in zip(source.batch(1), expected, strict=True))


@given(num_samples=st.integers(1, 5000))
def test_validation_batches_are_equal_and_nearly_complete(num_samples: int) -> None:
    samples = torch.arange(num_samples)
    batches = equal_batches(samples, samples)
    sizes = {len(inputs) for inputs, _ in batches}
    assert len(sizes) == 1 and max(sizes) <= 512
    assert torch.equal(torch.cat([inputs for inputs, _ in batches]), samples[: sum(len(x) for x, _ in batches)])
    assert num_samples - len(batches) * max(sizes) < len(batches)


@given(num_samples=st.integers(2, 300), fraction=st.floats(0.05, 0.9))
def test_split_is_a_partition(num_samples: int, fraction: float) -> None:
    if not 0 < round(num_samples * fraction) < num_samples:
        return
    train, held_out = split_indices(num_samples, validation_fraction=fraction, label="x")
    assert sorted([*train.tolist(), *held_out.tolist()]) == list(range(num_samples))
    assert len(held_out) == round(num_samples * fraction)


def test_digits_pixels_are_standardized_over_the_training_side() -> None:
    content = build_data(DigitsSpec(), seed=0, batch_size=8).content
    assert content.inputs.shape == (1438, 64) and content.validation_inputs.shape == (359, 64)
    pixels = content.inputs.double()
    assert abs(pixels.mean()) < 2**-23 and abs(pixels.std(correction=0) - 1) < 2**-23
    assert len(torch.unique(pixels)) == 17, "17 grey values, one scale for all pixels"


def test_digits_layouts_tasks_and_sizes_agree() -> None:
    flat = build_data(DigitsSpec(num_samples=500), seed=0, batch_size=500)
    image = build_data(DigitsSpec(layout="image", task="regression"), seed=0, batch_size=1438)
    assert flat.input_shape is None and image.input_shape == (1, 8, 8)
    inputs, targets = flat.batch(0)
    image_inputs, image_targets = image.batch(0)
    assert torch.equal(image_inputs[:500].flatten(1), inputs)
    assert torch.equal(image_targets[:500].argmax(1), targets)
    expected = torch.where(torch.nn.functional.one_hot(targets, 10).bool(), 0.9, -0.1)
    assert torch.allclose(image_targets[:500], expected)
    assert torch.equal(flat.validation()[0][0], image.validation()[0][0].flatten(1))
    parity = build_data(DigitsSpec(num_samples=500, task="parity"), seed=0, batch_size=500)
    assert (parity.task, parity.num_outputs) == ("regression", 1)
    assert torch.equal(parity.batch(0)[1][:, 0] > 0, targets % 2 == 0)


@pytest.mark.parametrize("spec", SYNTHETIC, ids=lambda spec: spec.source)
def test_online_and_finite_sets_follow_one_rule(spec: GaussianSpec) -> None:
    online = build_data(spec, seed=0, batch_size=50)
    finite = build_data(spec.model_copy(update={"num_samples": 40}), seed=0, batch_size=40)
    assert isinstance(online, OnlineSource)
    for a, b in zip(online.validation()[0], finite.validation()[0], strict=True):
        assert torch.equal(a, b)
    inputs, targets = finite.batch(0)
    assert torch.allclose(online.content.rule.function(inputs.double()).float(), targets, atol=2**-18)


def test_noise_is_on_training_targets_alone() -> None:
    clean, noisy = (
        build_data(GaussianSpec(noise_std=s, num_samples=4000), seed=0, batch_size=4000) for s in (0.0, 0.25)
    )
    assert torch.equal(clean.validation()[0][1], noisy.validation()[0][1])
    assert torch.equal(clean.batch(0)[0], noisy.batch(0)[0])
    noise = (noisy.batch(0)[1] - clean.batch(0)[1]).double().flatten()
    assert_mean(noise.reshape(40, 100).mean(1).numpy(), 0.0)
    assert_mean(noise.square().reshape(40, 100).mean(1).numpy(), 0.25**2)


def _blocks(values: Tensor) -> np.ndarray:
    """Means over 40 independent blocks of samples."""
    return values.double().reshape(40, -1).mean(1).numpy()


def test_gaussian_target_is_a_unit_vector_times_the_input() -> None:
    inputs, targets = build_data(GaussianSpec(num_inputs=4, num_outputs=2), seed=0, batch_size=8000).batch(0)
    weights = torch.linalg.lstsq(inputs.double(), targets.double()).solution
    assert torch.allclose(weights.norm(dim=0), torch.ones(2, dtype=torch.float64), atol=1e-6)
    assert torch.allclose(inputs.double() @ weights, targets.double(), atol=1e-5)
    for column in range(4):
        assert_mean(_blocks(inputs[:, column]), 0.0)
        assert_mean(_blocks(inputs[:, column] ** 2), 1.0)


def test_power_law_spectra_are_as_specified() -> None:
    spec = PowerLawSpec(num_inputs=5, capacity=1.5, source_exponent=2.5)
    inputs, targets = build_data(spec, seed=0, batch_size=8000).batch(0)
    weights = torch.linalg.lstsq(inputs.double(), targets.double()).solution.flatten()
    for k in range(1, 6):
        assert_mean(_blocks(inputs[:, k - 1] ** 2), k**-1.5)
        assert math.isclose(k**-1.5 * weights[k - 1] ** 2, k**-2.5, rel_tol=1e-5)


@pytest.mark.parametrize("activation", ["relu", "tanh", "erf"])
def test_teacher_equals_sums_written_out(activation: str) -> None:
    scalar = {"relu": lambda z: max(z, 0.0), "tanh": math.tanh, "erf": math.erf}[activation]
    spec = TeacherSpec(num_inputs=3, teacher_width=2, num_outputs=2, activation=activation)
    generator = stream(0, "teacher", "teacher")
    hidden, readout = (torch.randn(2, n, generator=generator, dtype=torch.float64).tolist() for n in (3, 2))
    inputs, targets = build_data(spec, seed=0, batch_size=16).batch(0)
    for x, y in zip(inputs.tolist(), targets.tolist(), strict=True):
        units = [scalar(sum(w * v for w, v in zip(row, x, strict=True)) / math.sqrt(3)) for row in hidden]
        expected = [sum(a * u for a, u in zip(row, units, strict=True)) / math.sqrt(2) for row in readout]
        # Inputs and targets are rounded to float32, relative error 2^-24 each.
        assert np.allclose(y, expected, rtol=2**-20, atol=2**-20)


def test_circle_modes_have_power_law_power() -> None:
    spec = CircleSpec(num_modes=6, exponent=1.5)
    rule = build_data(spec, seed=0, batch_size=4).content.rule
    num_points = 64
    angle = 2 * math.pi * torch.arange(num_points, dtype=torch.float64) / num_points
    values = rule.function(torch.stack([angle.cos(), angle.sin()], dim=1)).flatten()
    power = 2 * (torch.fft.rfft(values).abs() / num_points) ** 2
    expected = torch.zeros(33, dtype=torch.float64)
    expected[1:7] = torch.arange(1, 7, dtype=torch.float64) ** -1.5
    assert torch.allclose(power, expected, atol=1e-12)


def test_circle_inputs_are_uniform_on_the_circle() -> None:
    inputs, _ = build_data(CircleSpec(), seed=3, batch_size=8000).batch(0)
    assert torch.allclose(inputs.norm(dim=1), torch.ones(8000), atol=2**-22)
    for moment in (inputs[:, 0], inputs[:, 1], inputs[:, 0] * inputs[:, 1], inputs[:, 0] ** 2 - 0.5):
        assert_mean(_blocks(moment), 0.0)
