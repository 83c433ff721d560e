"""Runs of a comparison: what is recorded beside the losses is what the theory's network of the same weights does."""

import numpy as np
import pytest

from limes.compare.problem import mlp_problem, mlp_weights
from limes.core.errors import ScopeError, SpecError
from limes.spec import OptimizerSpec, RunSpec
from limes.spec.comparison import ComparisonSpec
from limes.spec.data import DigitsSpec, GaussianSpec
from limes.store import Store
from limes.sweep.build import build_run
from limes.sweep.comparison import load_comparison, plan_comparison, run_comparison
from limes.theory.dynamics import train_network

SMALL = ComparisonSpec(
    data=GaussianSpec(num_inputs=3, num_samples=4, num_validation=4),
    widths=(4, 8, 16),
    seeds=4,
    gamma0=(0.5, 2.0),
    steps=4,
    snapshots=(2,),
)


def test_each_network_has_its_own_seed_and_one_problem_per_gamma0() -> None:
    planned = plan_comparison(SMALL)
    assert len(planned) == len({item.spec.seed for item in planned}) == len({item.spec.key for item in planned}) == 24
    data, _ = load_comparison(SMALL)
    for item in planned:
        problem = mlp_problem(item.spec, data)
        assert f"gamma0 {problem.gamma0:g}" in item.member.parametrization
        assert problem.lr == pytest.approx(SMALL.lr)
        assert problem.lr_scale == pytest.approx((1.0, 1.0, 1.0))
        assert problem.weight_var == pytest.approx((1.0, 1.0, 1.0))


def test_what_is_recorded_is_what_the_theory_says_of_these_weights(tmp_path) -> None:
    outcome = run_comparison(SMALL, tmp_path, workers=1)
    assert outcome.status == "complete" and outcome.num_failed == 0 and outcome.progress.finished == 24
    item = plan_comparison(SMALL)[-1]
    with Store.open(tmp_path) as store:
        arrays = store.curve(item.spec.key)
    model, data, _ = build_run(item.spec)
    problem = mlp_problem(item.spec, data)
    theory = train_network(problem, weights=mlp_weights(item.spec, model), field_times=(0, 2, 4))
    assert arrays["outputs"].shape == (5, 4, 1)
    np.testing.assert_allclose(arrays["outputs"][:, :, 0] - arrays["outputs"][0, :, 0], theory.outputs, atol=1e-12)
    for place, t in enumerate((0, 2, 4)):
        for layer in (1, 2):
            kernel, own = theory.feature_kernel(layer, t), arrays["feature_kernels"][place, layer - 1]
            np.testing.assert_allclose(own, kernel, atol=1e-12)
            kernel, own = theory.gradient_kernel(layer, t), arrays["gradient_kernels"][place, layer - 1]
            np.testing.assert_allclose(problem.gamma0**2 * 16 * own, kernel, atol=1e-11)
            fields, own = theory.preactivations(layer, t)[0], arrays["preactivations"][place, layer - 1]
            np.testing.assert_allclose(own, fields, atol=1e-12)
    again = run_comparison(SMALL, tmp_path, workers=1)
    assert again.num_reused == 24
    with pytest.raises(SpecError, match="started with another study"):
        run_comparison(SMALL.model_copy(update={"lr": 0.1}), tmp_path, workers=1)


def test_a_stored_run_of_sgd_is_read_back() -> None:
    spec = plan_comparison(SMALL)[0].spec
    assert RunSpec.model_validate(spec.to_dict()).key == spec.key
    with pytest.raises(ValueError, match="sgd has no eps"):
        OptimizerSpec(name="sgd", eps=1e-6)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (GaussianSpec(num_inputs=3), "no finite set"),
        (GaussianSpec(num_inputs=3, num_outputs=2, num_samples=4), "with 2 outputs"),
        (DigitsSpec(num_samples=4), "the task is classification"),
    ],
)
def test_data_without_one_target_are_refused(data, sentence: str) -> None:
    with pytest.raises(ScopeError, match=sentence):
        plan_comparison(SMALL.model_copy(update={"data": data}))
