"""Tables in: a mapping, a DataFrame, or a file (CSV, Parquet, JSON lines; exports of W&B and TensorBoard)."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limes.core.errors import DataError
from limes.laws.form import Array, Index, Law

Table = Mapping[str, Any]
ENDINGS = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson")
TENSORBOARD = {"Wall time": "wall_time", "Step": "step", "Value": "value"}


def read_table(path: str | Path) -> dict[str, NDArray[Any]]:
    """Read a file of runs into columns.

    CSV, Parquet and JSON lines. A history exported by Weights & Biases, whose headings are `run - metric`, becomes one
    row per run and step; a scalar exported by TensorBoard (`Wall time, Step, Value`) gets the file's name as its run. A
    folder is read as the files in it, one after the other. Numbers become float64, so that 6 N D cannot overflow.

    Args:
        path: File whose ending says its kind (.csv, .tsv, .parquet, .jsonl or .ndjson), or a folder of such files.

    Returns:
        Column name to (n,) array, float64 where every entry is a number or missing, else object.

    Raises:
        DataError: the file is absent, of another kind, or empty; or the files of a folder have different columns.

    Source: limes, docs/laws.md.

    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "runs.csv"
    >>> _ = file.write_text("N,loss\\n1e6,3.5\\n2e6,3.2\\n")
    >>> read_table(file)["loss"].tolist()
    [3.5, 3.2]
    """
    path = Path(path)
    if not path.is_dir():
        return _read_file(path)
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in ENDINGS)
    if not files:
        raise DataError(f"the folder {path} holds no table; give files that end in {', '.join(ENDINGS)}")
    parts = [_read_file(file) for file in files]
    for file, part in zip(files, parts):
        if part.keys() != parts[0].keys():
            raise DataError(
                f"{file.name} has the columns {', '.join(part)}, but {files[0].name} has {', '.join(parts[0])}; put "
                "tables of different columns into different folders"
            )
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _read_file(path: Path) -> dict[str, NDArray[Any]]:
    import pandas

    if not path.is_file():
        raise DataError(f"there is no file {path}; give a CSV, Parquet or JSON-lines table of runs")
    readers: dict[str, Any] = {
        ".csv": lambda file: _read_delimited(file, ","),
        ".tsv": lambda file: _read_delimited(file, "\t"),
        ".parquet": pandas.read_parquet,
        ".jsonl": lambda file: pandas.read_json(file, lines=True),
        ".ndjson": lambda file: pandas.read_json(file, lines=True),
    }
    assert set(readers) == set(ENDINGS)
    if path.suffix.lower() not in readers:
        raise DataError(f"{path} ends in {path.suffix!r}; give one of {', '.join(readers)}")
    try:
        frame = readers[path.suffix.lower()](path)
    except DataError:
        raise
    except (ValueError, OSError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as {path.suffix[1:]}: {str(error).splitlines()[0]}") from error
    if not len(frame):
        raise DataError(f"{path} has no rows")
    table = {str(name): _as_column(frame[name].to_numpy()) for name in frame.columns}
    if set(table) == set(TENSORBOARD):
        run = np.full(len(frame), path.stem, dtype=object)
        return {"run": run} | {TENSORBOARD[name]: column for name, column in table.items()}
    return _one_row_per_step(table)


def _read_delimited(path: Path, separator: str) -> Any:
    import pandas

    with path.open(newline="", encoding="utf-8-sig") as file:
        names = next(csv.reader(file, delimiter=separator), [])
    # The reader would rename the second one, and nobody would know which was fitted.
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise DataError(
            f"{path}: the column {twice[0]!r} stands {names.count(twice[0])} times in the header; rename one"
        )
    return pandas.read_csv(path, sep=separator)


def _one_row_per_step(table: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """A history with a `run - metric` column for each run, as one row per run and step; any other table as it is."""
    names = [name for name in table if " - " in name]
    steps = [name for name in table if name not in names]
    if not names or len(steps) != 1:
        return table
    # a run's name may hold the separator, a metric's does not; the extremes of smoothed curves are left out
    pairs = {name: name.rsplit(" - ", 1) for name in names if not name.endswith(("__MIN", "__MAX"))}
    # what the result calls its own columns is no metric
    taken = {"run", "step", steps[0]}
    metrics = list(dict.fromkeys(metric for _, metric in pairs.values() if metric not in taken))
    if not metrics:
        return table
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in ("run", "step", *metrics)}
    step = table[steps[0]]
    for run in dict.fromkeys(run for run, _ in pairs.values()):
        values = {metric: table.get(f"{run} - {metric}", np.full(len(step), np.nan)) for metric in metrics}
        seen = np.any([np.array([entry == entry for entry in column]) for column in values.values()], axis=0)
        parts["run"].append(np.full(int(seen.sum()), run, dtype=object))
        parts["step"].append(step[seen])
        for metric, column in values.items():
            parts[metric].append(column[seen])
    return {name: np.concatenate(part) for name, part in parts.items()}


def numeric_columns(table: Table, law: Law, columns: Mapping[str, str] | None = None) -> tuple[dict[str, Array], Index]:
    """The columns that a law needs, clean, and which rows of the table they are.

    Args:
        table: Mapping of column name to array, or a DataFrame.
        law: Says which columns.
        columns: The law's name of a column to the table's.

    Returns:
        Law's column name to (n,) float64; (n,) kept row numbers. Rows with a missing value are left out.

    Raises:
        DataError: a column is absent, of another length, not numeric, not positive where it must be, or no row is left.
    """
    columns = dict(columns or {})
    wanted = (*law.input_names, law.target)
    unknown = [name for name in columns if name not in wanted]
    if unknown:
        raise DataError(f"columns names {unknown[0]!r}, but {law.name} reads {', '.join(wanted)}")
    arrays = {
        name: numeric_column(table, columns.get(name, name), needed_by=f"{law.name} as {name!r}") for name in wanted
    }
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) != 1:
        raise DataError(f"columns have different lengths: {lengths}; give one entry per run in each")
    kept = np.flatnonzero(np.all([np.isfinite(array) for array in arrays.values()], axis=0))
    if not len(kept):
        raise DataError(f"every row misses a value in one of {', '.join(wanted)}; nothing is left to fit")
    arrays = {name: array[kept] for name, array in arrays.items()}
    positive = [column.name for column in law.inputs if column.kind == "log"] + [law.target] * (law.scale == "log")
    for name in positive:
        if (arrays[name] <= 0).any():
            row = int(kept[np.argmax(arrays[name] <= 0)])
            raise DataError(
                f"{columns.get(name, name)} is {arrays[name].min():g} in row {row}; {law.name} needs it positive"
            )
    return arrays, kept


def numeric_column(table: Table, name: str, *, needed_by: str) -> Array:
    """One column as (n,) float64.

    Raises:
        DataError: it is absent, not one-dimensional, or not numeric.
    """
    names = [str(key) for key in table.keys()]  # noqa: SIM118  (a DataFrame iterates over columns only by keys())
    if name not in names:
        raise DataError(f"the table has no column {name!r}, needed by {needed_by}; it has {', '.join(names[:20])}")
    try:
        array = np.asarray(table[name], dtype=float)
    except (TypeError, ValueError) as error:
        raise DataError(f"column {name!r} is not numeric: {error}; convert it first") from error
    if array.ndim != 1:
        raise DataError(f"column {name!r} has shape {array.shape}; give one number per run")
    return array


def _as_column(values: NDArray[Any]) -> NDArray[Any]:
    try:
        return np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        return np.asarray(values, dtype=object)
