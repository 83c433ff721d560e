"""What every model of the table of scaling theories must satisfy. A new row is tested here without a new test."""

import inspect
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from limes.core.errors import SpecError
from limes.core.rng import stream
from limes.core.status import SolveStatus
from limes.theory.scaling import SCALING_MODELS

NAMES = sorted(SCALING_MODELS)
SPECTRUM, POWER = np.arange(1.0, 33.0) ** -1.4, np.arange(1.0, 33.0) ** -1.8
TIMES = [0.0, 1.0, 5.0, 25.0]


def make(name, spectrum=SPECTRUM, power=POWER, **changes):
    model = SCALING_MODELS[name]
    return model.problem(spectrum, power, **{**model.settings, **changes})


@pytest.mark.parametrize("name", NAMES)
def test_results_are_float64_and_start_at_the_power_of_the_target(name):
    model, problem = SCALING_MODELS[name], make(name)
    result = model.solve(problem, TIMES)
    assert result.status is SolveStatus.CONVERGED and result.problem is problem
    assert result.test_loss.shape == (4,) and result.test_loss.dtype == np.float64
    assert result.test_loss[0] == pytest.approx(POWER.sum(), rel=1e-12)
    assert (np.diff(result.test_loss[:2]) < 0).all() and (result.test_loss > 0).all()
    assert (result.error >= 0).all() and (result.error <= 1e-6 * result.test_loss).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_modes_does_not_matter(name):
    order = np.random.default_rng(0).permutation(32)
    solve = SCALING_MODELS[name].solve
    moved = solve(make(name, SPECTRUM[order], POWER[order]), TIMES).test_loss
    np.testing.assert_allclose(moved, solve(make(name), TIMES).test_loss, rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_two_equal_modes_are_one_of_multiplicity_two(name):
    solve = SCALING_MODELS[name].solve
    split = solve(make(name, np.repeat(SPECTRUM, 2), np.repeat(POWER, 2)), TIMES).test_loss
    merged = solve(make(name, multiplicity=np.full(32, 2.0)), TIMES).test_loss
    np.testing.assert_allclose(split, merged, rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_units(name):
    """Target power times c (and noise with it, gamma against it) scales the loss by c."""
    model, c = SCALING_MODELS[name], 9.0
    names = {item.name for item in fields(model.problem)}
    changes = {}
    if "noise_var" in names:
        changes["noise_var"] = c * model.settings["noise_var"]
    if "gamma" in names:
        changes["gamma"] = model.settings["gamma"] / c
    scaled = model.solve(make(name, power=c * POWER, **changes), TIMES).test_loss
    np.testing.assert_allclose(scaled, c * model.solve(make(name), TIMES).test_loss, rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_a_mode_without_eigenvalue_is_a_constant(name):
    solve = SCALING_MODELS[name].solve
    with_it = solve(make(name, np.append(SPECTRUM, 0.0), np.append(POWER, 0.3)), TIMES).test_loss
    plain = solve(make(name), TIMES).test_loss
    if make(name).__class__.__name__ == "RandomFeatureProblem":
        # What cannot be learned acts as label noise, and is itself part of the test loss.
        noisy = replace(make(name), noise_var=make(name).noise_var + 0.3)
        plain = solve(noisy, TIMES).test_loss
    np.testing.assert_allclose(with_it, plain + 0.3, rtol=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_the_simulation_has_the_same_start_and_is_reproducible(name):
    model = SCALING_MODELS[name]
    problem = make(name, **({"num_features": 12} if model.settings.get("num_features") is None else {}))

    def run():
        found = model.simulate(problem, TIMES, num_draws=2, generator=stream(3, "init"))
        return found if isinstance(found, np.ndarray) else found.test_loss

    first = run()
    assert first.shape == (2, 4) and first.dtype == np.float64
    np.testing.assert_allclose(first[:, 0], POWER.sum(), rtol=1e-12)
    np.testing.assert_array_equal(first, run())
    assert (first[0, 1:] != first[1, 1:]).all()


@pytest.mark.parametrize("name", NAMES)
def test_problems_are_frozen_and_times_are_checked(name):
    problem = make(name)
    with pytest.raises(AttributeError):
        problem.spectrum = SPECTRUM
    with pytest.raises(SpecError, match="times"):
        SCALING_MODELS[name].solve(problem, [2.0, 1.0])


@pytest.mark.parametrize("name", NAMES)
def test_every_row_says_where_it_comes_from(name):
    model = SCALING_MODELS[name]
    docs = Path(__file__).parents[2] / "docs" / "theory" / model.docs
    assert model.scope and model.source.arxiv and docs.is_file()
    assert "generator" in inspect.signature(model.simulate).parameters
