"""Reading the store: the result table, and how far the work is."""

import sqlite3
import time

from limes.core.status import RunStatus
from limes.store.records import Progress, RunningRun, SweepRow

_MEMBER_FIELDS = ("axis", "parametrization", "size", "seed", "log2_lr", "key")
_RUN_FIELDS = tuple(name for name in SweepRow.__dataclass_fields__ if name not in _MEMBER_FIELDS)


def sweep_rows(connection: sqlite3.Connection) -> list[SweepRow]:
    """One row per member, in the order axis, parametrization, size, seed, learning rate."""
    columns = [f"members.{name}" for name in _MEMBER_FIELDS] + [f"runs.{name}" for name in _RUN_FIELDS]
    rows = connection.execute(
        f"SELECT {', '.join(columns)} FROM members JOIN runs ON runs.key = members.key "
        "ORDER BY axis, parametrization, size, seed, log2_lr"
    )
    return [SweepRow(**(dict(row) | {"status": RunStatus(row["status"])})) for row in rows]


def progress_of(connection: sqlite3.Connection) -> Progress:
    """Counts, costs and the runs in work."""
    now = time.time()
    rows = connection.execute(
        "SELECT status, COUNT(*) AS number, SUM(cost) AS cost, SUM(wall_seconds) AS wall FROM runs GROUP BY status"
    ).fetchall()
    counts = {status: 0 for status in RunStatus} | {RunStatus(row["status"]): row["number"] for row in rows}
    costs = {RunStatus(row["status"]): row["cost"] for row in rows}
    cost_done = sum(cost for status, cost in costs.items() if status.finished)
    running = connection.execute(
        "SELECT runs.key, worker, step, steps, cost, claimed_at FROM leases JOIN runs ON runs.key = leases.key "
        "ORDER BY claimed_at"
    ).fetchall()
    begun = sum(row["cost"] * row["step"] / row["steps"] for row in running)
    # A diverged run stops early: it says nothing about what a whole one costs.
    whole = next((row for row in rows if row["status"] == RunStatus.DONE.value), None)
    return Progress(
        counts=counts,
        cost_done=cost_done,
        cost_left=sum(cost for status, cost in costs.items() if not status.finished) - begun,
        seconds_per_cost=whole["wall"] / whole["cost"] if whole and whole["cost"] else None,
        running=tuple(
            RunningRun(
                key=row["key"],
                worker=row["worker"],
                step=row["step"],
                steps=row["steps"],
                seconds=now - row["claimed_at"],
            )
            for row in running
        ),
    )
