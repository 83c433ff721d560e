"""`limes theory gaussian-mixture`: linear classifiers of Gaussian classes, simulated beside them."""

from typing import Annotated

import typer

from limes.cli import options
from limes.cli.theory.curves import Draws, Out, Seed, Simulate, Sizes, answer_theory, simulated_sizes
from limes.core.errors import SpecError


def gaussian_mixture(
    weights: Annotated[
        str, typer.Option(help="Share of each class, separated by commas; 2 to 4 with sum 1.")
    ] = "0.5,0.5",
    separation: Annotated[float, typer.Option(help="Squared length of the class means, which are orthogonal.")] = 1.0,
    variance: Annotated[float, typer.Option(help="Variance within a class.")] = 0.5,
    samples: Annotated[float, typer.Option(help="Training samples over dimensions.")] = 2.0,
    ridge: Annotated[float, typer.Option(help="Penalty beside the sum of losses.")] = 0.1,
    simulate: Simulate = False,
    draws: Draws = 32,
    sizes: Sizes = None,
    seed: Seed = 0,
    out: Out = None,
    as_json: options.Json = False,
) -> None:
    """Linear classifiers of Gaussian mixtures: test error and training loss against ridge and samples, for logistic
    loss and least squares."""
    try:
        shares = [float(part) for part in weights.split(",")]
    except ValueError:
        raise SpecError(f"--weights {weights!r}: expected numbers separated by commas, such as 0.5,0.3,0.2") from None

    import numpy as np

    from limes.compare.curves import gaussian_mixture_study
    from limes.compare.curves.gaussian_mixture import SIZES
    from limes.theory.checks import check_number
    from limes.theory.solvable import GaussianMixtureProblem

    problem = GaussianMixtureProblem(
        class_weights=np.array(shares),
        means_gram=check_number("separation", separation, low=0.0) * np.eye(len(shares)),
        sample_ratio=samples,
        within_var=variance,
        ridge=ridge,
    )
    answer_theory(
        lambda work: gaussian_mixture_study(problem, work),
        simulate=simulate,
        draws=draws,
        sizes=simulated_sizes(sizes, SIZES, simulate=simulate),
        seed=seed,
        out=out,
        as_json=as_json,
    )
