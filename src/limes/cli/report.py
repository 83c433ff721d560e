"""`limes report`: judge what has been recorded, and write the page again."""

from pathlib import Path
from typing import Annotated

import typer

from limes.cli import options


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a study.")],
    target: options.Target = None,
    as_json: options.Json = False,
) -> None:
    """Write verdict.json and report.html from the runs recorded so far, without training."""
    sizes = options.parse_sizes(target, flag="--target") if target else None
    from limes.cli.answer import announce, answer

    result = answer(folder, sizes)
    announce(result, folder, as_json=as_json)
    raise typer.Exit(0 if result.status == "complete" else 1)
