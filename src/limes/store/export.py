"""The result table as CSV, JSON or Parquet, chosen by the suffix of the file."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from limes.core.errors import SpecError
from limes.store.files import write_atomically
from limes.store.records import SweepRow


def export_rows(rows: Sequence[SweepRow], path: Path) -> None:
    """Write `rows` to `path`; its suffix decides the format.

    Raises:
        SpecError: Unknown suffix, no such folder, or Parquet without pyarrow.
        StoreError: The file cannot be written.
    """
    writer = FORMATS.get(path.suffix.lower())
    if writer is None:
        raise SpecError(f"{path}: the suffix {path.suffix!r} names no format; use one of {', '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise SpecError(f"{path}: there is no folder {path.parent}; make it, or give another path")
    records = [asdict(row) | {"status": row.status.value} for row in rows]
    write_atomically(path, writer(records))


def _csv(records: Sequence[Mapping[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [field.name for field in fields(SweepRow)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().encode()


def _json(records: Sequence[Mapping[str, Any]]) -> bytes:
    return (json.dumps(list(records), indent=1, allow_nan=False) + "\n").encode()


def _parquet(records: Sequence[Mapping[str, Any]]) -> bytes:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise SpecError("Parquet needs pyarrow: pip install 'limes[data]', or export to .csv or .json") from None
    text, whole, number = pyarrow.string(), pyarrow.int64(), pyarrow.float64()
    kinds = {"str": text, "str | None": text, "RunStatus": text, "int": whole, "int | None": whole}
    schema = pyarrow.schema(
        [
            (field.name, kinds.get(getattr(field.type, "__name__", str(field.type)), number))
            for field in fields(SweepRow)
        ]
    )
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(records), schema=schema), sink)
    return sink.getvalue()


FORMATS: Mapping[str, Callable[[Sequence[Mapping[str, Any]]], bytes]] = {
    ".csv": _csv,
    ".json": _json,
    ".parquet": _parquet,
}
