"""Where `limes fit` gets its rows: a file, a folder of exports, or the store of a sweep."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from limes.core.errors import DataError, SpecError


def read_runs(path: Path, where: Mapping[str, str]) -> dict[str, Any]:
    """Columns of the runs at `path`, those rows only on which every `where` column has the stated value.

    Args:
        path: A table that `limes.laws.read_table` reads, or the folder of a sweep.
        where: Column name to value.

    Raises:
        DataError: nothing readable is there, or no row is left. SpecError: `where` names an absent column, or leaves
            runs of several parametrizations.
    """
    from limes.laws import read_table
    from limes.store.schema import FILE_NAME

    is_sweep = (path / FILE_NAME).is_file()
    table: dict[str, Any] = _sweep_table(path) if is_sweep else dict(read_table(path))
    for name, value in where.items():
        if name not in table:
            raise SpecError(f"{name}={value}: the table has no such column; it has {', '.join(table)}")
        keep = np.array([_same(entry, value) for entry in table[name]])
        if not keep.any():
            seen = ", ".join(sorted({str(entry) for entry in table[name]})[:8])
            raise DataError(f"{name}={value}: no row is left; {name} has {seen}")
        table = {column: np.asarray(values)[keep] for column, values in table.items()}
    if is_sweep and len(families := sorted(set(table["parametrization"]))) > 1:
        raise SpecError(
            f"{path} holds runs of {', '.join(families)}, and one law cannot describe several; take those of one, such "
            f"as parametrization={families[0]}, with --where"
        )
    return table


def _same(entry: Any, value: str) -> bool:
    try:
        return float(entry) == float(value)
    except (TypeError, ValueError):
        return str(entry) == value


def _sweep_table(folder: Path) -> dict[str, Any]:
    """One row per network and seed: its lowest loss over the learning rates."""
    from limes.store import Store

    with Store.open(folder, read_only=True) as store:
        rows = [row for row in store.rows() if row.loss is not None]
    if not rows:
        raise DataError(f"no run in {folder} has a loss yet; let `limes sweep` finish some")
    best: dict[tuple[Any, ...], Any] = {}
    for row in rows:
        # the base network stands in the panels of several axes, but it is one network
        place = (row.parametrization, row.num_params, row.num_tokens, row.seed)
        if place not in best or row.loss < best[place].loss:
            best[place] = row
    kept = [best[place] for place in sorted(best)]
    columns: dict[str, Any] = {
        name: np.array([getattr(row, name) for row in kept])
        for name in ("axis", "parametrization", "seed", "log2_lr", "num_params", "num_tokens", "steps", "loss")
    }
    columns["compute"] = np.array([row.flops for row in kept], dtype=float)
    columns["run"] = np.array([row.key for row in kept])
    columns["size"] = columns["num_params"].astype(float)
    return columns
