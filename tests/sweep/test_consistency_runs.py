"""Runs of a study of consistency: what is recorded, what is shared, what a fault in a learning rate changes."""

import numpy as np
import pytest
import torch

from limes.core.errors import SpecError
from limes.measure import empirical_ntk, feature_kernels
from limes.spec import OptimizerSpec, RunSpec, TrainingSpec, TransformerSpec, ViTSpec
from limes.spec.consistency import ConsistencySpec, log_steps
from limes.spec.data import CorpusSpec, DigitsSpec, GaussianSpec
from limes.spec.model import CNNSpec, MLPSpec, ResMLPSpec
from limes.store import Store
from limes.sweep.build import build_run
from limes.sweep.consistency import consistency_cost, plan_consistency, run_consistency
from limes.sweep.observe import ScaleRecorder
from limes.train import train

OBSERVE = {"num_probe": 4, "num_kernel": 4, "num_ntk": 3, "num_outputs": 4}


def small(**changes: object) -> ConsistencySpec:
    content: dict[str, object] = {
        "name": "small",
        "data": GaussianSpec(num_inputs=3, num_samples=8, num_validation=8),
        "model": MLPSpec(width=4, depth=2, activation="tanh"),
        "training": TrainingSpec(
            steps=6, batch_size=8, warmup_steps=0, schedule="constant", optimizer=OptimizerSpec(name="sgd")
        ).to_dict(),
        "sizes": (4, 8, 16),
        "seeds": (3, 3, 3),
        "parametrizations": [{"name": "mup"}, {"name": "standard"}],
        "num_times": 3,
        "observe": OBSERVE,
    }
    return ConsistencySpec.model_validate(content | changes)


def observed(spec: ConsistencySpec, place: int = -1) -> tuple[dict[str, np.ndarray], RunSpec]:
    run = plan_consistency(spec)[place].spec
    model, data, optimizer = build_run(run)
    recorder = ScaleRecorder.of(run, data)
    assert recorder is not None
    trace = train(model, data, optimizer, run.training, probes=(recorder,))
    return recorder.arrays(model, steps_done=trace.steps_done), run


def test_seeds_of_sizes_never_meet_and_batches_are_the_same_for_all() -> None:
    planned = plan_consistency(small())
    assert len(planned) == 18 and len({item.spec.key for item in planned}) == 15, "the base is one run for all"
    seeds = [{item.spec.seed for item in planned if item.member.size == size} for size in (4, 8, 16)]
    assert not seeds[0] & seeds[1] and not seeds[1] & seeds[2]
    assert {item.spec.batch_seed for item in planned} == {0}
    batches = [build_run(planned[place].spec)[1].batch(3)[0] for place in (0, 1, -1)]
    assert torch.equal(batches[0], batches[1]) and torch.equal(batches[0], batches[2])


def test_keys_of_runs_that_are_not_observed_stay_as_they_were() -> None:
    run = plan_consistency(small())[0].spec
    plain = run.model_copy(update={"batch_seed": None, "observe": None})
    assert "observe" not in plain.to_dict() and "batch_seed" not in plain.to_dict()
    assert RunSpec.model_validate(run.to_dict()) == run


def test_a_fault_multiplies_the_learning_rates_that_it_names() -> None:
    fault = {"name": "mup", "lr_exponents": {"hidden.*": 0.5}}
    spec = small(parametrizations=[{"name": "mup"}, fault])
    sound, faulty = (
        [item.spec for item in plan_consistency(spec) if item.member.parametrization == choice.label][-1]
        for choice in spec.parametrizations
    )
    for name, tensor in sound.tensors.items():
        growth = 2.0 if name.startswith("hidden") else 1.0
        assert faulty.tensors[name].lr == pytest.approx(growth * tensor.lr)
    with pytest.raises(SpecError, match="names none of the tensors"):
        plan_consistency(small(parametrizations=[{"name": "mup", "lr_exponents": {"blocks.*": 1.0}}]))


def test_what_is_recorded_is_what_the_instruments_say() -> None:
    spec = small()
    arrays, run = observed(spec)
    assert arrays["observed_steps"].tolist() == [0, 1, 2, 6]
    model, data, _ = build_run(run)
    inputs = data.validation()[0][0][:4]
    kernel = feature_kernels(model, inputs, layers=["readout"], side="input")["readout"]
    np.testing.assert_allclose(arrays["observed/feature kernel, layer 2"][0], kernel, rtol=1e-5)
    weights = {name: 16.0 / 4 if name == "hidden.0.weight" else 1.0 for name in run.tensors}
    assert run.observe is not None and set(run.observe.kernel_weights) == set(weights)
    tangent = empirical_ntk(model, inputs[:3], parameter_weights=run.observe.kernel_weights)
    np.testing.assert_allclose(arrays["observed/tangent kernel"][0], tangent, rtol=1e-4)
    quantiles = arrays["observed/pre-activations, layer 1"][0]
    fields = model.get_submodule("hidden.0")(inputs).detach().numpy().ravel()
    np.testing.assert_allclose(quantiles, np.quantile(fields, (np.arange(64) + 0.5) / 64, method="hazen"), rtol=1e-5)
    assert arrays["observed/movement, layer 2"][0] == 0 and arrays["observed/movement, layer 2"][-1] > 0


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (
            TransformerSpec(width=8, head_dim=4, depth=2, context=8),
            CorpusSpec(num_bytes=20_000, validation_bytes=2_000),
        ),
        (ViTSpec(width=8, num_heads=2, depth=2), DigitsSpec(layout="image")),
        (CNNSpec(width=8, depth=2), DigitsSpec(layout="image")),
        (ResMLPSpec(width=8, depth=2, matrices_per_branch=1), GaussianSpec(num_inputs=3, num_samples=8)),
    ],
)
def test_arrays_of_every_family_have_one_shape_at_every_size(model, data) -> None:
    training = TrainingSpec(steps=2, batch_size=4, warmup_steps=0).to_dict()
    spec = small(
        model=model, data=data, training=training, sizes=(8, 16, 24), num_times=2, parametrizations=[{"name": "mup"}]
    )
    first, last = observed(spec, 0)[0], observed(spec, -1)[0]
    assert {name: array.shape for name, array in first.items() if name.startswith("observed")} == {
        name: array.shape for name, array in last.items() if name.startswith("observed")
    }
    assert ("observed/attention, layer 1" in first) == (model.family in ("transformer", "vit"))
    assert all(np.isfinite(array).all() for array in last.values())


def test_networks_of_every_depth_are_measured_at_the_same_share_of_it() -> None:
    training = TrainingSpec(steps=2, batch_size=4, warmup_steps=0).to_dict()
    spec = small(
        model=ResMLPSpec(width=8, depth=2),
        training=training,
        axis="depth",
        sizes=(2, 4, 8),
        num_times=2,
        parametrizations=[{"name": "completep"}],
        observe=OBSERVE | {"layers": "ends"},
    )
    arrays, run = observed(spec)
    assert run.model.depth == 8
    assert {"observed/feature kernel, half depth", "observed/feature kernel, last layer"} <= set(arrays)


def test_a_study_goes_on_where_it_stopped(tmp_path) -> None:
    spec = small()
    first = run_consistency(spec, tmp_path, workers=1)
    assert first.status == "complete" and first.num_failed == 0
    again = run_consistency(spec, tmp_path, workers=1)
    assert again.num_reused == 15
    with Store.open(tmp_path) as store:
        arrays = store.curve(plan_consistency(spec)[-1].spec.key)
    np.testing.assert_array_equal(arrays["observed/outputs"], observed(spec)[0]["observed/outputs"])
    cost = consistency_cost(spec)
    assert cost.runs == 15 and cost.cpu_seconds > 0 and cost.memory_bytes > 0
    with pytest.raises(SpecError, match="started with another study"):
        run_consistency(small(log2_lr=-5.0), tmp_path, workers=1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sizes": (8, 4, 16)}, "must increase"),
        ({"seeds": (3, 3)}, "3 or more|at least 3|3 items"),
        ({"seeds": (3, 3, 3, 3)}, "4 entries for 3 sizes"),
        ({"axis": "heads"}, "head_dim"),
        ({"parametrizations": [{"name": "mup"}, {"name": "mup"}]}, "repeat"),
        ({"observe": OBSERVE | {"steps": (0, 9)}}, "training.steps"),
    ],
)
def test_bad_studies_are_one_sentence(changes, words) -> None:
    with pytest.raises(ValueError, match=words):
        small(**changes)


def test_a_probe_larger_than_the_data_is_refused() -> None:
    with pytest.raises(SpecError, match="num_probe 400"):
        observed(small(observe=OBSERVE | {"num_probe": 400}))


def test_times_are_on_a_logarithmic_scale_and_all_different() -> None:
    assert log_steps(200, 8) == (0, 1, 2, 5, 10, 21, 44, 94, 200)
    assert log_steps(3, 8) == (0, 1, 2, 3)
