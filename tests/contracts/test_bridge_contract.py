"""A run of a perceptron is the theory's finite network: equal outputs, losses and kernels at every step, to rounding.

Neither side knows the other: the run is planned, built and trained by the packages of real training, the network is
the theory's own.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from limes.compare.problem import mlp_problem, mlp_weights
from limes.core.errors import DataError, ScopeError
from limes.measure import feature_kernels, gradient_kernels
from limes.parametrize import PARAMETRIZATIONS
from limes.spec import MLPSpec, OptimizerSpec, ParametrizationChoice, ResMLPSpec, RunSpec, TrainingSpec
from limes.spec.data import DigitsSpec, GaussianSpec
from limes.sweep.build import build_run, data_for, plan_between
from limes.theory.dynamics import DMFTResult, MLPProblem, train_network
from limes.train import RunTrace, train
from support.refusals import one_sentence

ROUNDING = 1e-12
BASE_WIDTH = 8
STEPS = 6
SAMPLES = 5


class Outputs:
    """A probe that keeps the network's outputs on all samples, before each update."""

    name, every = "outputs", 1

    def __init__(self, inputs: Tensor) -> None:
        self.inputs, self.kept = inputs, []

    def measure(self, model: nn.Module, batch: tuple[Tensor, Tensor], step: int) -> Mapping[str, float]:
        with torch.no_grad():
            self.kept.append(model(self.inputs).numpy())
        return {}


def run_spec(
    name: str = "mup",
    *,
    width: int = 16,
    depth: int = 2,
    activation: str = "tanh",
    data: Any = None,
    family: Any = MLPSpec,
    lr: float = 0.05,
    choice: ParametrizationChoice | None = None,
    **training: Any,
) -> RunSpec:
    """A run of few steps, in float64, planned from the base width."""
    source = data or GaussianSpec(num_inputs=3, num_samples=SAMPLES)
    optimizer = OptimizerSpec(**({"name": "sgd"} | training.pop("optimizer", {})))
    settings: dict[str, Any] = {"steps": STEPS, "batch_size": SAMPLES, "schedule": "constant", "warmup_steps": 0}
    settings |= {"center_output": True, "dtype": "float64"} | training
    spec = TrainingSpec(optimizer=optimizer, **settings)
    fields: dict[str, Any] = {"depth": depth, "activation": activation}
    base = family(width=BASE_WIDTH, **fields)
    loaded = data_for(source, base, spec, seed=0)
    fields |= {"num_inputs": loaded.num_inputs, "num_outputs": loaded.num_outputs}
    plan = plan_between(
        family(width=BASE_WIDTH, **fields),
        family(width=width, **fields),
        choice or ParametrizationChoice(name=name),
        spec,
    )
    return RunSpec(
        model=family(width=width, **fields),
        data=source,
        data_fingerprint=loaded.fingerprint(),
        training=spec,
        seed=3,
        tensors=plan.settings(lr=lr, weight_decay=optimizer.weight_decay, eps=1e-12),
    )


def both(spec: RunSpec) -> tuple[MLPProblem, DMFTResult, np.ndarray, RunTrace, nn.Module]:
    """The problem, the theory's network, the run's outputs (times, samples, outputs), its trace and final model."""
    model, data, optimizer = build_run(spec)
    problem = mlp_problem(spec, data)
    theory = train_network(problem, weights=mlp_weights(spec, model))
    inputs = torch.tensor(problem.inputs)
    probe = Outputs(inputs)
    trace = train(model, data, optimizer, spec.training, probes=[probe])
    with torch.no_grad():
        probe.kept.append(model(inputs).numpy())
    outputs = np.stack(probe.kept)
    return problem, theory, outputs - outputs[0], trace, model


def assert_equal(spec: RunSpec) -> None:
    problem, theory, outputs, trace, model = both(spec)
    expected = theory.outputs.reshape(outputs.shape)
    scale = np.abs(expected).max()
    assert scale > 1e-3, "the run must move for this to mean anything"
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=ROUNDING * scale)

    # The run's loss is that of its batch, a mean over outputs too.
    targets = problem.targets.reshape(problem.num_samples, -1)
    everything = [range(problem.num_samples)] * spec.training.steps
    losses = [
        0.5 * np.mean((expected[t, list(batch)] - targets[list(batch)]) ** 2)
        for t, batch in enumerate(problem.batches or everything)
    ]
    np.testing.assert_allclose(trace.train_loss, losses, rtol=ROUNDING)

    last, inputs, shape = problem.num_times - 1, torch.tensor(problem.inputs), spec.model
    above = [*(f"hidden.{layer}" for layer in range(1, shape.depth)), "readout"]
    measured = feature_kernels(model, inputs, layers=above, side="input")
    for layer, name in enumerate(above, start=1):
        kernel = theory.feature_kernel(layer, last)
        np.testing.assert_allclose(measured[name].numpy(), kernel, rtol=0, atol=ROUNDING * np.abs(kernel).max())
    if shape.num_outputs == 1:
        names = [f"hidden.{layer}" for layer in range(shape.depth)]
        slopes = gradient_kernels(model, inputs, layers=names)
        for layer, name in enumerate(names, start=1):
            kernel = theory.gradient_kernel(layer, last)
            own = problem.gamma0**2 * shape.width * slopes[name].numpy()
            np.testing.assert_allclose(own, kernel, rtol=0, atol=ROUNDING * np.abs(kernel).max())


@pytest.mark.parametrize("width", [BASE_WIDTH, 4 * BASE_WIDTH])
@pytest.mark.parametrize("name", PARAMETRIZATIONS)
def test_a_prescribed_run_is_the_network_of_the_theory(name: str, width: int) -> None:
    assert_equal(run_spec(name, width=width))


VARIANTS: dict[str, dict[str, Any]] = {
    "one hidden layer": {"depth": 1},
    "three relu": {"depth": 3, "activation": "relu"},
    "erf": {"activation": "erf"},
    "gelu": {"activation": "gelu"},
    "linear": {"activation": "linear"},
    "momentum": {"optimizer": {"momentum": 0.9}, "lr": 0.01},
    "decay": {"optimizer": {"momentum": 0.9, "weight_decay": 0.5, "decay_mode": "coupled"}, "lr": 0.01},
    "independent decay": {"optimizer": {"weight_decay": 0.5}, "width": 32},
    "schedule": {"schedule": "cosine", "warmup_steps": 2, "optimizer": {"momentum": 0.5, "weight_decay": 0.2}},
    "minibatches": {"batch_size": 2},
    "several outputs": {"data": GaussianSpec(num_inputs=3, num_outputs=2, num_samples=SAMPLES)},
    "fresh samples": {"data": GaussianSpec(num_inputs=3), "batch_size": 4},
    "rich": {"choice": ParametrizationChoice(name="meanfield", gamma0=3.0)},
    "lazy": {"choice": ParametrizationChoice(name="meanfield", gamma0=0.2), "lr": 1.0},
    "digits": {"data": DigitsSpec(task="parity", num_samples=SAMPLES), "lr": 0.02},
    "images": {"data": DigitsSpec(task="regression", layout="image", num_samples=SAMPLES), "lr": 0.02},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_covered_setting_is_carried_over(name: str) -> None:
    assert_equal(run_spec(**({"width": 16} | VARIANTS[name])))


@pytest.mark.parametrize("width", [BASE_WIDTH, 64])
def test_a_mup_run_has_one_gamma0_at_every_width(width: int) -> None:
    spec = run_spec("mup", width=width, lr=0.05)
    problem = mlp_problem(spec, build_run(spec)[1])
    assert problem.gamma0 == pytest.approx(BASE_WIDTH**-0.5)
    assert problem.lr == pytest.approx(0.05 * BASE_WIDTH)
    # Only the inputs' rate is not that of the theory: fan-in against base width.
    assert problem.lr_scale == pytest.approx((3 / BASE_WIDTH, 1.0, 1.0))
    assert problem.weight_var == pytest.approx((1.0, 1.0, 1.0))


def test_gamma0_of_the_plan_is_gamma0_of_the_theory() -> None:
    spec = run_spec(width=64, choice=ParametrizationChoice(name="meanfield", gamma0=2.0 * BASE_WIDTH**0.5))
    problem = mlp_problem(spec, build_run(spec)[1])
    assert problem.gamma0 == pytest.approx(2.0)
    assert problem.weight_var == pytest.approx((1.0, 1.0, 1.0))


@pytest.mark.parametrize("changes", [{"gamma0": 1.01}, {"lr": 1.01}, {"lr_scale": 1.01}])
def test_another_problem_is_another_run(changes: dict[str, float]) -> None:
    spec = run_spec()
    problem, theory, outputs, *_ = both(spec)
    fields = {name: getattr(problem, name) for name in problem.__dataclass_fields__}
    for name, factor in changes.items():
        value = fields[name]
        fields[name] = [value[0] * factor, *value[1:]] if name == "lr_scale" else value * factor
    weights = mlp_weights(spec, build_run(spec)[0])
    wrong = train_network(MLPProblem(**fields), weights=weights).outputs
    assert np.abs(wrong - outputs[:, :, 0]).max() > 1e5 * np.abs(theory.outputs - outputs[:, :, 0]).max()


def test_held_out_inputs_are_those_of_the_validation_set() -> None:
    spec = run_spec()
    data = build_run(spec)[1]
    problem = mlp_problem(spec, data, num_test=3)
    np.testing.assert_array_equal(problem.test_inputs, data.validation()[0][0][:3].double().numpy())
    with pytest.raises(DataError, match="num_test is 9999"):
        mlp_problem(spec, data, num_test=9999)


def _with_tensor(name: str, **changes: Any) -> RunSpec:
    spec = run_spec()
    tensors = dict(spec.tensors) | {name: spec.tensors[name].model_copy(update=changes)}
    return spec.model_copy(update={"tensors": tensors})


OUTSIDE: dict[str, tuple[Any, str]] = {
    "adam": (lambda: run_spec(optimizer={"name": "adamw"}), "training.optimizer.name is 'adamw'"),
    "classes": (lambda: run_spec(data=DigitsSpec(num_samples=SAMPLES)), "the task is 'classification'"),
    "clipping": (lambda: run_spec(clip_norm=1.0), "training.clip_norm is 1.0"),
    "not centred": (lambda: run_spec(center_output=False), "training.center_output is false"),
    "bfloat16": (lambda: run_spec(dtype="bfloat16"), "training.dtype is 'bfloat16'"),
    "residual": (lambda: run_spec(family=ResMLPSpec), "model.family 'resmlp': its branches normalise"),
    "uniform": (lambda: _with_tensor("hidden.0.weight", init="uniform"), "hidden.0.weight starts as 'uniform'"),
    "zero readout": (
        lambda: _with_tensor("readout.weight", init_std=0.0),
        "readout.weight starts as 'normal' .* std 0",
    ),
    "cut": (lambda: _with_tensor("hidden.1.weight", multiplier=0.0), "hidden.1.weight has the multiplier 0"),
    "frozen": (lambda: run_spec(lr=0.0), "every learning rate is 0"),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_what_the_theory_does_not_cover_is_refused_with_the_reason(name: str) -> None:
    make, sentence = OUTSIDE[name]
    spec = make()
    data = data_for(spec.data, spec.model, spec.training, seed=spec.seed)
    with one_sentence(ScopeError, sentence):
        mlp_problem(spec, data)


def test_biases_are_refused() -> None:
    spec = run_spec()
    biased = spec.model_copy(update={"model": spec.model.model_copy(update={"bias": True})})
    with pytest.raises(ScopeError, match=r"model\.bias is true"):
        mlp_problem(biased, build_run(spec)[1])


def test_other_data_are_refused() -> None:
    spec = run_spec()
    other = data_for(GaussianSpec(num_inputs=3, num_samples=9), spec.model, spec.training, seed=0)
    with pytest.raises(DataError, match="the run was planned with"):
        mlp_problem(spec, other)
