"""Runs that cannot be done are set aside after three tries, and the others are not touched by it."""

from collections.abc import Callable
from pathlib import Path

from limes.core.status import RunStatus
from limes.store import Store
from support.processes import Driver


def test_run_that_always_crashes_is_quarantined(start: Callable[..., Driver], undisturbed: dict, tmp_path: Path):
    code, text = start(mode="crash").finish()
    assert (code, text) == (1, "complete\n")
    with Store.open(tmp_path / "out") as store:
        rows = store.rows()
    (bad,) = (row for row in rows if row.status not in (RunStatus.DONE, RunStatus.DIVERGED))
    assert (bad.parametrization, bad.size, bad.log2_lr) == ("standard", 16, -5.0)
    assert (bad.status, bad.attempts) == (RunStatus.QUARANTINED, 3) and "SIGSEGV" in bad.error
    # Which points its curve asks for afterwards may differ; those that both have must not.
    good = {(row.axis, row.parametrization, row.size, row.seed, row.log2_lr): row.loss for row in rows if row != bad}
    common = good.keys() & undisturbed.keys()
    assert len(common) >= len(undisturbed) - 3
    assert {key: good[key] for key in common} == {key: undisturbed[key][2] for key in common}


def test_workers_that_cannot_start_end_the_sweep_with_their_complaint(start: Callable[..., Driver]):
    code, text = start(mode="stillborn").finish()
    assert code == 3 and text.count("\n") == 1
    assert "workers in a row ended before they took a run" in text and "cannot start" in text
