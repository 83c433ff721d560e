"""`limes spectrum`: from a network's own spectrum to its loss curve and exponents, beside the trained network."""

from pathlib import Path
from typing import Annotated

import typer

from limes.cli import options
from limes.cli.inputs import load_samples, parse_counts


def spectrum(
    data: Annotated[
        str, typer.Option(help="digits (parity), gaussian, power_law, teacher, circle, or an .npz file.")
    ] = ("digits"),
    samples: Annotated[int, typer.Option(min=50, help="Training samples; all of them are in every update.")] = 400,
    widths: Annotated[str, typer.Option(help="Separated by commas.")] = "32,128,512",
    parametrizations: Annotated[str, typer.Option(help="Names, separated by commas.")] = "ntk,mup",
    depth: Annotated[int, typer.Option(min=1, help="Hidden layers.")] = 2,
    activation: Annotated[str, typer.Option(help="tanh, relu, erf, gelu or linear.")] = "tanh",
    steps: Annotated[int, typer.Option(min=10, help="Updates of full-batch gradient descent.")] = 1000,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("spectrum.html"),
    as_json: options.Json = False,
) -> None:
    """Measure a network's modes before training, predict its loss and its exponents, train it, and compare."""
    options.check_output(out, flag="--out")

    from limes.cli.console import ShareProgress, tell
    from limes.compare.spectrum import spectrum_study
    from limes.report.spectrum import answer_lines, write_spectrum_report

    inputs, targets, _ = load_samples(data, num_samples=samples)
    with ShareProgress("spectrum", silent=as_json) as bar:
        study = spectrum_study(
            inputs,
            targets,
            data=data,
            widths=parse_counts(widths, flag="--widths"),
            parametrizations=tuple(part.strip() for part in parametrizations.split(",")),
            depth=depth,
            activation=activation,
            num_steps=steps,
            progress=bar,
        )
    write_spectrum_report(study, out)
    tell(study.to_dict(), answer_lines(study), page=out, as_json=as_json)
