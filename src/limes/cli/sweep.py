"""`limes sweep`: run a study's grid without judging it."""

from pathlib import Path
from typing import Annotated

import typer

from limes.cli import options


def sweep(
    study_file: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="A study in TOML.")],
    settings: options.Settings = None,
    workers: options.Workers = None,
    out: options.Out = Path("out"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the grid, FLOPs and estimated time only.")] = False,
) -> None:
    """Train every run of a study that is still missing."""
    study = options.read_study("default", study_file, settings, None)

    from limes.sweep import available_cores, run_sweep

    count = workers or available_cores()
    base_dir = study_file.resolve().parent
    if dry_run:
        from limes.cli.estimate import print_estimate

        print_estimate(study, base_dir=base_dir, workers=count)
        return

    from limes.cli.console import SweepProgress

    with SweepProgress() as progress:
        outcome = run_sweep(study, out, workers=count, progress=progress, base_dir=base_dir)
    done = f"{outcome.progress.finished} of {outcome.progress.total} runs finished, {outcome.num_failed} of them failed"
    word = "complete" if outcome.status == "complete" else "interrupted (the same command again goes on)"
    typer.echo(f"{word}: {done}; the store is {outcome.folder}")
    raise typer.Exit(1 if outcome.num_failed or outcome.status != "complete" else 0)
