"""`limes init`: verdicts and advice of good and bad networks, the page, and one sentence for every mistake."""

import json

import pytest

OWN = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width, depth, gain):
        super().__init__()
        self.stem = nn.Linear(6, width)
        self.layers = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(depth))
        self.head = nn.Linear(width, 3)
        for layer in self.layers:
            nn.init.normal_(layer.weight, std=(gain / width) ** 0.5)

    def forward(self, x):
        x = self.stem(x)
        for layer in self.layers:
            x = layer(torch.relu(x))
        return self.head(x)


def loud(width, depth):
    return Net(width, depth, 4.0)


def good(width, depth):
    return Net(width, depth, 2.0)


def flat(width, depth):
    return nn.Linear(width, depth)


def narrow(width):
    return nn.Linear(width, 2)


def words(width, depth):
    return "a model"


batch = torch.eye(6)[:4] + 0.1
"""


def read(outcome):
    return json.loads(outcome.out)["sizes"]


def test_a_vanishing_perceptron_is_told_what_to_do_and_then_is_not_vanishing(limes, tmp_path) -> None:
    page = tmp_path / "init.html"
    outcome = limes("init", "mlp", "--widths", 64, "--depths", "2,24", "--seeds", 2, "--json", "--report", page)
    small, deep = read(outcome)
    assert outcome.code == 1 and outcome.err == "" and small["verdict"] == "stable"
    assert deep["verdict"] == "vanishing" and "by 1.4" in deep["advice"]
    assert deep["predicted"]["signal"][-1] == pytest.approx(2.0**-24) and len(deep["blocks"]) == 25
    # sqrt(24 layers x 5/64), less the readout: the spread of ln(signal) between networks of this shape.
    assert deep["spread"] == pytest.approx((24 * 5 / 64) ** 0.5, rel=0.2)
    text = page.read_text()
    assert "falls by more than a factor of 100" in text and "by 1.4" in text


def test_the_advice_for_a_users_network_works(limes, tmp_path, monkeypatch) -> None:
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    sizes = ("--widths", 96, "--depths", 16, "--json", "--batch", "own.py:batch")
    loud = read(limes("init", "own.py:loud", *sizes))[0]
    assert loud["verdict"] == "exploding" and loud["predicted"]["signal"] is None
    factor = float(loud["advice"].split("weights by ")[1].split(";")[0])
    assert factor == pytest.approx(2.0**-0.5, rel=0.1)
    assert limes("init", "own.py:good", *sizes[:5]).code == 0, "a random batch is drawn"
    good = read(limes("init", "own.py:good", *sizes))[0]
    assert good["verdict"] in ("stable", "collapsing") and good["measured"]["signal"][-1] > 0.05


def test_branches_scaled_by_depth_keep_tokens_apart(limes) -> None:
    sizes = ("init", "transformer", "--widths", 32, "--depths", 48, "--seeds", 1, "--set", "context=8", "--json")
    plain, scaled = read(limes(*sizes))[0], read(limes(*sizes, "--branch-exponent", 0.5))[0]
    assert plain["measured"]["likeness"][-1] > 0.7 > 0.45 > scaled["measured"]["likeness"][-1]
    for row in (plain, scaled):
        assert row["measured"]["likeness"][-1] == pytest.approx(row["predicted"]["likeness"][-1], abs=0.15)


def test_a_terminal_gets_a_table(limes) -> None:
    outcome = limes("init", "resmlp", "--widths", 32, "--depths", 3, "--seeds", 1)
    assert outcome.code == 0 and "verdict" in outcome.out and "stable" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("mlpp",), "expected my_model.py:name"),
        (("mlp", "--widths", "0"), "--widths '0'"),
        (("mlp", "--set", "activation=nope"), "mlp.activation"),
        (("mlp", "--set", "width=4"), "sizes in --widths"),
        (("mlp", "--branch-exponent", "nan"), "--branch-exponent nan"),
        (("mlp", "--report", "no/such/folder/x.html"), "there is no folder"),
        (("own.py:loud", "--set", "a=1"), "for the built-in"),
        (("own.py:missing",), "has no 'missing'"),
        (("own.py:batch",), "expected a callable"),
        (("own.py:narrow",), "expected the arguments width and depth"),
        (("own.py:flat", "--batch", "own.py:batch"), "has no nn.ModuleList"),
        (("own.py:words", "--batch", "own.py:batch"), "expected an nn.Module"),
        (("mlp", "--depths", "1,x"), "--depths '1,x'"),
        (("mlp", "--samples", "4", "--batch", "own.py:batch"), "--samples 4"),
        (("own.py:loud", "--samples", "4"), "--samples 4"),
    ],
)
def test_mistakes_are_one_sentence(limes, tmp_path, monkeypatch, arguments, words) -> None:
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    outcome = limes("init", *arguments)
    assert outcome.code == 2 and words in outcome.err and "Traceback" not in outcome.err
