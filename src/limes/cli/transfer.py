"""`limes transfer`: the main job, from training to the page."""

from pathlib import Path

import typer

from limes.cli import options
from limes.core.errors import SpecError


def transfer(
    budget: options.Budget = "default",
    study_file: options.StudyFile = None,
    settings: options.Settings = None,
    target: options.Target = None,
    seeds: options.Seeds = None,
    workers: options.Workers = None,
    out: options.Out = Path("out"),
    as_json: options.Json = False,
) -> None:
    """Does the tuned learning rate survive when the network grows? Train, judge, recommend, forecast, report."""
    if study_file is not None and budget != "default":
        raise SpecError(f"--budget {budget} and --study {study_file} exclude each other; give one of them")
    study = options.read_study(budget, study_file, settings, seeds)
    sizes = options.parse_sizes(target, flag="--target") if target else None

    from limes.cli.answer import announce, answer, check_target
    from limes.cli.console import SweepProgress
    from limes.sweep import available_cores, run_sweep

    base_dir = study_file.resolve().parent if study_file else None
    check_target(study, sizes, base_dir)
    count = workers or available_cores()
    with SweepProgress(silent=as_json) as progress:
        outcome = run_sweep(study, out, workers=count, progress=progress, base_dir=base_dir)
    if outcome.status != "complete":
        typer.echo("Interrupted: this is the answer of the runs so far; the same command again goes on.", err=True)
    result = answer(out, sizes)
    announce(result, out, as_json=as_json)
    raise typer.Exit(0 if result.status == "complete" else 1)
