"""`limes theory balanced-linear`: when a deep linear network learns what, simulated beside it."""

from typing import Annotated

import typer

from limes.cli import options
from limes.cli.inputs import parse_numbers
from limes.cli.theory.curves import Draws, Out, Seed, Simulate, Sizes, answer_theory, simulated_sizes


def balanced_linear(
    strengths: Annotated[str, typer.Option(help="Singular values of the target, separated by commas.")] = "2,1,0.5",
    start: Annotated[float, typer.Option(help="Product of the layers in each mode at the start.")] = 0.05,
    depth: Annotated[int, typer.Option(min=1, max=100, help="Layers of weights.")] = 3,
    longest: Annotated[float | None, typer.Option(help="Last time. [twice the slowest mode's]")] = None,
    simulate: Simulate = False,
    draws: Draws = 32,
    sizes: Sizes = None,
    seed: Seed = 0,
    out: Out = None,
    as_json: options.Json = False,
) -> None:
    """Deep linear networks from a balanced start: each singular mode of the target in time, at any depth."""
    values = parse_numbers(strengths, flag="--strengths")[::-1]

    from limes.compare.curves import balanced_linear_study
    from limes.compare.curves.balanced_linear import SIZES
    from limes.theory.checks import check_number

    check_number("start", start, low=0.0, open_low=True)
    answer_theory(
        lambda work: balanced_linear_study(values, start=start, depth=depth, longest=longest, work=work),
        simulate=simulate,
        draws=draws,
        sizes=simulated_sizes(sizes, SIZES, simulate=simulate),
        seed=seed,
        out=out,
        as_json=as_json,
        power=2,
    )
