"""What every diagnostic of the table must have: a source, a doctest, annotations. (Its row: docs/check.py.)"""

import inspect

import pytest

from limes.measure import DIAGNOSTICS


@pytest.mark.parametrize("name", DIAGNOSTICS)
def test_diagnostic_is_documented(name: str) -> None:
    member = DIAGNOSTICS[name]
    text = inspect.getdoc(member) or ""
    assert "Source" in text and ">>> " in text, "a docstring names its source and has a doctest"
    signature = inspect.signature(member)
    assert signature.return_annotation is not inspect.Signature.empty
    assert all(parameter.annotation is not inspect.Parameter.empty for parameter in signature.parameters.values())
