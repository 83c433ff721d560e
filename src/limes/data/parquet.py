"""Columns of a Parquet file: numbers as inputs, one column as the target."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limes.core.errors import DataError
from limes.data.files import DataFile, open_file
from limes.data.samples import SampleContent, split_indices
from limes.data.tables import as_float32, class_indices
from limes.spec.data import ParquetSpec


def load_parquet(spec: ParquetSpec, *, base_dir: Path) -> SampleContent:
    """Inputs, and the target of a regression, are standardized column by column over the training rows.

    Classes are the sorted distinct values of the target column (text, integers or booleans), numbered from 0.
    The split is random and fixed.

    Raises:
        DataError: pyarrow is missing, or the file, a column, its type or a value cannot be used.
    """
    file = open_file(spec.path, field="data.path", base_dir=base_dir)
    _refuse_repeated(spec)
    table = _read(file, (*spec.inputs, spec.target))
    if table.num_rows < 2:
        raise DataError(f"{file.label}: {table.num_rows} rows, expected at least 2; add data")
    train, held_out = split_indices(table.num_rows, validation_fraction=spec.validation_fraction, label=file.label)
    columns = [_standardized(file, table, f"data.inputs[{i}]", name, train) for i, name in enumerate(spec.inputs)]
    inputs = torch.stack(columns, dim=1)
    if spec.task == "regression":
        targets = _standardized(file, table, "data.target", spec.target, train)[:, None]
        num_outputs = 1
    else:
        targets, num_outputs = _classes(file, table, spec.target)
    return SampleContent(
        task=spec.task,
        inputs=inputs[train],
        targets=targets[train],
        validation_inputs=inputs[held_out],
        validation_targets=targets[held_out],
        num_outputs=num_outputs,
        label=file.label,
    )


def _refuse_repeated(spec: ParquetSpec) -> None:
    for i, name in enumerate(spec.inputs):
        if name in spec.inputs[:i]:
            raise DataError(f"data.inputs[{i}] = {name!r} stands twice; name each column once")
        if name == spec.target:
            raise DataError(f"data.inputs[{i}] = {name!r} is data.target too; remove it from the inputs")


def _read(file: DataFile, names: tuple[str, ...]) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DataError('data.source = "parquet" needs pyarrow; run: pip install "limes[data]"') from None
    try:
        with pyarrow.parquet.ParquetFile(file.path) as reader:
            present = reader.schema_arrow.names
            for name in names:
                if present.count(name) != 1:
                    problem = "no such column" if name not in present else "this column stands twice"
                    raise DataError(
                        f"{file.label}: column {name!r}: {problem}; the file has {', '.join(map(repr, present))}"
                    )
            return reader.read(columns=list(names), use_threads=False)
    except (pyarrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split()).split(". ")[0]
        raise DataError(f"{file.label}: is not a readable Parquet file ({reason}); write it again") from None


def _column(file: DataFile, table: Any, field: str, name: str) -> tuple[np.ndarray, str]:
    column = table.column(name)
    label = f"{file.label}, {field} = {name!r}"
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise DataError(f"{label}: row {row} is null ({column.null_count} in all); remove or fill such rows")
    return column.to_numpy(), label


def _standardized(file: DataFile, table: Any, field: str, name: str, train: Tensor) -> Tensor:
    values, label = _column(file, table, field, name)
    if values.dtype.kind not in "fiub":
        raise DataError(f"{label}: {table.column(name).type} values, expected numbers; convert or drop the column")
    as_float32(values, label=label, name="row")
    numbers = torch.from_numpy(values.astype(np.float64))
    if numbers[train].min() == numbers[train].max():
        raise DataError(f"{label}: is {values[0]} in all training rows, so it says nothing; remove the column")
    return ((numbers - numbers[train].mean()) / numbers[train].std(correction=0)).float()


def _classes(file: DataFile, table: Any, name: str) -> tuple[Tensor, int]:
    values, label = _column(file, table, "data.target", name)
    if values.dtype.kind == "O" and all(isinstance(value, str) for value in values):
        values = values.astype(str)
    if values.dtype.kind not in "iubU":
        raise DataError(
            f"{label}: {table.column(name).type} values cannot be class labels; use text, integers or "
            'booleans, or data.task = "regression"'
        )
    names, indices = np.unique(values, return_inverse=True)
    if len(names) < 2:
        raise DataError(f"{label}: every row is {str(names[0])!r}; a classification needs at least two classes")
    return class_indices(indices, label=label)
