"""Failures made on purpose on the built-in text: seen before the loss shows them, and cured."""

import math
from dataclasses import replace

import pytest

from limes.compare.failure_cases import FAILURES
from limes.compare.failure_run import run_recipe
from limes.compare.failures import FailureResult, first_danger, make_failure

pytestmark = pytest.mark.sim

# Remedies that act later than the sign: on weights and logits once they have moved, on the gradient that has surprised.
STILL_IN_DANGER = {
    # The epsilon of the base is coarse as it is; the remedy keeps it from becoming coarser.
    ("epsilon", "epsilon by the parametrization"),
    ("output_logits", "weight decay"),
    ("output_logits", "z-loss"),
    ("louder_gradient", "gradient clipping"),
    ("louder_gradient", "shorter second moment"),
}


@pytest.fixture(scope="module", params=FAILURES)
def result(request: pytest.FixtureRequest) -> FailureResult:
    return make_failure(request.param, seed=0)


def test_the_sign_comes_before_the_loss_shows_it(result: FailureResult) -> None:
    assert result.warned < math.inf
    if result.failure.harm == "int8":
        assert result.shown == math.inf, "outliers cost the loss nothing until something is rounded"
    else:
        assert result.warned < result.shown < math.inf, (result.warned, result.shown)


def test_every_remedy_cures(result: FailureResult) -> None:
    for remedy, run in result.cured.items():
        if result.failure.harm == "loss":
            assert run.validation_loss < result.broken.validation_loss - 0.02, remedy
        else:
            assert result.cost(run) < 0.1 * result.cost(result.broken), remedy


def test_cured_runs_are_out_of_danger(result: FailureResult) -> None:
    """What would make a sign useless: an alarm in a healthy run."""
    for remedy, run in result.cured.items():
        if (result.name, remedy) not in STILL_IN_DANGER:
            assert first_danger(run, result.failure.sign) == math.inf, remedy


def test_epsilon_by_the_parametrization_lifts_the_sign(result: FailureResult) -> None:
    if result.name == "epsilon":
        (cured,) = result.cured.values()
        # Gradients fall with width, here by 8; what they are held against falls with them.
        assert cured.worst(result.failure.sign)[1][0] > 4 * result.broken.worst(result.failure.sign)[1][0]


def test_the_collapse_is_one_of_depth() -> None:
    """The mutant of rank collapse: at depth 2 the same blocks without residual scaling train."""
    deep = FAILURES["rank_collapse"].broken
    shallow = run_recipe(replace(deep, depth=2), seed=0, every=40, signs=("token_similarity",))
    assert first_danger(shallow, "token_similarity") == math.inf and shallow.validation_loss < 2.9
