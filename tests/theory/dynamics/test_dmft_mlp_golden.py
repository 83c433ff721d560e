"""The conditioning solver against recorded curves, and mutants that the same comparison must reject."""

import numpy as np
import pytest

from limes.theory.dynamics import MLPProblem, solve_dmft_mlp
from support.dmft_cases import golden_cases, loss_samples, problem_fields
from support.stats import assert_mean

CASES = golden_cases("mlp")
QUICK = [name for name in CASES if not name.endswith("P8")]


def _compare(case: dict, **changes: object) -> None:
    solver = {"responses": changes.pop("responses", True)}
    problem = MLPProblem(**(problem_fields(case) | changes))
    result = solve_dmft_mlp(problem, num_particles=1024, num_scrambles=16, seed=3, two_time=False, **solver)
    losses = loss_samples(result)
    for index, t in enumerate(case["times"]):
        assert_mean(losses[:, t], case["value"][index], bias=case["errors"][index])


@pytest.mark.parametrize("name", QUICK)
def test_loss_curve_agrees_with_the_record(name: str) -> None:
    _compare(CASES[name])


@pytest.mark.parametrize("mutant", [{"gamma0": 1.1}, {"responses": False}, {"lr": 0.33}, {"activation": "erf_sqrt2"}])
def test_mutants_are_rejected(mutant: dict) -> None:
    with pytest.raises(AssertionError, match="mean"):
        _compare(CASES["mlp_tanh_L2_g1"], **mutant)


def test_kernels_at_the_last_time_agree_with_the_record() -> None:
    case = CASES["mlp_tanh_L3_g2"]
    result = solve_dmft_mlp(MLPProblem(**problem_fields(case)), num_particles=1024, num_scrambles=16, seed=3)
    last = case["num_times"] - 1
    for layer, (diagonal, error) in enumerate(
        zip(case["final_feature_diagonal"], case["final_feature_errors"], strict=True)
    ):
        kernels = np.array([np.diag(run.features[layer].kernel(last, last)) for run in result.trajectories])
        np.testing.assert_allclose(result.feature_kernel(layer + 1, last).diagonal(), kernels.mean(0), rtol=1e-12)
        for mu, expected in enumerate(diagonal):
            assert_mean(kernels[:, mu], expected, bias=error)
