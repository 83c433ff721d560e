"""Runs the command line inside the test process: exit code, standard output, standard error."""

import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from limes.cli.main import run


class Outcome(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str


def make_runner(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """A function that runs `limes` with some arguments."""

    def limes(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["limes", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_info:
            run()
        captured = capsys.readouterr()
        return Outcome(int(exit_info.value.code or 0), captured.out, captured.err)

    return limes
