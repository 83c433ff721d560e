"""`limes theory ridge`: learning curves and double descent of ridge regression, simulated beside them."""

from typing import Annotated

import typer

from limes.cli import options
from limes.cli.inputs import parse_counts
from limes.cli.theory.curves import Draws, Out, Seed, Simulate, answer_theory


def ridge(
    a: Annotated[float, typer.Option(help="Decay of the target's power by mode, above 1.")] = 1.75,
    b: Annotated[float, typer.Option(help="Decay of the eigenvalues, above 1.")] = 1.5,
    modes: Annotated[int, typer.Option(min=2, help="Modes of the task; up to 1e9 without --simulate.")] = 500,
    noise: Annotated[float, typer.Option(help="Variance of the label noise.")] = 0.1,
    penalty: Annotated[float, typer.Option("--ridge", help="Ridge; 0 is the fit of minimum norm.")] = 0.01,
    samples: Annotated[int, typer.Option(min=1, help="Training samples where widths are compared.")] = 100,
    widths: Annotated[str, typer.Option(help="Random features beside the kernel, separated by commas.")] = "50,200",
    simulate: Simulate = False,
    draws: Draws = 32,
    seed: Seed = 0,
    out: Out = None,
    as_json: options.Json = False,
) -> None:
    """Ridge regression with a kernel and with random features: learning curves, best ridge, double descent."""
    from limes.compare.curves import RidgeSetting, ridge_study

    setting = RidgeSetting(
        a=a,
        b=b,
        num_modes=modes,
        noise_var=noise,
        ridge=penalty,
        num_samples=samples,
        widths=parse_counts(widths, flag="--widths"),
    )
    answer_theory(
        lambda work: ridge_study(setting, work),
        simulate=simulate,
        draws=draws,
        sizes=(),
        seed=seed,
        out=out,
        as_json=as_json,
    )
