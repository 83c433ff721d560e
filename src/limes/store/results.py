"""Recording a finished run: its row, its metrics and its sidecar, under one write lock.

All functions expect an open write transaction. A sidecar is the JSON twin of everything the database knows of a
finished run; `doctor` can rebuild the database from the sidecars alone.
"""

import json
import math
import secrets
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from limes.core.errors import StoreError
from limes.core.status import RunStatus
from limes.spec.base import content_hash
from limes.store.files import remove, write_atomically
from limes.store.records import Member, NewRun, RunResult

SIDECARS, CURVES, CHECKPOINTS = "sidecars", "curves", "checkpoints"
SIDECAR_FORMAT = 1

_NEW = ("key", "spec", "cost", "steps", "num_params", "num_tokens", "flops")
_RESULT = (
    "status",
    "loss",
    "initial_loss",
    "diverged_step",
    "last_finite_loss",
    "cpu_seconds",
    "wall_seconds",
    "finished_at",
    "curve_file",
    "curve_sha256",
    "attempts",
    "losses",
)
_MEMBER = ("axis", "parametrization", "size", "seed", "log2_lr", "key")


def file_name(part: str, key: str, token: int) -> str:
    """A name that no other write ever uses, so that what is recorded is never overwritten."""
    return f"{part}/{key}.{token}.{secrets.token_hex(4)}.safetensors"


def token_of(name: str) -> int:
    """The fencing token in a name made by `file_name`."""
    return int(name.split(".")[-3])


def insert_run(connection: sqlite3.Connection, run: NewRun) -> bool:
    """Add a run unless it is there; True if it was new."""
    cursor = connection.execute(
        f"INSERT OR IGNORE INTO runs ({', '.join(_NEW)}) VALUES ({', '.join('?' * len(_NEW))})",
        (
            run.key,
            json.dumps(run.spec, allow_nan=False),
            run.cost,
            run.steps,
            run.num_params,
            run.num_tokens,
            run.flops,
        ),
    )
    return cursor.rowcount == 1


def insert_member(connection: sqlite3.Connection, member: Member) -> bool:
    """Add a member unless it is there; True if it was new.

    Raises:
        StoreError: It is there, but with another run: two programs disagree on what its settings are.
    """
    values = tuple(getattr(member, name) for name in _MEMBER)
    cursor = connection.execute(
        f"INSERT OR IGNORE INTO members ({', '.join(_MEMBER)}) VALUES (?, ?, ?, ?, ?, ?)", values
    )
    if cursor.rowcount == 1:
        return True
    where = " AND ".join(f"{name} = ?" for name in _MEMBER[:-1])
    row = connection.execute(f"SELECT key FROM members WHERE {where}", values[:-1]).fetchone()
    if row["key"] != member.key:
        raise StoreError(
            f"{member.parametrization} over {member.axis} at size {member.size}, seed {member.seed}, log2 lr "
            f"{member.log2_lr:g} is run {row['key']} in the store but {member.key} now: the data or the program "
            "changed since the folder was made; use a new folder"
        )
    return False


def insert_result(
    connection: sqlite3.Connection, key: str, result: RunResult, *, curve_file: str, curve_sha256: str
) -> None:
    """Write the result of `key`."""
    if result.status not in (RunStatus.DONE, RunStatus.DIVERGED):
        raise ValueError(f"status {result.status.value} is no result; expected done or diverged")
    values = {name: _finite(name, getattr(result, name)) for name in _RESULT[1:7]}
    values |= {"status": result.status.value, "finished_at": time.time()}
    values |= {"curve_file": curve_file, "curve_sha256": curve_sha256, "error": None}
    assignments = ", ".join(f"{name} = :{name}" for name in values)
    connection.execute(f"UPDATE runs SET {assignments} WHERE key = :key", values | {"key": key})
    connection.execute("DELETE FROM metrics WHERE key = ?", (key,))
    connection.executemany(
        "INSERT INTO metrics VALUES (?, ?, ?)",
        [(key, name, value) for name, value in result.metrics.items() if math.isfinite(value)],
    )


def sidecar_of(connection: sqlite3.Connection, key: str) -> dict[str, Any]:
    """Everything known of a finished run, as plain JSON with a checksum of its own."""
    row = connection.execute("SELECT * FROM runs WHERE key = ?", (key,)).fetchone()
    members = connection.execute(
        "SELECT * FROM members WHERE key = ? ORDER BY axis, parametrization, size, seed, log2_lr", (key,)
    )
    metrics = connection.execute("SELECT name, value FROM metrics WHERE key = ? ORDER BY name", (key,))
    body = {
        "format": SIDECAR_FORMAT,
        "run": {name: row[name] for name in _NEW} | {"spec": json.loads(row["spec"])},
        "result": {name: row[name] for name in _RESULT},
        "metrics": {item["name"]: item["value"] for item in metrics},
        "members": [{name: item[name] for name in _MEMBER} for item in members],
    }
    return body | {"checksum": content_hash(body)}


def write_sidecar(connection: sqlite3.Connection, folder: Path, key: str) -> None:
    """(Re)write the sidecar of a finished run."""
    text = json.dumps(sidecar_of(connection, key), indent=1, allow_nan=False)
    write_atomically(folder / SIDECARS / f"{key}.json", text.encode())


def read_sidecar(path: Path) -> dict[str, Any]:
    """The content of a sidecar.

    Raises:
        StoreError: It cannot be read, is not ours, or its checksum is wrong.
    """
    try:
        body = json.loads(path.read_bytes())
        checksum = body.pop("checksum")
        if body["format"] == SIDECAR_FORMAT and content_hash(body) == checksum:
            return body
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, AttributeError, TypeError):
        pass
    raise StoreError(f"{path}: it is not an intact sidecar; delete it, and `limes doctor --repair` writes it anew")


def restore(connection: sqlite3.Connection, sidecar: Mapping[str, Any]) -> None:
    """Put a finished run back into the database, unless its result is there."""
    key = sidecar["run"]["key"]
    insert_run(connection, NewRun(**sidecar["run"]))
    assignments = ", ".join(f"{name} = :{name}" for name in _RESULT)
    connection.execute(
        f"UPDATE runs SET {assignments} WHERE key = :key AND curve_sha256 IS NULL", {**sidecar["result"], "key": key}
    )
    connection.executemany(
        "INSERT OR REPLACE INTO metrics VALUES (?, ?, ?)", [(key, *item) for item in sidecar["metrics"].items()]
    )
    for member in sidecar["members"]:
        insert_member(connection, Member(**member))


def forget_checkpoint(connection: sqlite3.Connection, folder: Path, key: str) -> None:
    """Delete the checkpoint of `key`, file and row."""
    row = connection.execute("SELECT file FROM checkpoints WHERE key = ?", (key,)).fetchone()
    if row is not None:
        connection.execute("DELETE FROM checkpoints WHERE key = ?", (key,))
        remove(folder / row["file"])


def _finite(name: str, value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} is {value}; the store takes finite numbers or None, the status says the rest")
    return value
