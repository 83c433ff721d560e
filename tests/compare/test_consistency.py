"""What a study of consistency must show, in a reduced form: which parametrizations follow one path, which do not.

Exponents are compared at 99.9 %, verdicts are those of the default 90 %; a wrong exponent of the learning rates is the
mutant.
"""

import numpy as np
import pytest

from limes.compare.consistency import analyse_consistency
from limes.compare.consistency_result import ConsistencyResult, Growth, PathResult
from limes.report.consistency import consistency_page
from limes.spec.consistency import ConsistencySpec
from limes.store import Store
from limes.sweep.consistency import run_consistency

MLP = {
    "name": "mlp",
    "data": {"source": "teacher", "num_inputs": 16, "num_samples": 8, "num_validation": 8},
    "model": {"family": "mlp", "width": 16, "depth": 2, "activation": "tanh"},
    "training": {
        "steps": 6,
        "batch_size": 8,
        "schedule": "constant",
        "warmup_steps": 0,
        "center_output": True,
        "dtype": "float64",
        "optimizer": {"name": "sgd"},
    },
    "sizes": [32, 64, 128, 256],
    "seeds": [16, 16, 16, 16],
    "limit": "theory",
    # 0.3 in the units of the theory.
    "log2_lr": -5.75,
    "num_times": 3,
    "early": 1,
    "parametrizations": [
        {"name": "meanfield", "gamma0": 4},
        {"name": "ntk"},
        {"name": "meanfield", "gamma0": 4, "lr_exponents": {"hidden.*": 0.5}},
    ],
    "observe": {
        "probe": "training",
        "num_probe": 8,
        "num_kernel": 8,
        "num_ntk": 4,
        "num_outputs": 8,
        "sharpness": False,
    },
}
GPT = {
    "name": "gpt",
    "data": {"source": "corpus", "num_bytes": 200_000},
    "model": {"family": "transformer", "width": 16, "num_heads": 2, "depth": 1, "context": 16},
    "training": {"steps": 4, "batch_size": 8, "schedule": "constant", "warmup_steps": 0},
    "sizes": [16, 32, 64, 128],
    "seeds": [5, 5, 5, 5],
    "log2_lr": -7,
    "num_times": 3,
    "early": 1,
    "parametrizations": [
        {"name": "mup"},
        {"name": "ntk"},
        {"name": "standard"},
        {"name": "mup", "lr_exponents": {"blocks.*": 0.5}},
    ],
    "observe": {"num_ntk": 0, "num_kernel": 8, "num_outputs": 16, "sharpness": False},
}


def study(content: dict[str, object], folder, *, level: float = 0.9) -> ConsistencyResult:
    spec = ConsistencySpec.model_validate(content)
    assert run_consistency(spec, folder, workers=1).status == "complete"
    with Store.open(folder) as store:
        return analyse_consistency(store, spec.model_copy(update={"level": level}))


def movement(path: PathResult, layer: str) -> Growth:
    return path.growths[f"movement, {layer}"]


def holds(slope: np.ndarray, power: float) -> bool:
    return bool(slope[1] <= power <= slope[2])


@pytest.mark.sim
def test_perceptrons_tend_to_the_infinitely_wide_one_at_the_powers_of_the_theory(tmp_path) -> None:
    rich, lazy, faulty = study(MLP, tmp_path).paths
    assert rich.note.startswith("limit: the theory") and "different problems" in lazy.note
    assert (rich.verdict, lazy.verdict, faulty.verdict) == ("consistent", "lazy", "unstable")
    rich, lazy, faulty = study(MLP, tmp_path, level=0.999).paths
    for name, item in rich.observables.items():
        powers = [power for power in item.powers("spread_power") if power.known]
        assert powers and sum(not power.holds(1.0) for power in powers) <= 1, name
    assert all(holds(slope, 0.0) for slope in movement(rich, "layer 2").slopes[1:])
    assert all(holds(slope, -0.5) for slope in movement(lazy, "layer 2").slopes[1:])
    # The mutant: one exponent of the learning rates is wrong by a half, and the study sees it.
    assert not any(holds(slope, 0.0) for slope in movement(faulty, "layer 2").slopes[1:])
    # The theory's limit is the limit: distances from it fall with width and are small at the end.
    kernels = rich.observables["feature kernel, layer 2"]
    assert kernels.limit is not None and kernels.distance is not None
    assert (kernels.distance[:, -1] < 0.5 * kernels.distance[:, 0]).all()


@pytest.mark.sim
def test_a_byte_gpt_over_width_is_consistent_under_mup_alone(tmp_path) -> None:
    mup, ntk, standard, faulty = study(GPT, tmp_path).paths
    assert [path.verdict for path in (mup, ntk, standard, faulty)] == ["consistent", "lazy", "unstable", "unstable"]
    mup, ntk, standard, faulty = study(GPT, tmp_path, level=0.999).paths
    # Against muP of the same seeds: what narrow networks add to the powers is common to all.
    base = movement(mup, "layer 1").slopes[1]
    for path, power in ((ntk, -0.5), (standard, 1.0), (faulty, 0.5)):
        slope = movement(path, "layer 1").slopes[1]
        assert abs(slope[0] - base[0] - power) <= (slope[2] - slope[0]) + (base[2] - base[0]), path.label
    spread = mup.observables["outputs"].powers("spread_power")[1]
    assert spread.holds(1.0) and spread.low > 0.5
    # Without a rule for the readout the spread of predictions at the start stays as it is.
    assert ntk.observables["outputs"].powers("spread_power")[0].holds(0.0)
    assert mup.agreement is not None and (mup.agreement.ensemble <= mup.agreement.single + 1e-9).all()


def test_a_network_of_the_users_own_is_observed_by_what_it_returns(tmp_path) -> None:
    code = """
import torch

def build(width, num_inputs, num_outputs):
    return torch.nn.Sequential(
        torch.nn.Linear(num_inputs, width), torch.nn.Tanh(), torch.nn.Linear(width, num_outputs, bias=False)
    )
"""
    (tmp_path / "net.py").write_text(code)
    model = {"family": "module", "build": str(tmp_path / "net.py") + ":build", "width": 8}
    content = MLP | {"model": model, "sizes": [8, 16, 32], "seeds": [3, 3, 3], "parametrizations": [{"name": "mup"}]}
    result = study(content | {"limit": "largest"}, tmp_path / "out")
    (path,) = result.paths
    assert path.verdict == "undecided" and "no features of this network" in path.sentence
    assert path.observables["tangent kernel"].at(6) is not None and consistency_page(result).sections


def test_networks_that_diverge_are_named_not_raised(tmp_path) -> None:
    content = MLP | {"sizes": [16, 32, 4096], "seeds": [3, 3, 3], "parametrizations": [{"name": "standard"}]}
    content |= {"log2_lr": -1, "training": MLP["training"] | {"divergence_factor": 2.0}}
    content |= {"observe": MLP["observe"] | {"num_ntk": 0}}
    result = study(content, tmp_path)
    assert not result.paths and "diverge at this learning rate" in result.answer[0] and "4096" in result.answer[0]


HEADS = GPT | {
    "name": "heads",
    "model": {"family": "transformer", "width": 16, "head_dim": 8, "depth": 1, "context": 16},
    "axis": "heads",
    "sizes": [2, 4, 8, 16],
    "seeds": [6, 6, 6, 6],
    "parametrizations": [{"name": "mup"}, {"name": "standard"}],
}
DEPTH = GPT | {
    "name": "depth",
    "model": {"family": "transformer", "width": 16, "head_dim": 8, "depth": 2, "context": 16},
    "axis": "depth",
    "sizes": [2, 4, 8, 16],
    "seeds": [4, 4, 4, 4],
    "parametrizations": [
        {"name": "completep"},
        {"name": "mup"},
        {"name": "completep", "lr_exponents": {"blocks.*": 0.5}},
    ],
    "observe": GPT["observe"] | {"layers": "ends"},
}


@pytest.mark.sim
def test_kernels_deviate_as_one_over_the_root_of_the_number_of_heads(tmp_path) -> None:
    """The variance over networks falls as 1 / heads; half that power, a mutant, lies outside."""
    assert [path.verdict for path in study(HEADS, tmp_path).paths] == ["consistent", "unstable"]
    mup, standard = study(HEADS, tmp_path, level=0.999).paths
    for name in ("attention, layer 1", "outputs"):
        for power in mup.observables[name].powers("spread_power")[1:]:
            assert power.holds(1.0) and not power.holds(0.5), name
    # Without a rule for width the spread of predictions stays as it is.
    assert not standard.observables["outputs"].powers("spread_power")[1].holds(1.0)


@pytest.mark.sim
def test_networks_of_every_depth_learn_alike_under_the_rules_for_depth(tmp_path) -> None:
    """Power 0 for CompleteP, about 1 without a rule for depth, 1/2 more with the mutant."""
    verdicts = [path.verdict for path in study(DEPTH, tmp_path).paths]
    assert verdicts[1:] == ["unstable", "unstable"] and verdicts[0] in ("consistent", "undecided")
    completep, mup, faulty = (
        movement(path, "last layer").slopes[1] for path in study(DEPTH, tmp_path, level=0.999).paths
    )
    assert holds(completep, 0.0) and not holds(mup, 0.0) and not holds(faulty, 0.0)
    assert abs(faulty[0] - completep[0] - 0.5) <= (faulty[2] - faulty[0]) + (completep[2] - completep[0])
