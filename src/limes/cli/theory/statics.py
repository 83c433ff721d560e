"""`limes theory statics`: what a Bayesian network believes: NNGP, adaptive kernel, and sampled networks."""

from pathlib import Path
from typing import Annotated, Any

import typer

from limes.cli import options
from limes.cli.inputs import load_samples, parse_counts
from limes.core.errors import DataError, SpecError


def statics(
    data: Annotated[
        str,
        typer.Option(help="digits (+1 even, -1 odd), gaussian, power_law, teacher, circle, or the path of an .npz."),
    ] = "digits",
    samples: Annotated[int, typer.Option(min=1, help="Training samples.")] = 24,
    test: Annotated[int, typer.Option(min=0, help="Held-out samples whose outputs are predicted too.")] = 16,
    activation: Annotated[
        str, typer.Option(help="tanh, relu, erf, erf_sqrt2, gelu, sin, linear or leaky_relu.")
    ] = "erf",
    gamma0: Annotated[float, typer.Option(help="Feature-learning strength.")] = 1.0,
    inverse_temperature: Annotated[
        float, typer.Option(help="Multiplies the sum over samples of half the squared errors, and gamma0^2 width.")
    ] = 5.0,
    simulate: Annotated[bool, typer.Option("--simulate", help="Sample finite networks too.")] = False,
    widths: Annotated[
        str, typer.Option(help="Of the sampled networks; the evidence is that of the largest.")
    ] = "16,32,64",
    chains: Annotated[int, typer.Option(min=2, max=10_000, help="Independent chains of each width.")] = 16,
    draws: Annotated[
        int, typer.Option(min=20, max=1_000_000, help="Draws of each chain, after as many to warm up.")
    ] = 200,
    evidence: Annotated[
        bool,
        typer.Option(
            "--evidence", help="Look for the temperature and gamma0 of largest evidence around the given ones."
        ),
    ] = False,
    curve: Annotated[
        str | None, typer.Option(help="Learning curve at these numbers of samples, separated by commas.")
    ] = None,
    curve_draws: Annotated[int, typer.Option(min=2, max=1000, help="Training sets of the learning curve.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything that is drawn.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for statics.html, .json and .csv.")] = None,
    as_json: options.Json = False,
) -> None:
    """Posterior of a network with one hidden layer: kernels, predictions, evidence, with feature learning or none."""
    sizes = parse_counts(widths, flag="--widths")
    counts = parse_counts(curve, flag="--curve") if curve is not None else ()
    if out is not None:
        options.check_output_folder(out, flag="--out")
    inputs, targets, held_out = load_samples(data, num_samples=samples, num_test=test)
    if targets.ndim > 1:
        raise SpecError(f"--data {data}: {targets.shape[1]} outputs for each sample; this theory has one")
    pool = _pool(data, max(counts)) if counts else None

    from limes.cli.console import ShareProgress, tell
    from limes.compare.statics import statics_study
    from limes.report.statics import answer_lines, write_statics_report

    with ShareProgress("statics", silent=as_json) as bar:
        study = statics_study(
            inputs,
            targets,
            held_out,
            data=data,
            activation=activation,
            gamma0=gamma0,
            inverse_temperature=inverse_temperature,
            widths=sizes,
            num_chains=chains if simulate else 0,
            num_draws=draws,
            choose=evidence,
            sample_counts=counts,
            curve_data=pool,
            num_curve_draws=curve_draws,
            seed=seed,
            progress=bar,
        )
    page = write_statics_report(study, out) if out is not None else None
    tell(study.to_dict(), answer_lines(study), page=page, as_json=as_json)


def _pool(data: str, largest: int) -> tuple[Any, Any]:
    """Samples to draw training sets from, twice the largest, and 200 to test on."""
    try:
        inputs, targets, _ = load_samples(data, num_samples=2 * largest + 200)
    except DataError as error:
        raise DataError(
            f"--curve {largest}: needs {2 * largest + 200} samples to draw from and to test on; {error}"
        ) from None
    return inputs, targets
