"""`limes export`: the result table for other tools."""

from pathlib import Path
from typing import Annotated

import typer


def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a study.")],
    path: Annotated[Path, typer.Argument(metavar="FILE", help="What to write: .csv, .json or .parquet.")],
) -> None:
    """Write the result table: one row for each point of each curve."""
    from limes.store import Store

    with Store.open(folder, read_only=True) as store:
        store.export(path)
    typer.echo(f"{path} written")
