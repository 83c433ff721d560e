"""Simulations here against simulations written elsewhere, at the same finite sizes: the same mean, and no mutant's.

What a simulation shares with its theory by mistake, such as a factor in the model, it does not share with these.
"""

import numpy as np
import pytest

from limes.core.rng import stream
from limes.theory.scaling import power_law_problem, simulate_random_features, simulate_ridge
from limes.theory.solvable import (
    GaussianMixtureProblem,
    LinearAttentionProblem,
    simulate_gaussian_mixture,
    simulate_linear_attention,
)
from support.stats import assert_mean, load_golden

pytestmark = pytest.mark.sim

GOLDEN = load_golden("simulations")
NUM_DRAWS = 100


def power_law(settings):
    """Every mode on its own."""
    return power_law_problem(**settings, num_exact=settings["num_modes"])


def random_features(row, settings):
    draws = NUM_DRAWS if settings["num_modes"] < 1000 else 24
    run = simulate_random_features(
        power_law(settings), row["times"], num_draws=draws, generator=stream(0, "data", str(settings))
    )
    return {name: getattr(run, name) for name in ("test_loss", "train_loss") if name in row}


def ridge(row, settings):
    run = simulate_ridge(power_law(settings), num_draws=NUM_DRAWS, generator=stream(0, "data", str(settings)))
    return {"test_loss": run.test_loss[:, None]}


def linear_attention(row, settings):
    problem = LinearAttentionProblem(**settings)
    run = simulate_linear_attention(
        problem, dim=row["dim"], num_draws=row["draws"], generator=stream(0, "data", str(settings))
    )
    return {name: getattr(run, name)[:, None] for name in ("icl_error", "idg_error")}


def gaussian_mixture(row, settings):
    problem = GaussianMixtureProblem(**settings)
    run = simulate_gaussian_mixture(
        problem, dim=row["dim"], num_draws=row["draws"], generator=stream(0, "data", str(settings))
    )
    return {name: getattr(run, name)[:, None] for name in ("test_error", "train_loss")}


SIMULATIONS = {
    "random_features": random_features,
    "ridge": ridge,
    "linear_attention": linear_attention,
    "gaussian_mixture": gaussian_mixture,
}
ROWS = [(name, row) for name in SIMULATIONS for row in GOLDEN[name]]


@pytest.mark.parametrize(("name", "row"), ROWS, ids=[f"{name}-{i}" for i, (name, _) in enumerate(ROWS)])
def test_the_same_mean(name, row):
    def check(settings):
        for metric, samples in SIMULATIONS[name](row, settings).items():
            golden = row[metric]
            for column, (value, tolerance) in enumerate(zip(golden["value"], golden["tolerance"], strict=True)):
                assert_mean(np.asarray(samples)[:, column], value, bias=tolerance)

    check(row["settings"])
    with pytest.raises(AssertionError, match="mean"):
        check(row["settings"] | row["mutant"])
