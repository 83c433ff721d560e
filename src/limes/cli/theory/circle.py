"""`limes theory circle`: exponents of ReLU networks on the circle, lazy and rich, beside the theory's."""

from pathlib import Path
from typing import Annotated

import typer

from limes.cli import options
from limes.core.errors import SpecError


def circle(
    hard: Annotated[float, typer.Option(help="Decay q of the hard target, sum k^-q cos(k theta): 0.5 to 1.5.")] = 1.0,
    easy: Annotated[float, typer.Option(help="Decay q of the easy one, above 1.5.")] = 1.75,
    lazy: Annotated[float, typer.Option(help="gamma0 of the lazy networks.")] = 0.02,
    rich: Annotated[float, typer.Option(help="gamma0 of those whose features move.")] = 0.5,
    width: Annotated[int, typer.Option(min=1, help="Hidden units.")] = 512,
    points: Annotated[int, typer.Option(min=16, help="On the circle.")] = 256,
    seeds: Annotated[int, typer.Option(min=2, help="Networks of each kind.")] = 4,
    window: Annotated[str, typer.Option(help="Times between which exponents are fitted.")] = "100,1000",
    out: Annotated[Path | None, typer.Option(help="Page to write.")] = None,
    as_json: options.Json = False,
) -> None:
    """Train ReLU networks on the circle, and lay their exponents of time beside those of the theory."""
    options.check_output(out, flag="--out")

    from limes.cli.console import ShareProgress, tell
    from limes.cli.inputs import parse_numbers
    from limes.compare.circle import circle_study
    from limes.report.circle import answer_lines, write_circle_report

    ends = parse_numbers(window, flag="--window")
    if len(ends) != 2 or [float(part) for part in window.split(",")] != list(ends):
        raise SpecError(f"--window {window!r}: expected two different times, the smaller first, such as 100,1000")
    with ShareProgress("circle", silent=as_json) as bar:
        study = circle_study(
            hard_decay=hard,
            easy_decay=easy,
            lazy_gamma0=lazy,
            rich_gamma0=rich,
            width=width,
            num_points=points,
            num_seeds=seeds,
            window=(ends[0], ends[1]),
            progress=bar,
        )
    if out is not None:
        write_circle_report(study, out)
    tell(study.to_dict(), answer_lines(study), page=out, as_json=as_json)
