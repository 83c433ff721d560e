"""Every error that a user can meet. Each message says what was got, what was expected, and what to do.

Invariants of our own are `assert`s, never one of these.
"""

from typing import Any


class LimesError(Exception):
    """Base of all errors that `limes` raises on purpose. `exit_code` is what the command line returns for it."""

    exit_code = 2


class SpecError(LimesError, ValueError):
    """A study, a flag or a setting is malformed. The message names the file (or flag) and the field."""


class DataError(LimesError, ValueError):
    """A data source cannot be used. The message names the file, the field and the value."""


class PlanError(LimesError, ValueError):
    """A parametrization cannot be planned for this model. The message names the tensor and the override to give."""


class ScopeError(LimesError, ValueError):
    """A theory does not cover what it was asked about; never a silent approximation."""


class StoreError(LimesError):
    """The store on disk cannot be read or written, or is inconsistent."""

    exit_code = 3


class ConvergenceError(LimesError, RuntimeError):
    """An iterative solver stopped early. `result` is what it had; pass `throw=False` to get that instead."""

    exit_code = 1

    def __init__(self, message: str, *, result: Any = None) -> None:
        super().__init__(message)
        self.result = result


def first_line(error: Exception) -> str:
    """What went wrong in code that is not ours, in one line.

    >>> first_line(ValueError("sizes differ\\nin a long story")), first_line(KeyError())
    ('sizes differ', 'KeyError')
    """
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
