"""What every model of initialization keeps: float64, reproducible draws, a page, a source, one row in the index."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from limes.theory.initialization import INITIALIZATION_MODELS

DOCS = Path(__file__).resolve().parents[2] / "docs"


def arrays(result) -> list[np.ndarray]:
    """The arrays of a result, in the order of its fields."""
    if isinstance(result, torch.Tensor):
        return [result.numpy()]
    values = [getattr(result, field.name) for field in dataclasses.fields(result)]
    return [np.asarray(value) for value in values if isinstance(value, np.ndarray | torch.Tensor)]


@pytest.mark.parametrize("name", sorted(INITIALIZATION_MODELS))
def test_model(name):
    model = INITIALIZATION_MODELS[name]
    problem = model.example()
    assert isinstance(problem, model.problem) and dataclasses.is_dataclass(problem)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(problem, dataclasses.fields(problem)[0].name, None)
    result = model.solve(problem, **model.solve_options)
    assert result.problem is problem
    found = arrays(result)
    assert found and all(array.dtype in (np.float64, np.int64, np.bool_) for array in found)
    again = arrays(model.solve(problem, **model.solve_options))
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(found, again, strict=True))
    first, same, other = (
        arrays(model.simulate(problem, generator=torch.Generator().manual_seed(seed), **model.simulate_options))
        for seed in (0, 0, 1)
    )
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(first, same, strict=True))
    assert any(not np.array_equal(a, b, equal_nan=True) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("name", sorted(INITIALIZATION_MODELS))
def test_model_is_documented(name):
    model = INITIALIZATION_MODELS[name]
    assert model.scope and model.source.title
    assert (DOCS / "theory" / model.docs).exists()
    assert f"`{name}`" in (DOCS / "families.md").read_text()
    assert f"theory/{model.docs}" in (DOCS / "families.md").read_text()
