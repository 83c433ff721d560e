"""What every model of the table of solvable models must satisfy. A new row is tested here without a new test."""

import inspect
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from limes.core.errors import SpecError
from limes.core.rng import stream
from limes.theory.solvable import SOLVABLE_MODELS

NAMES = sorted(SOLVABLE_MODELS)
DIM = 12


def make(name, **changes):
    model = SOLVABLE_MODELS[name]
    return model.problem(**{**model.settings, **changes})


@pytest.mark.parametrize("name", NAMES)
def test_results_are_finite_float64_and_repeat(name):
    model, problem = SOLVABLE_MODELS[name], make(name)
    result, again = model.solve(problem), model.solve(problem)
    assert result.problem is problem
    for metric in model.metrics:
        value = np.asarray(getattr(result, metric))
        assert value.dtype == np.float64 and np.isfinite(value).all() and (value > 0).all(), metric
        np.testing.assert_array_equal(value, getattr(again, metric))


@pytest.mark.parametrize("name", NAMES)
def test_the_simulation_has_the_same_metrics_and_is_reproducible(name):
    model, problem = SOLVABLE_MODELS[name], make(name)
    first, again = (model.simulate(problem, dim=DIM, num_draws=2, generator=stream(3, "data", name)) for _ in range(2))
    result = model.solve(problem)
    for metric in model.metrics:
        value = getattr(first, metric)
        assert value.shape == (2, *np.shape(getattr(result, metric))) and value.dtype == np.float64
        np.testing.assert_array_equal(value, getattr(again, metric))
        assert (value[0] != value[1]).any()


@pytest.mark.parametrize("name", NAMES)
def test_problems_are_frozen_and_checked(name):
    problem = make(name)
    with pytest.raises(AttributeError):
        setattr(problem, fields(problem)[0].name, 1.0)
    numbers = [key for key, value in SOLVABLE_MODELS[name].settings.items() if isinstance(value, float)]
    for key in numbers:
        with pytest.raises(SpecError, match=f"{key} is -1"):
            make(name, **{key: -1.0})


@pytest.mark.parametrize("name", NAMES)
def test_every_row_says_where_it_comes_from(name):
    model = SOLVABLE_MODELS[name]
    docs = Path(__file__).parents[2] / "docs" / "theory" / model.docs
    assert model.name == name and model.scope and model.source.arxiv and docs.is_file()
    assert "generator" in inspect.signature(model.simulate).parameters
    for function in (model.solve, model.simulate):
        assert "**Source**" in function.__doc__ and "**Accuracy**" in function.__doc__
