"""What every model of the statics keeps: frozen, float64, the same twice, a page, a source, one row in the index."""

import dataclasses
from pathlib import Path

import pytest
import torch

from limes.theory.statics import STATICS

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("name", sorted(STATICS))
def test_model(name):
    model = STATICS[name]
    problem = model.example()
    assert model.name == name and isinstance(problem, model.problem)
    result = model.solve(problem)
    assert result.problem is problem
    for frozen in (problem, result):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(frozen, dataclasses.fields(frozen)[0].name, None)
    names = [field.name for field in dataclasses.fields(result)]
    tensors = [value for value in (getattr(result, name) for name in names) if isinstance(value, torch.Tensor)]
    assert tensors and all(value.dtype == torch.float64 and bool(value.isfinite().all()) for value in tensors)
    assert isinstance(result.log_evidence, float)
    assert result.train_mean.shape == problem.targets.shape and len(result.test_mean) == 1
    again = model.solve(problem)
    assert all(torch.equal(getattr(result, n), getattr(again, n)) for n in ("train_mean", "test_mean"))
    # Outputs lie between the prior mean, zero, and the targets.
    assert bool((result.train_mean * problem.targets > 0).all())


@pytest.mark.parametrize("name", sorted(STATICS))
def test_model_is_documented(name):
    model = STATICS[name]
    assert model.scope and model.source.title
    assert (DOCS / "theory" / model.docs).exists()
    assert f"`{name}`" in (DOCS / "families.md").read_text()
    assert f"theory/{model.docs}" in (DOCS / "families.md").read_text()
