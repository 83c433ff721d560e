"""Tables in: a mapping, a DataFrame, or a file (CSV, Parquet, JSON lines; exports of W&B and TensorBoard)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limes.core.errors import DataError
from limes.laws.form import Array, Index, Law

Table = Mapping[str, Any]


def read_table(path: str | Path) -> dict[str, NDArray[Any]]:
    """Read a file of runs into columns.

    CSV (also as exported by Weights & Biases, with its `run - metric` headings, and by TensorBoard, with `Wall time,
    Step, Value`), Parquet, and JSON lines. Numbers become float64, so that 6 N D cannot overflow.

    Args:
        path: File whose ending says its kind: .csv, .tsv, .parquet, .jsonl or .ndjson.

    Returns:
        Column name to (n,) array, float64 where every entry is a number or missing, else object.

    Raises:
        DataError: the file is absent, of another kind, or empty.

    Source: limes, docs/laws.md.

    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "runs.csv"
    >>> _ = file.write_text("N,loss\\n1e6,3.5\\n2e6,3.2\\n")
    >>> read_table(file)["loss"].tolist()
    [3.5, 3.2]
    """
    import pandas

    path = Path(path)
    if not path.is_file():
        raise DataError(f"there is no file {path}; give a CSV, Parquet or JSON-lines table of runs")
    readers: dict[str, Any] = {
        ".csv": pandas.read_csv,
        ".tsv": lambda file: pandas.read_csv(file, sep="\t"),
        ".parquet": pandas.read_parquet,
        ".jsonl": lambda file: pandas.read_json(file, lines=True),
        ".ndjson": lambda file: pandas.read_json(file, lines=True),
    }
    if path.suffix.lower() not in readers:
        raise DataError(f"{path} ends in {path.suffix!r}; give one of {', '.join(readers)}")
    try:
        frame = readers[path.suffix.lower()](path)
    except (ValueError, OSError) as error:
        raise DataError(f"{path} cannot be read as {path.suffix[1:]}: {str(error).splitlines()[0]}") from error
    if not len(frame):
        raise DataError(f"{path} has no rows")
    return {str(name): _as_column(frame[name].to_numpy()) for name in frame.columns}


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
