"""Runs on disk: one SQLite file, checksummed arrays beside it, leases with fencing tokens. Loads no torch."""

from limes.store.doctor import doctor
from limes.store.records import (
    OVER_BUDGET,
    TASK,
    Claim,
    Finding,
    Member,
    NewRun,
    Progress,
    RunningRun,
    RunResult,
    SweepRow,
)
from limes.store.store import Store

__all__ = [
    "OVER_BUDGET",
    "TASK",
    "Claim",
    "Finding",
    "Member",
    "NewRun",
    "Progress",
    "RunResult",
    "RunningRun",
    "Store",
    "SweepRow",
    "doctor",
]
