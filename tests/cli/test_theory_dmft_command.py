"""`limes theory dmft`: numbers, page, and one sentence for every mistake."""

import json

import numpy as np
import pytest

from limes.data import build_data
from limes.spec.data import ArraysSpec
from limes.theory.dynamics import MLPProblem, solve_dmft_mlp

SMALL = ("theory", "dmft", "--samples", 3, "--steps", 4, "--particles", 256)


def test_the_numbers_are_those_of_the_solver_and_the_page_is_written(limes, tmp_path) -> None:
    rng = np.random.default_rng(0)
    inputs, targets = rng.standard_normal((8, 5)).astype(np.float32), rng.standard_normal(8).astype(np.float32)
    np.savez(tmp_path / "data.npz", inputs=inputs, targets=targets)
    arguments = (*SMALL, "--data", tmp_path / "data.npz", "--gamma0", "0.5,1", "--test", 1, "--json", "--out", tmp_path)
    outcome = limes(*arguments)
    assert outcome.code == 0 and outcome.err == ""
    content = json.loads(outcome.out)
    assert [entry["gamma0"] for entry in content["results"]] == [0.5, 1.0]
    assert content["predicted"]["seconds"] > 0
    assert np.shape(content["results"][1]["test_outputs"]) == (5, 1)

    spec = ArraysSpec(path=str(tmp_path / "data.npz"))
    inputs, targets = (tensor[:3].double().numpy() for tensor in build_data(spec, seed=0, batch_size=6).batch(0))
    fields = {"depth": 2, "activation": "tanh", "gamma0": 1.0, "lr": 0.3, "num_times": 5}
    expected = solve_dmft_mlp(MLPProblem(inputs=inputs, targets=targets[:, 0], **fields), num_particles=256)
    np.testing.assert_allclose(content["results"][1]["loss"], expected.loss, rtol=1e-2)
    page = (tmp_path / "dmft.html").read_text()
    assert "lazy limit" in page and "https://" not in page.split('id="payload"')[0]


def test_digits_on_a_terminal_are_a_table(limes) -> None:
    outcome = limes(*SMALL)
    assert outcome.code == 0 and "predicted" in outcome.err and "gamma0 1" in outcome.out


def test_a_dry_run_only_predicts(limes) -> None:
    outcome = limes(
        "theory", "dmft", "--samples", 128, "--steps", 200, "--time-limit", 1e9, "--memory-limit", 99, "--dry-run"
    )
    assert outcome.code == 0 and outcome.out == "" and "predicted" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--gamma0", "0"], "lazy limit"),
        (["--gamma0", "one"], "one"),
        (["--data", "nothing"], "nothing"),
        (["--data", "missing.npz"], "missing.npz"),
        (["--samples", "2000"], "1438"),
        (["--test", "500"], "500"),
        (["--activation", "swish"], "swish"),
        (["--particles", "1000"], "power of two"),
        (["--momentum", "1"], "momentum"),
        (["--lr", "-1"], "lr"),
        (["--samples", "128", "--steps", "200"], "predicted to take"),
    ],
)
def test_a_mistake_is_answered_by_one_sentence(limes, arguments: list[str], word: str) -> None:
    outcome = limes("theory", "dmft", *arguments)
    assert outcome.code == 2 and word in outcome.err and "Traceback" not in outcome.err and outcome.out == ""


def test_divergence_and_too_few_particles_end_with_one(limes) -> None:
    outcome = limes(*SMALL, "--activation", "linear", "--lr", 500)
    assert outcome.code == 1 and "diverge at step" in outcome.err
    outcome = limes("theory", "dmft", "--samples", 8, "--steps", 10, "--particles", 64, "--json")
    assert outcome.code == 1 and "directions were revealed with 64 particles" in outcome.err
    assert json.loads(outcome.out)["results"][0]["status"] == "ill_conditioned"
