"""Fixtures of the command-line tests."""

from collections.abc import Callable

import pytest

from support.command import Outcome, make_runner


@pytest.fixture
def limes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs the command line: `limes("transfer", "--out", path)`."""
    return make_runner(monkeypatch, capsys)
