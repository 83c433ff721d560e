"""`limes edge`: the edge of stability across widths, from training to the page."""

from pathlib import Path
from typing import Annotated

import typer

from limes.cli import options
from limes.cli.inputs import parse_counts


def edge(
    widths: Annotated[str, typer.Option(help="Two or more, separated by commas.")] = "64,256,1024",
    parametrizations: Annotated[str, typer.Option(help="Names, separated by commas.")] = "mup,ntk",
    optimizers: Annotated[str, typer.Option(help="sgd, adam or both, separated by commas.")] = "sgd,adam",
    steps: Annotated[int, typer.Option(min=3, help="Updates on all samples.")] = 1000,
    samples: Annotated[int, typer.Option(min=1, help="Training samples.")] = 128,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("edge.html"),
    as_json: options.Json = False,
) -> None:
    """Do networks of all widths train at the edge of stability? Train a small task, measure, draw."""
    options.check_output(out, flag="--out")

    from limes.cli.console import ShareProgress, tell
    from limes.compare.edge import edge_study
    from limes.report.edge import answer_lines, write_edge_report

    with ShareProgress("edge of stability", silent=as_json) as bar:
        study = edge_study(
            widths=parse_counts(widths, flag="--widths"),
            parametrizations=tuple(part.strip() for part in parametrizations.split(",")),
            optimizers=tuple(part.strip() for part in optimizers.split(",")),
            num_steps=steps,
            num_samples=samples,
            every=max(1, steps // 50),
            progress=bar,
        )
    write_edge_report(study, out)
    tell(study.to_dict(), answer_lines(study), page=out, as_json=as_json)
