"""Where the numbers of a monitor go: JSON lines, TensorBoard, Weights & Biases. The latter two are imported when used.

Source: limes, docs/diagnostics.md.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from limes.core.errors import SpecError


class Writer(Protocol):
    """Takes the numbers of one step."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers by name."""

    def close(self) -> None:
        """No more will come."""


class JsonLines:
    """One JSON object per measurement: {"step": 0, "loss": 2.3, ...}; a run that goes on appends.

    JSON has no word for them, so NaN and infinities are the strings "NaN", "Infinity" and "-Infinity".
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        try:
            self._file = self._path.open("a", encoding="utf-8")
        except OSError as error:
            raise SpecError(
                f"{self._path} cannot be written ({error.strerror}): give a file in a folder that exists"
            ) from None

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append a line, and hand it to the system, so that a killed run keeps it."""
        self._file.write(json_line(step, values))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorBoard:
    """Scalars for TensorBoard."""

    def __init__(self, folder: str | Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise SpecError("TensorBoard is not installed: pip install tensorboard, or write JSON lines") from None
        self._writer: Any = SummaryWriter(str(folder))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """One scalar per number."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


class WandB:
    """Scalars for Weights & Biases, in a run that the caller has started."""

    def __init__(self, run: Any = None) -> None:
        """
        Args:
            run: What `wandb.init` returned; None takes the current run.
        """
        if run is None:
            try:
                import wandb
            except ImportError:
                raise SpecError("wandb is not installed: pip install wandb, or write JSON lines") from None
            run = wandb.run
            if run is None:
                raise SpecError("no run of Weights & Biases is open: call wandb.init first, or give its result")
        self._run = run

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """One call of `log`, with the step among the values too: the run may count steps of its own."""
        self._run.log({f"limes/{name}": value for name, value in values.items()} | {"limes/step": step})

    def close(self) -> None:
        """Nothing: the run is the caller's."""


def json_line(step: int, values: Mapping[str, float]) -> str:
    """One measurement as a line of `JsonLines`.

    Source: limes.

    >>> json_line(3, {"loss": float("nan")})
    '{"step": 3, "loss": "NaN"}\\n'
    """
    return json.dumps({"step": step} | {name: _plain(value) for name, value in values.items()}) + "\n"


def read_json_lines(path: str | Path) -> list[tuple[int, dict[str, float]]]:
    """Steps and numbers that `JsonLines` wrote.

    Raises:
        SpecError: The file cannot be read, or a line is not one of its lines.

    Source: limes.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     writer = JsonLines(f"{folder}/a.jsonl")
    ...     writer.write(3, {"loss": float("inf")})
    ...     writer.close()
    ...     read_json_lines(f"{folder}/a.jsonl")
    [(3, {'loss': inf})]
    """
    rows = []
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} cannot be read: {error}") from None
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            rows.append((int(entry.pop("step")), {name: float(value) for name, value in entry.items()}))
        except (ValueError, TypeError, KeyError, AttributeError):
            raise SpecError(f"{path}, line {number}: expected one JSON object with a step and numbers") from None
    return rows


def _plain(value: float) -> float | str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value
