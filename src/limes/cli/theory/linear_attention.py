"""`limes theory linear-attention`: in-context learning of linear regression, simulated beside it."""

from typing import Annotated

import typer

from limes.cli import options
from limes.cli.theory.curves import Draws, Out, Seed, Simulate, Sizes, answer_theory, simulated_sizes


def linear_attention(
    context: Annotated[float, typer.Option(help="Examples in a context, over input dimensions.")] = 2.0,
    tasks: Annotated[float, typer.Option(help="Distinct tasks of pretraining, over input dimensions.")] = 1.5,
    sequences: Annotated[float, typer.Option(help="Pretraining sequences, over squared input dimensions.")] = 2.0,
    noise: Annotated[float, typer.Option(help="Variance of the label noise; a clean label has 1.")] = 0.1,
    ridge: Annotated[float, typer.Option(help="Penalty, in units of sequences over input dimensions.")] = 0.05,
    simulate: Simulate = False,
    draws: Draws = 16,
    sizes: Sizes = None,
    seed: Seed = 0,
    out: Out = None,
    as_json: options.Json = False,
) -> None:
    """In-context learning by linear attention: errors on new and on known tasks, and the transition between recall
    and learning as tasks are added."""
    from limes.compare.curves import linear_attention_study
    from limes.compare.curves.linear_attention import SIZES
    from limes.theory.solvable import LinearAttentionProblem

    problem = LinearAttentionProblem(
        context_ratio=context, task_ratio=tasks, sequence_ratio=sequences, noise_var=noise, ridge=ridge
    )
    answer_theory(
        lambda work: linear_attention_study(problem, work),
        simulate=simulate,
        draws=draws,
        sizes=simulated_sizes(sizes, SIZES, simulate=simulate),
        seed=seed,
        out=out,
        as_json=as_json,
        terms=2,
    )
