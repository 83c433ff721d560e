"""`limes spectrum`: from a network's own spectrum to its loss curve and exponents, beside the trained network."""

from pathlib import Path
from typing import Annotated, Any

import typer

from limes.cli import options
from limes.cli.inputs import load_samples, parse_counts
from limes.core.errors import SpecError

TEXT = "corpus"
# Flags that each kind of network has no use for.
UNUSED = {
    "module": ("data", "samples", "widths", "parametrizations", "depth", "activation"),
    "text": ("activation",),
    "perceptrons": ("modes",),
}


def spectrum(
    context: typer.Context,
    data: Annotated[
        str,
        typer.Option(
            help="digits (parity), corpus (byte GPTs on text), gaussian, power_law, teacher, circle, or .npz."
        ),
    ] = "digits",
    module: Annotated[
        str | None, typer.Option(help="A network of your own, file.py:function, instead of --data and --widths.")
    ] = None,
    arguments: Annotated[list[str] | None, typer.Option("--arg", help="Argument of the function, name=value.")] = None,
    batch: Annotated[Path | None, typer.Option(help="Its inputs and targets: .pt, .safetensors or .npz.")] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="All in every update. [400; for corpus 8 windows of 64 bytes]")
    ] = None,
    widths: Annotated[str | None, typer.Option(help="Separated by commas. [32,128,512; for corpus 16,32,64]")] = None,
    parametrizations: Annotated[str, typer.Option(help="Names, separated by commas.")] = "ntk,mup",
    depth: Annotated[int, typer.Option(min=1, help="Hidden layers, or blocks.")] = 2,
    activation: Annotated[str, typer.Option(help="tanh, relu, erf, gelu or linear.")] = "tanh",
    steps: Annotated[
        int | None, typer.Option(min=10, help="Updates of full-batch gradient descent. [1000; for corpus 200]")
    ] = None,
    modes: Annotated[int, typer.Option(min=1, help="Eigenvalues wanted, of corpus and --module.")] = 96,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("spectrum.html"),
    as_json: options.Json = False,
) -> None:
    """Measure a network's modes before training, predict its loss and its exponents, train it, and compare."""
    options.check_output(out, flag="--out")
    if module is None and (batch is not None or arguments):
        raise SpecError("--batch and --arg belong to --module, which names the function that builds your network")
    kind = "module" if module is not None else "text" if data == TEXT else "perceptrons"
    given = [name for name in UNUSED[kind] if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"]
    if given:
        what = "a network of your own" if module is not None else f"--data {data}"
        raise SpecError(f"--{given[0]} says nothing about {what}; leave it out")
    names = tuple(part.strip() for part in parametrizations.split(","))
    if module is None and data != TEXT:
        _samples_page(
            data,
            samples=400 if samples is None else samples,
            out=out,
            as_json=as_json,
            settings={
                "widths": parse_counts(widths or "32,128,512", flag="--widths"),
                "parametrizations": names,
                "depth": depth,
                "activation": activation,
                "num_steps": steps or 1000,
            },
        )
        return

    from limes.cli.console import ShareProgress, tell
    from limes.cli.spectrum_outputs import module_study, text_study
    from limes.report.joint_spectrum import answer_lines, write_joint_report

    with ShareProgress("spectrum", silent=as_json) as bar:
        if module is not None:
            study = module_study(
                module, arguments=arguments or [], batch=batch, steps=steps or 200, modes=modes, progress=bar
            )
        else:
            study = text_study(
                windows=samples or 8,
                widths=parse_counts(widths or "16,32,64", flag="--widths"),
                parametrizations=names,
                depth=depth,
                steps=steps or 200,
                modes=modes,
                progress=bar,
            )
    write_joint_report(study, out)
    tell(study.to_dict(), answer_lines(study), page=out, as_json=as_json)


def _samples_page(data: str, *, samples: int, out: Path, as_json: bool, settings: dict[str, Any]) -> None:
    """Perceptrons on vectors."""
    from limes.cli.console import ShareProgress, tell
    from limes.compare.spectrum import spectrum_study
    from limes.report.spectrum import answer_lines, write_spectrum_report

    if samples < 50:
        raise SpecError(f"--samples {samples}: expected at least 50, for exponents of their spectrum")
    inputs, targets, _ = load_samples(data, num_samples=samples)
    with ShareProgress("spectrum", silent=as_json) as bar:
        study = spectrum_study(inputs, targets, data=data, progress=bar, **settings)
    write_spectrum_report(study, out)
    tell(study.to_dict(), answer_lines(study), page=out, as_json=as_json)
