"""`limes theory phases`: the plane of scaling laws, and a task's own place on it."""

from pathlib import Path
from typing import Annotated

import typer

from limes.cli import options


def phases(
    a: Annotated[float | None, typer.Option(help="Decay of the target's power by mode, above 1.")] = None,
    b: Annotated[float | None, typer.Option(help="Decay of the eigenvalues; `limes spectrum` measures both.")] = None,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("phases.html"),
) -> None:
    """Draw which resource limits a task where: phases, exponents, best allocation, for your a and b if given."""
    options.check_output(out, flag="--out")

    from limes.report.phases import phase_page, write_phase_map

    for line in phase_page(a=a, b=b).answer:
        typer.echo(line)
    write_phase_map(out, a=a, b=b)
    typer.echo(f"page: {out}")
