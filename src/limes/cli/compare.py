"""`limes compare`: networks of finite width beside their infinitely wide limit, from training to the page."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limes.cli import options
from limes.cli.inputs import parse_counts, parse_gamma0, sample_spec
from limes.cli.theory.dmft import Data
from limes.core.errors import SpecError

if TYPE_CHECKING:
    from limes.compare.limit_result import ComparisonResult
    from limes.spec.comparison import ComparisonSpec

RESULT, PAGE = "comparison.json", "comparison.html"
DEFAULT_SAMPLES = 12


def compare(
    data: Data = "digits",
    samples: Annotated[
        int | None, typer.Option(min=1, help="Training samples; all of them are in every update. [12; all of a file]")
    ] = None,
    depth: Annotated[int, typer.Option(min=1, help="Hidden layers.")] = 2,
    activation: Annotated[str, typer.Option(help="tanh, relu, erf, gelu or linear.")] = "tanh",
    widths: Annotated[str, typer.Option(help="Three or more, separated by commas.")] = "64,128,256,512",
    seeds: Annotated[int, typer.Option(help="Networks of each width at each gamma0.")] = 24,
    gamma0: Annotated[str, typer.Option(help="From lazy to rich, separated by commas.")] = "0.2,1,2",
    lr: Annotated[float, typer.Option(help="Learning rate in units of gamma0^2 x width.")] = 0.3,
    steps: Annotated[int, typer.Option(help="Updates of full-batch gradient descent.")] = 24,
    momentum: Annotated[float, typer.Option(help="Heavy ball coefficient.")] = 0.0,
    particles: Annotated[int, typer.Option(help="Particles per layer of the theory's solver; a power of two.")] = 4096,
    workers: options.Workers = None,
    out: options.Out = Path("out-compare"),
    as_json: options.Json = False,
) -> None:
    """Train networks of several widths, solve their infinitely wide limit, and lay the two over each other."""
    if samples is not None and data.endswith(".npz"):
        raise SpecError(f"--samples {samples} with --data {data}: all samples of a file are used; leave --samples out")
    fields: dict[str, object] = {
        "data": sample_spec(data, num_samples=samples or DEFAULT_SAMPLES),
        "depth": depth,
        "activation": activation,
        "widths": parse_counts(widths, flag="--widths"),
        "gamma0": parse_gamma0(gamma0),
        "seeds": seeds,
        "lr": lr,
        "steps": steps,
        "momentum": momentum,
        "num_particles": particles,
    }
    spec = _validated(fields)

    from limes.cli.console import ShareProgress, SweepProgress
    from limes.compare.limit import compare_with_limit
    from limes.store import Store
    from limes.sweep import available_cores
    from limes.sweep.comparison import run_comparison

    with SweepProgress(silent=as_json) as progress:
        outcome = run_comparison(spec, out, workers=workers or available_cores(), progress=progress)
    if outcome.status != "complete":
        typer.echo("limes: interrupted; the same command again goes on from there", err=True)
        raise typer.Exit(1)
    with Store.open(out) as store, ShareProgress("theory", silent=as_json) as bar:
        result = compare_with_limit(store, spec, progress=bar)
    _announce(result, out, as_json=as_json)


def _validated(fields: dict[str, object]) -> "ComparisonSpec":
    from pydantic import ValidationError

    from limes.spec.comparison import ComparisonSpec
    from limes.spec.io import complaint

    try:
        return ComparisonSpec.model_validate(fields)
    except ValidationError as error:
        raise SpecError(complaint(error.errors(include_url=False)[0]).replace("num_", "", 1)) from None


def _announce(result: "ComparisonResult", out: Path, *, as_json: bool) -> None:
    from limes.report.limit import answer_lines, write_limit_report
    from limes.store.files import write_atomically

    content = json.dumps(result.to_dict(), indent=1)
    write_atomically(out / RESULT, content.encode())
    write_limit_report(result, out / PAGE)
    if as_json:
        print(content)
        return
    for line in answer_lines(result):
        typer.echo(line)
    typer.echo(f"page: {out / PAGE}, numbers: {out / RESULT}")
