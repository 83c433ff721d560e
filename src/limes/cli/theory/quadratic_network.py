"""`limes theory quadratic-network`: plateau, escape and end of one-pass SGD, simulated beside it."""

from typing import Annotated

import typer

from limes.cli import options
from limes.cli.theory.curves import Draws, Out, Seed, Simulate, Sizes, answer_theory, simulated_sizes


def quadratic_network(
    units: Annotated[int, typer.Option(min=1, max=64, help="Units of the student.")] = 4,
    teacher: Annotated[int, typer.Option(min=1, max=64, help="Units of the teacher, orthonormal.")] = 2,
    lr: Annotated[float, typer.Option(help="Learning rate.")] = 0.2,
    noise: Annotated[float, typer.Option(help="Variance of the label noise.")] = 0.0,
    start: Annotated[
        float, typer.Option(help="Size of an initial overlap; weights drawn in N inputs have 1/sqrt(N).")
    ] = 0.05,
    longest: Annotated[
        float | None, typer.Option(help="Last time, samples over inputs. [two and a half times the escape]")
    ] = None,
    simulate: Simulate = False,
    draws: Draws = 16,
    sizes: Sizes = None,
    seed: Seed = 0,
    out: Out = None,
    as_json: options.Json = False,
) -> None:
    """One-pass SGD of quadratic networks: loss and overlaps in time, the plateau and the escape from it, what is
    conserved, the Hessian, where it ends."""
    from limes.compare.curves import QuadraticSetting, quadratic_network_study
    from limes.compare.curves.quadratic_network import SIZES

    setting = QuadraticSetting(
        num_units=units, num_teacher=teacher, lr=lr, noise_var=noise, start=start, longest=longest, seed=seed
    )
    answer_theory(
        lambda work: quadratic_network_study(setting, work),
        simulate=simulate,
        draws=draws,
        sizes=simulated_sizes(sizes, SIZES, simulate=simulate),
        seed=seed,
        out=out,
        as_json=as_json,
    )
