"""Who may work on what: leases with a fencing token that grows with every claim.

All functions expect an open write transaction. A worker that was suspended, or whose lease was given to another one,
holds an old token, and nothing it does with that token reaches the tables.
"""

import json
import os
import socket
import sqlite3
import time

from limes.core.status import RunStatus
from limes.store.records import Claim

MAX_ATTEMPTS = 3
MAX_LOSSES = 12
MAX_ERROR_CHARS = 4000


def claim_run(connection: sqlite3.Connection, worker: str, *, lease_s: float) -> Claim | None:
    """Take the costliest run that nobody holds; None if there is none."""
    now = time.time()
    release_stale(connection)
    row = connection.execute(
        "SELECT key, spec, attempts FROM runs WHERE status IN (?, ?) ORDER BY cost DESC, key LIMIT 1",
        (RunStatus.PENDING.value, RunStatus.FAILED.value),
    ).fetchone()
    if row is None:
        return None
    token = _next_token(connection)
    connection.execute(
        "UPDATE runs SET status = ?, token = ? WHERE key = ?", (RunStatus.RUNNING.value, token, row["key"])
    )
    connection.execute(
        "INSERT INTO leases (key, token, worker, host, pid, claimed_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (row["key"], token, worker, socket.gethostname(), os.getpid(), now, now + lease_s),
    )
    return Claim(key=row["key"], spec=json.loads(row["spec"]), token=token, attempt=row["attempts"] + 1)


def holds(connection: sqlite3.Connection, key: str, token: int) -> bool:
    """Whether `token` is the lease of `key` now."""
    row = connection.execute("SELECT token FROM leases WHERE key = ?", (key,)).fetchone()
    return row is not None and row["token"] == token


def extend(connection: sqlite3.Connection, key: str, token: int, *, lease_s: float, step: int) -> bool:
    """Prolong a lease; False if it is no longer held."""
    cursor = connection.execute(
        "UPDATE leases SET expires_at = ?, step = ? WHERE key = ? AND token = ?",
        (time.time() + lease_s, step, key, token),
    )
    return cursor.rowcount == 1


def drop(connection: sqlite3.Connection, key: str) -> None:
    """End the lease of `key`."""
    connection.execute("DELETE FROM leases WHERE key = ?", (key,))


def fail_run(connection: sqlite3.Connection, key: str, error: str) -> RunStatus:
    """Count a failed try of `key` and end its lease; the third puts the run into quarantine."""
    drop(connection, key)
    connection.execute(
        "UPDATE runs SET attempts = attempts + 1, error = ? WHERE key = ?", (error[-MAX_ERROR_CHARS:], key)
    )
    attempts = connection.execute("SELECT attempts FROM runs WHERE key = ?", (key,)).fetchone()["attempts"]
    status = RunStatus.QUARANTINED if attempts >= MAX_ATTEMPTS else RunStatus.FAILED
    connection.execute("UPDATE runs SET status = ? WHERE key = ?", (status.value, key))
    return status


def lose_run(connection: sqlite3.Connection, key: str) -> None:
    """The worker of `key` vanished through no visible fault of the run (killed, power cut): it goes back to the queue.

    A run that outlives no worker at all, for example because it needs more memory than there is, is put into
    quarantine in the end.
    """
    drop(connection, key)
    connection.execute("UPDATE runs SET losses = losses + 1 WHERE key = ?", (key,))
    losses = connection.execute("SELECT losses FROM runs WHERE key = ?", (key,)).fetchone()["losses"]
    if losses >= MAX_LOSSES:
        error = f"its worker vanished {losses} times without an error (killed, or out of memory)"
        connection.execute(
            "UPDATE runs SET status = ?, error = ? WHERE key = ?", (RunStatus.QUARANTINED.value, error, key)
        )
    else:
        connection.execute("UPDATE runs SET status = ? WHERE key = ?", (RunStatus.PENDING.value, key))


def stale(connection: sqlite3.Connection, now: float) -> list[str]:
    """Keys of the runs whose lease ran out, and of this machine those whose process is gone."""
    host = socket.gethostname()
    rows = connection.execute("SELECT key, host, pid, expires_at FROM leases").fetchall()
    return [row["key"] for row in rows if row["expires_at"] < now or (row["host"] == host and not _alive(row["pid"]))]


def release_stale(connection: sqlite3.Connection) -> int:
    """Give back the runs of `stale`; returns how many."""
    lost = stale(connection, time.time())
    for key in lost:
        lose_run(connection, key)
    return len(lost)


def release_worker(connection: sqlite3.Connection, worker: str, *, error: str | None) -> int:
    """Give back what `worker` held; with `error`, its end counts as a failed try of that run."""
    rows = connection.execute("SELECT key FROM leases WHERE worker = ?", (worker,)).fetchall()
    for row in rows:
        if error is None:
            lose_run(connection, row["key"])
        else:
            fail_run(connection, row["key"], error)
    return len(rows)


def _next_token(connection: sqlite3.Connection) -> int:
    connection.execute("INSERT OR IGNORE INTO meta VALUES ('last_token', '0')")
    connection.execute("UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE name = 'last_token'")
    return int(connection.execute("SELECT value FROM meta WHERE name = 'last_token'").fetchone()["value"])


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
