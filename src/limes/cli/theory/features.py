"""`limes theory features`: loss of random-feature learners in time, width and samples, simulated beside it."""

from pathlib import Path
from typing import Annotated

import typer

from limes.cli import options
from limes.cli.inputs import parse_counts


def features(
    a: Annotated[float, typer.Option(help="Decay of the target's power by mode, above 1.")] = 1.75,
    b: Annotated[float, typer.Option(help="Decay of the eigenvalues, above 1.")] = 1.5,
    widths: Annotated[str, typer.Option(help="Features, separated by commas.")] = "25,50,100",
    samples: Annotated[int | None, typer.Option(min=1, help="Training samples. [unlimited]")] = None,
    modes: Annotated[int, typer.Option(min=2, help="Modes of the task; up to 1e9 without --simulate.")] = 100_000,
    noise: Annotated[float, typer.Option(min=0.0, help="Variance of the label noise.")] = 0.0,
    longest: Annotated[float, typer.Option(help="Last time, in units of the inverse largest eigenvalue.")] = 1e4,
    simulate: Annotated[int, typer.Option(min=0, help="Draws of finite learners to lay over the theory.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Page to write.")] = None,
    as_json: options.Json = False,
) -> None:
    """Solve gradient flow of random-feature learners on a power-law task, and simulate finite ones if asked."""
    options.check_output(out, flag="--out")

    from limes.cli.console import ShareProgress, tell
    from limes.compare.features import feature_study
    from limes.report.features import answer_lines, write_feature_report

    with ShareProgress("random features", silent=as_json) as bar:
        study = feature_study(
            a=a,
            b=b,
            widths=parse_counts(widths, flag="--widths"),
            num_samples=samples,
            num_modes=modes,
            noise_var=noise,
            longest=longest,
            num_draws=simulate,
            progress=bar,
        )
    if out is not None:
        write_feature_report(study, out)
    tell(study.to_dict(), answer_lines(study), page=out, as_json=as_json)
