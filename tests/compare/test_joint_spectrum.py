"""Language models beside their linearization: squared error and cross-entropy, the page, and a module of one's own."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from limes.cli.spectrum_outputs import module_study
from limes.compare.joint_spectrum import network_spectrum, text_spectrum_study
from limes.core.errors import DataError, SpecError
from limes.report.joint_spectrum import answer_lines, joint_page
from limes.report.page import render_page
from support.refusals import one_sentence


def text() -> tuple[torch.Tensor, torch.Tensor]:
    """Four windows of a made-up language of 11 tokens in which the next one mostly follows from the last."""
    draws = torch.Generator().manual_seed(0)
    tokens = torch.cumsum(torch.randint(1, 3, (4, 17), generator=draws), 1) % 11
    return tokens[:, :-1], tokens[:, 1:]


@pytest.fixture(scope="module")
def study():
    inputs, targets = text()
    return text_spectrum_study(
        inputs,
        targets,
        data="made up",
        vocab_size=11,
        widths=(16, 64),
        parametrizations=("ntk",),
        num_steps=40,
        num_modes=8,
    )


def test_training_stays_in_the_predicted_band_and_more_so_when_wide(study) -> None:
    lazy = study.networks
    assert lazy[0].squared.deviation > lazy[1].squared.deviation
    assert lazy[1].squared.deviation < 0.01 and lazy[1].entropy.deviation < 0.05
    one = lazy[1]
    assert one.squared.start == pytest.approx(0.5) and one.entropy.start == pytest.approx(np.log(11))
    assert one.departs_at(one.squared) is None
    # The mutant: a network without its first block's share would be slower by that share at the first step.
    share = sum(block.rate_share for block in one.modes.blocks if block.name.startswith("block 1"))
    slower = one.squared.start - (1 - share) * (one.squared.start - one.squared.high[0])
    assert abs(one.squared.trained[0] - slower) > 10 * abs(one.squared.trained[0] - one.squared.high[0])


def test_page_and_json(study) -> None:
    page = joint_page(study)
    assert [section.anchor for section in page.sections] == ["squared", "entropy", "modes", "blocks", "numbers"]
    assert "of what that has learned at widths 16, 64" in answer_lines(study)[0]
    assert "one-hot" in render_page(page)
    content = json.loads(json.dumps(study.to_dict(), allow_nan=False))
    assert {block["name"] for block in content["networks"][0]["blocks"]} == {
        "embedding", "block 1 attention", "block 1 MLP", "block 2 attention", "block 2 MLP", "readout"
    }  # fmt: skip


def test_linearized_cross_entropy_is_that_of_a_linear_model() -> None:
    """A linear model is its own linearization: the two curves are one, under both losses."""
    draws = torch.Generator().manual_seed(1)
    inputs = torch.randn(12, 5, generator=draws, dtype=torch.float64)
    found = network_spectrum(
        nn.Linear(5, 4).double(), inputs, torch.arange(12) % 4, label="linear", num_steps=80, num_modes=48
    )
    assert found.entropy.trained == pytest.approx(found.entropy.high, rel=1e-10)
    assert found.squared.trained == pytest.approx(found.squared.high, rel=1e-9)
    assert found.squared.low == pytest.approx(found.squared.high, rel=1e-9)


def test_a_module_of_ones_own(tmp_path) -> None:
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "def build(width=8):\n    return nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 2))\n"
    )
    draws, batch = torch.Generator().manual_seed(2), tmp_path / "batch.pt"
    inputs = torch.randn(10, 3, generator=draws)
    settings = {"arguments": ["width=16"], "steps": 20, "modes": 8, "progress": lambda share: None}
    target = f"{tmp_path / 'mine.py'}:build"
    torch.save({"inputs": inputs, "targets": torch.randn(10, 2, generator=draws)}, batch)
    found = module_study(target, batch=batch, **settings)
    assert found.networks[0].entropy is None and found.num_outputs == 2
    whole = module_study(target, batch=batch, **(settings | {"modes": 96})).networks[0].modes
    assert len(whole.eigenvalues) == 20
    assert whole.trace == pytest.approx(whole.eigenvalues.sum(), rel=1e-12), "all modes hold all of the trace"
    assert [section.anchor for section in joint_page(found).sections][1] == "modes"
    with pytest.raises(SpecError, match="needs --batch"):
        module_study(target, batch=None, **settings)
    torch.save({"inputs": inputs}, batch)
    with pytest.raises(DataError, match="no targets"):
        module_study(target, batch=batch, **settings)
    torch.save({"inputs": inputs, "targets": torch.full((10,), 7)}, batch)
    with pytest.raises(SpecError, match="one for each output"):
        module_study(target, batch=batch, **settings)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Linear(7, 2), "fails on inputs .*mat1"),
        (nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5)), "another function"),
        (nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), "another function"),
        (nn.Flatten(0), "no tensor"),
        (nn.Identity(), "no parameter is trainable"),
    ],
)
def test_networks_without_a_linearization_are_refused_in_one_sentence(model, words: str) -> None:
    draws = torch.Generator().manual_seed(0)
    inputs = torch.randn(6, 3, generator=draws, dtype=torch.float64)
    with one_sentence(SpecError, words):
        network_spectrum(model.double(), inputs, torch.arange(6) % 2, label="mine", num_steps=5)


def test_inputs_that_are_not_finite_are_named_as_such() -> None:
    inputs = torch.full((6, 3), float("nan"), dtype=torch.float64)
    with pytest.raises(SpecError, match="outputs are not finite"):
        network_spectrum(nn.Linear(3, 2).double(), inputs, torch.arange(6) % 2, label="mine", num_steps=5)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"widths": (20,)}, r"widths \[20\]: expected multiples of 16"),
        ({"widths": ()}, r"widths \[\]: expected multiples of 16"),
        ({"depth": 0}, "depth and modes >= 1"),
        ({"num_steps": 1}, "num_steps 1: expected at least 2"),
    ],
)
def test_bad_settings_are_one_sentence(settings, words: str) -> None:
    inputs, targets = text()
    with one_sentence(SpecError, words):
        text_spectrum_study(inputs, targets, data="d", vocab_size=11, **({"widths": (16,)} | settings))
