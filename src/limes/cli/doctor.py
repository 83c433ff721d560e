"""`limes doctor`: is the store whole, and can it be made whole?"""

from pathlib import Path
from typing import Annotated

import typer


def doctor(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a study.")],
    repair: Annotated[
        bool, typer.Option("--repair", help="Put right what can be; damaged runs are done again.")
    ] = False,
) -> None:
    """Check every file of a store against its checksum, and rebuild the database from the files beside it."""
    from limes.store import doctor as examine

    findings = examine(folder, repair=repair)
    for finding in findings:
        typer.echo(f"{finding.severity}{' (repaired)' if finding.repaired else ''}: {finding.sentence}")
    damaged = [finding for finding in findings if finding.severity == "damage" and not finding.repaired]
    if not findings:
        typer.echo("The store is whole.")
    raise typer.Exit(3 if damaged else 0)
