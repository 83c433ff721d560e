"""`limes consistency`: one problem at several sizes, from training to the page."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limes.cli import options
from limes.core.errors import SpecError

if TYPE_CHECKING:
    from limes.spec.consistency import ConsistencySpec

RESULT, PAGE = "consistency.json", "consistency.html"
DEFAULT_STUDY = "gpt-width"


def consistency(
    study: Annotated[
        str, typer.Argument(metavar="[STUDY]", help="A built-in study (--list), or the path of one in TOML.")
    ] = DEFAULT_STUDY,
    budget: Annotated[str, typer.Option(help="default, or quick: what the study calls a smaller one.")] = "default",
    settings: options.Settings = None,
    seeds: options.Seeds = None,
    workers: options.Workers = None,
    out: options.Out = Path("out-consistency"),
    list_studies: Annotated[bool, typer.Option("--list", help="Name the built-in studies and end.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would cost and end.")] = False,
    as_json: options.Json = False,
) -> None:
    """Do networks of all sizes follow one path? Train at several sizes, measure at matched steps, judge, draw."""
    if list_studies:
        for name, line in builtin_studies().items():
            typer.echo(f"{name:<12} {line}")
        return
    spec, base_dir = read_consistency(study, budget=budget, settings=settings, seeds=seeds)

    from limes.cli.console import ShareProgress, SweepProgress
    from limes.compare.consistency import analyse_consistency
    from limes.store import Store
    from limes.sweep import available_cores
    from limes.sweep.consistency import run_consistency

    count = workers or available_cores()
    if not as_json:
        typer.echo(_cost_line(spec, base_dir, count), err=True)
    if dry_run:
        return
    with SweepProgress(silent=as_json) as progress:
        outcome = run_consistency(spec, out, workers=count, progress=progress, base_dir=base_dir)
    if outcome.status != "complete":
        typer.echo("limes: interrupted; the same command again goes on from there", err=True)
        raise typer.Exit(1)
    with Store.open(out) as store, ShareProgress("exponents", silent=as_json) as bar:
        result = analyse_consistency(store, spec, base_dir=base_dir, progress=bar)

    from limes.cli.console import tell
    from limes.report.consistency import write_consistency_report
    from limes.store.files import write_atomically

    write_atomically(out / RESULT, json.dumps(result.to_dict(), indent=1).encode())
    write_consistency_report(result, out / PAGE)
    tell(result.to_dict(), result.answer, page=out / PAGE, as_json=as_json)
    raise typer.Exit(1 if outcome.num_failed else 0)


def read_consistency(
    study: str, *, budget: str, settings: list[str] | None, seeds: int | None
) -> tuple["ConsistencySpec", Path | None]:
    """The study that the flags name, validated, and the folder where its relative paths start."""
    from limes.spec.consistency import ConsistencySpec
    from limes.spec.io import load_spec

    if budget not in ("default", "quick"):
        raise SpecError(f"--budget {budget!r}: expected default or quick")
    builtin = _folder() / f"{study}.toml"
    is_builtin = "/" not in study and builtin.is_file()
    path = builtin if is_builtin else Path(study)
    if not is_builtin and path.suffix != ".toml":
        raise SpecError(f"{study!r} is no built-in study ({', '.join(builtin_studies())}) and no path of a .toml file")
    spec = load_spec(ConsistencySpec, path)
    if budget == "quick" and not spec.quick:
        raise SpecError(f"--budget quick: {study} says under `quick` of no smaller study; add it, or use --set")
    changes = [*(spec.quick if budget == "quick" else ()), *(settings or ())]
    if changes:
        spec = load_spec(ConsistencySpec, path, settings=changes)
    if seeds is not None:
        content = spec.to_dict() | {"seeds": [seeds] * len(spec.sizes)}
        spec = _validated(content)
    return spec, None if is_builtin else path.resolve().parent


def builtin_studies() -> dict[str, str]:
    """Names and first lines of the built-in studies."""
    return {
        path.stem: path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        for path in sorted(_folder().glob("*.toml"))
    }


def _folder() -> Path:
    return options.builtin_folder().parent / "consistency_studies"


def _validated(content: dict[str, object]) -> "ConsistencySpec":
    from limes.spec.consistency import ConsistencySpec
    from limes.spec.io import parse_spec

    return parse_spec(ConsistencySpec, content, name="--seeds")


def _cost_line(spec: "ConsistencySpec", base_dir: Path | None, workers: int) -> str:
    from limes.cli.console import clock
    from limes.sweep.consistency import consistency_cost

    cost = consistency_cost(spec, base_dir=base_dir)
    return (
        f"{spec.name}: {cost.runs} networks, about {clock(cost.cpu_seconds)} of CPU, "
        f"{clock(cost.cpu_seconds / workers)} with {workers} workers; {cost.memory_bytes / 2**20:.0f} MiB of memory "
        f"for a worker at most, besides torch's, and {cost.disk_bytes / 2**20:.0f} MiB on disk"
    )
