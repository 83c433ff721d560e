"""`limes theory feature-learning`: how moving features change the law of the loss, simulated beside it."""

from typing import Annotated

import typer

from limes.cli import options
from limes.cli.inputs import parse_numbers
from limes.cli.theory.curves import Draws, Out, Seed, Simulate, Sizes, answer_theory, simulated_sizes


def feature_learning(
    a: Annotated[float, typer.Option(help="Decay of the target's power by mode, above 1.")] = 1.5,
    b: Annotated[float, typer.Option(help="Decay of the eigenvalues, above 1.")] = 2.0,
    gamma: Annotated[
        str, typer.Option(help="Strengths of feature learning, separated by commas; 0 is lazy.")
    ] = "0,1,4",
    modes: Annotated[int | None, typer.Option(min=2, help="Modes of the task. [1000000; 30 with --simulate]")] = None,
    longest: Annotated[float | None, typer.Option(help="Last time. [10000; 20 with --simulate]")] = None,
    simulate: Simulate = False,
    draws: Draws = 16,
    sizes: Sizes = None,
    seed: Seed = 0,
    out: Out = None,
    as_json: options.Json = False,
) -> None:
    """Linear networks whose features move: loss and its exponent in time, lazy against rich, and when they change."""
    gammas = parse_numbers(gamma, flag="--gamma", zero=True)

    from limes.compare.curves import FeatureLearningSetting, feature_learning_study
    from limes.compare.curves.feature_learning import SIZES

    setting = FeatureLearningSetting(
        a=a,
        b=b,
        gammas=gammas,
        num_modes=modes if modes is not None else 30 if simulate else 1_000_000,
        longest=longest if longest is not None else 20.0 if simulate else 1e4,
    )
    answer_theory(
        lambda work: feature_learning_study(setting, work),
        simulate=simulate,
        draws=draws,
        sizes=simulated_sizes(sizes, SIZES, simulate=simulate),
        seed=seed,
        out=out,
        as_json=as_json,
    )
