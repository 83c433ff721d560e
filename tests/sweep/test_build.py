"""From studies to runs: sizes, data, shared keys, and the network that a run spec describes."""

import pytest
import torch

from limes.core.errors import DataError, SpecError
from limes.data import build_data
from limes.spec import MLPSpec, StudySpec, TransformerSpec
from limes.spec.data import DigitsSpec, GaussianSpec
from limes.sweep import build_run, expand, fill_model, resize, run_cost
from limes.train import train

ALL = ("standard", "ntk", "meanfield", "mup", "depth_mup", "completep")


def study(*names: str, axis: str = "width", sizes: tuple[int, ...] = (8, 16), **changes: object) -> StudySpec:
    panel = {
        "axis": axis,
        "sizes": sizes,
        "seeds": [2] + [1] * (len(sizes) - 1),
        "parametrizations": [{"name": name} for name in names],
    }
    content = {
        "name": "x",
        "data": {"source": "gaussian", "num_inputs": 4},
        "model": {"family": "resmlp", "width": 8, "depth": 2},
        "training": {"steps": 6, "warmup_steps": 1, "batch_size": 4},
        "panels": [panel],
    }
    return StudySpec.model_validate(content | changes)


def test_models_are_filled_from_the_data():
    data = build_data(GaussianSpec(num_inputs=4, num_outputs=3), seed=0, batch_size=2)
    filled = fill_model(MLPSpec(width=8), data)
    assert (filled.num_inputs, filled.num_outputs) == (4, 3)
    assert fill_model(filled, data) == filled
    with pytest.raises(SpecError, match=r"model.num_inputs is 5, but the data have 4"):
        fill_model(MLPSpec(width=8, num_inputs=5), data)
    with pytest.raises(SpecError, match="needs vocab_size, which data with the task 'regression' do not have"):
        fill_model(TransformerSpec(head_dim=16), data)
    image = build_data(DigitsSpec(layout="image"), seed=0, batch_size=2)
    assert fill_model(MLPSpec(width=8), image).num_inputs == 64


def test_resize_checks_the_family():
    model = TransformerSpec(width=32, head_dim=16)
    assert resize(model, "width", 64).width == 64 and resize(model, "depth", 4).depth == 4
    with pytest.raises(SpecError, match="width = 40: width 40 is not a multiple of head_dim 16"):
        resize(model, "width", 40)
    with pytest.raises(SpecError, match="axis 'heads'"):
        resize(model, "heads", 4)


def test_every_parametrization_is_the_same_run_at_the_base():
    planned = expand(study(*ALL))
    base = [item for item in planned if item.member.size == 8]
    assert len(base) == len(ALL) * 5 * 2
    assert len({item.spec.key for item in base}) == 5 * 2


def test_completep_is_mup_over_width_but_not_over_depth():
    def keys(axis: str, sizes: tuple[int, ...]) -> dict[str, set[str]]:
        planned = expand(study("standard", "mup", "completep", axis=axis, sizes=sizes))
        return {
            name: {x.spec.key for x in planned if x.member.parametrization == name and x.member.size == sizes[-1]}
            for name in ("standard", "mup", "completep")
        }

    width, depth = keys("width", (8, 16)), keys("depth", (2, 4))
    assert width["mup"] == width["completep"] != width["standard"]
    assert depth["mup"] == depth["standard"] != depth["completep"]


def test_keys_depend_on_seed_lr_training_and_data_but_not_on_names():
    one = {item.spec.key for item in expand(study("mup"))}
    assert one == {item.spec.key for item in expand(study("mup", name="other", level=0.99))}
    for change in (
        {"training": {"steps": 7, "warmup_steps": 1, "batch_size": 4}},
        {"data": {"source": "gaussian", "num_inputs": 4, "noise_std": 0.1}},
        {"first_seed": 5},
    ):
        assert not one & {item.spec.key for item in expand(study("mup", **change))}
    assert len(one) == 3 * 5


def test_runs_of_a_size_share_initialization_and_batches():
    planned = [item for item in expand(study("mup")) if item.member.size == 16]
    models, batches = [], []
    for item in planned:
        model, data, optimizer = build_run(item.spec)
        models.append([parameter.clone() for parameter in model.parameters()])
        batches.append(data.batch(3))
        assert max(group["lr"] for group in optimizer.param_groups) == pytest.approx(2.0**item.member.log2_lr)
    for model, batch in zip(models[1:], batches[1:], strict=True):
        assert all(torch.equal(one, two) for one, two in zip(models[0], model, strict=True))
        assert torch.equal(batches[0][0], batch[0])


def test_seeds_differ_in_initialization_and_batches():
    first, second = (item for item in expand(study("mup")) if item.member.size == 8 and item.member.log2_lr == -6)
    one, two = build_run(first.spec), build_run(second.spec)
    assert not torch.equal(next(one[0].parameters()), next(two[0].parameters()))
    assert not torch.equal(one[1].batch(0)[0], two[1].batch(0)[0])
    assert all(torch.equal(x[0], y[0]) for x, y in zip(one[1].validation(), two[1].validation(), strict=True))


def test_a_run_is_reproducible_and_survives_json():
    item = expand(study("completep", axis="depth", sizes=(2, 4)))[-1]
    again = type(item.spec).model_validate(item.spec.to_dict())
    assert again.key == item.spec.key
    traces = [train(*build_run(spec), spec.training) for spec in (item.spec, again)]
    assert traces[0].validation_loss == traces[1].validation_loss


def test_float64_runs_are_float64():
    spec = expand(study("mup", training={"steps": 3, "warmup_steps": 0, "dtype": "float64"}))[0].spec
    model, _, _ = build_run(spec)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}


def test_changed_data_are_refused():
    spec = expand(study("mup"))[0].spec
    other = spec.model_copy(update={"data_fingerprint": "0" * 64})
    with pytest.raises(DataError, match="has changed since the runs were planned"):
        build_run(other)


def test_cost_grows_with_size_and_counts_tokens():
    costs = [run_cost(item.spec) for item in expand(study("mup")) if item.member.seed == 0]
    assert costs[-1].seconds > costs[0].seconds and costs[-1].num_params > costs[0].num_params
    assert costs[0].num_tokens == 6 * 4
