"""`limes status`: how far a study is, from any terminal, while it runs or after."""

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from limes.cli import options


def status(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a study.")],
    watch: Annotated[
        bool, typer.Option("--watch", help="Repeat every two seconds until all runs are finished.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Show how far a study is."""
    from limes.cli.console import clock
    from limes.core.status import RunStatus
    from limes.store import Progress, Store

    def show(progress: Progress) -> None:
        if as_json:
            counts = {word.value: number for word, number in progress.counts.items()}
            print(json.dumps({"counts": counts, "cost_done": progress.cost_done, "cost_left": progress.cost_left}))
            return
        for word, number in progress.counts.items():
            if number:
                typer.echo(f"{number:5d} {word.value:12s} {word.sentence}")
        for run in progress.running:
            typer.echo(f"      {run.key}  step {run.step}/{run.steps}  {clock(run.seconds)}  {run.worker}")
        left = progress.seconds_left(max(len(progress.running), 1))
        if progress.finished < progress.total:
            typer.echo(f"about {clock(left)} left with {max(len(progress.running), 1)} worker(s)")

    while True:
        with Store.open(folder, read_only=True) as store:
            progress = store.progress()
        show(progress)
        if not watch or progress.finished == progress.total:
            break
        sys.stdout.flush()
        time.sleep(2)
    raise typer.Exit(1 if progress.counts.get(RunStatus.QUARANTINED) else 0)
