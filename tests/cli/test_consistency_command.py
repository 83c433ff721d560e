"""`limes consistency` on a tiny study, as a user runs it, and one sentence for every mistake."""

import json

import pytest

TINY = """
name = "tiny"
axis = "width"
sizes = [4, 8, 16]
seeds = [3, 3, 3]
log2_lr = -4
num_times = 3
parametrizations = [{ name = "mup" }, { name = "ntk" }]
quick = ["training.steps=3"]
[data]
source = "gaussian"
num_inputs = 3
num_samples = 8
num_validation = 8
[model]
family = "mlp"
width = 4
depth = 1
[training]
steps = 6
batch_size = 8
warmup_steps = 0
[observe]
num_probe = 4
num_kernel = 4
num_ntk = 3
num_outputs = 4
"""


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


def test_training_exponents_page_and_a_second_call_that_trains_nothing(limes, study, tmp_path) -> None:
    arguments = ("consistency", study, "--workers", 1, "--out", tmp_path / "out")
    first = limes(*arguments, "--json")
    assert first.code == 0 and first.err == ""
    content = json.loads(first.out)
    assert content["counts"]["done"] == 15 and not content["missing"]
    assert [path["label"] for path in content["parametrizations"]] == ["mup", "ntk"]
    mup = content["parametrizations"][0]
    assert mup["steps"] == [0, 1, 2, 6]
    assert mup["observables"]["feature kernel, layer 1"]["spread_power"][0][0] is not None
    assert json.loads((tmp_path / "out" / "consistency.json").read_text()) == content
    assert "follow one path" in (tmp_path / "out" / "consistency.html").read_text()
    again = limes(*arguments)
    assert again.code == 0 and "15 networks" in again.err and "mup: " in again.out
    changed = limes(*arguments, "--set", "log2_lr=-5")
    assert changed.code == 2 and "+ log2_lr = -5" in changed.err


def test_the_cost_is_said_before_anything_starts(limes, study, tmp_path) -> None:
    outcome = limes("consistency", study, "--budget", "quick", "--dry-run", "--out", tmp_path / "out")
    assert outcome.code == 0 and "15 networks" in outcome.err and "MiB on disk" in outcome.err
    assert not (tmp_path / "out").exists()


def test_the_list_names_every_built_in_study_and_each_can_be_planned(limes, tmp_path) -> None:
    listed = limes("consistency", "--list")
    names = [line.split()[0] for line in listed.out.splitlines()]
    assert listed.code == 0 and {"gpt-width", "mlp-width"} <= set(names)
    for name in names:
        for budget in ("default", "quick"):
            outcome = limes("consistency", name, "--budget", budget, "--dry-run", "--out", tmp_path / "out")
            assert outcome.code == 0 and "networks" in outcome.err, outcome.err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["nowhere"], "no built-in study"),
        (["nowhere.toml"], "cannot be read"),
        (["gpt-width", "--budget", "huge"], "huge"),
        (["gpt-width", "--set", "sizes=[16, 32]"], "sizes"),
        (["gpt-width", "--set", "sizes=[16, 33, 64, 128, 256]"], "33"),
        (["gpt-width", "--set", "axis=heads"], "head_dim"),
        (["gpt-width", "--set", "axis=length"], "axis"),
        (["gpt-width", "--set", "early=201"], "past the last step"),
        (["gpt-width", "--set", "observe.steps=[0, 50, 100]"], "no step from 1 to 20"),
        (["gpt-width", "--seeds", "2"], "seeds"),
        (["gpt-width", "--set", "num_times=1"], "num_times"),
        (["gpt-width", "--set", "observe.num_probe=0"], "num_probe"),
        (["gpt-width", "--set", 'parametrizations.3.lr_exponents={ "no.*" = 1.0 }'], "names none of the tensors"),
        (["gpt-width", "--set", "training.steps=0"], "steps"),
        (["gpt-width", "--set", "limit=nothing"], "limit"),
        (["gpt-width", "--set", "parametrizations.0.name=mupp"], "mupp"),
    ],
    ids=lambda item: " ".join(item) if isinstance(item, list) else "",
)
def test_a_mistake_is_answered_by_one_sentence(limes, tmp_path, arguments: list[str], word: str) -> None:
    outcome = limes("consistency", *arguments, "--out", tmp_path / "out")
    assert outcome.code == 2 and word in outcome.err and "Traceback" not in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists(), "nothing may be started"
