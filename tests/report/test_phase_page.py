"""The map of scaling laws: what it says about a task, and what it refuses."""

import pytest

from limes.core.errors import ScopeError, SpecError
from limes.report.page import Figure, Table
from limes.report.phases import phase_page, write_phase_map
from limes.theory.scaling import PHASES, scaling_exponents


def test_page_of_a_task_has_its_exponents_and_its_place(tmp_path):
    page = phase_page(a=1.9, b=1.4)
    lazy = scaling_exponents(1.9, 1.4)
    assert f"compute^-{lazy.compute:.3f}" in page.answer[0] and "Phase Ia" in page.answer[0]
    assert "hard" in page.answer[1]
    table = page.sections[0].blocks[0]
    assert isinstance(table, Table)
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["training time"] == pytest.approx((lazy.time, scaling_exponents(1.9, 1.4, rich=True).time))
    maps = [block for block in page.sections[1].blocks if isinstance(block, Figure)]
    assert len(maps) == 2 and all(len(figure.plot.data) == 2 for figure in maps)
    phases = {row[2] for row in maps[0].table.rows}
    assert phases == set(PHASES)
    write_phase_map(tmp_path / "map.html", a=1.9, b=1.4)
    text = (tmp_path / "map.html").read_text()
    assert text.startswith("<!") and "Seven phases" in text


def test_page_without_a_task_and_below_trace_class():
    assert len(phase_page().sections) == 2
    page = phase_page(a=1.5, b=0.8)
    assert len(page.answer) == 1 and "Phase Ib" in page.answer[0]


@pytest.mark.parametrize(
    ("fields", "error", "match"),
    [
        ({"a": 1.5}, SpecError, "b is None"),
        ({"a": 0.5, "b": 1.5}, SpecError, "a is 0.5"),
        ({"a": 2.5, "b": 1.5}, ScopeError, "boundary"),
    ],
)
def test_bad_tasks(fields, error, match):
    with pytest.raises(error, match=match):
        phase_page(**fields)
