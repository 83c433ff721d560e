"""The table of pains is whole, and each test that it names exists; and what no other test proves."""

import ast
import re
from pathlib import Path

import pytest
from torch import nn

from limes.core.errors import PlanError
from limes.parametrize import plan

ROOT = Path(__file__).resolve().parents[2]
PROOF = re.compile(r"`(tests/[\w/]+\.py)?::(test_\w+)`")


def network(width):
    return nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2))


def named_tests(cell):
    """(file, test) for each proof; one without a file is in the file before it."""
    path = ""
    for file, name in PROOF.findall(cell):
        path = file or path
        yield path, name


def test_the_table_is_whole_and_its_tests_exist():
    lines = (ROOT / "docs" / "pains.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if re.match(r"\| \d", line)]
    assert [int(row[0].strip("| ")) for row in rows] == list(range(1, 16))
    for row in rows:
        assert len(row) == 4 and all(row)
        proofs = list(named_tests(row[3]))
        assert proofs, row[0]
        for path, name in proofs:
            functions = [node.name for node in ast.parse((ROOT / path).read_text()).body if hasattr(node, "name")]
            assert name in functions, (path, name)


def test_explain_says_what_a_step_takes_away():
    for mode, words in (("independent", "over the base's: 1."), ("coupled", "over the base's: 0.25, 1.")):
        made = plan(network, base=8, target=32, parametrization="mup", weight_decay=mode)
        assert f"decay {mode}" in made.explain() and words in made.explain(), mode


def test_a_build_that_ignores_its_size_is_an_error():
    with pytest.raises(PlanError, match="nothing grows from base to target"):
        plan(lambda width: network(8), base=8, target=32, parametrization="mup")
