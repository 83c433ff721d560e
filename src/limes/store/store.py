"""The store of one study: a SQLite file for everything small, checksummed files beside it for everything large.

Executed at least once, recorded exactly once: a result is written, and its lease ended, in one transaction that the
holder of the newest fencing token alone can make.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from limes.core.errors import SpecError, StoreError
from limes.core.status import RunStatus
from limes.spec.io import study_diff
from limes.store import leases, results
from limes.store.export import export_rows
from limes.store.files import Array, pack_arrays, read_checked, remove, unpack_arrays, write_atomically
from limes.store.query import progress_of, sweep_rows
from limes.store.records import Claim, Member, NewRun, Progress, RunResult, SweepRow
from limes.store.schema import FILE_NAME, connect, transaction, translated

STUDY_FILE = "study.json"
LEASE_S = 120.0


class Store:
    """Runs of one study on disk. Make it with `create` or `open`; use it as a context manager, in one thread."""

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        self.folder = folder
        self._connection = connection

    @classmethod
    def create(cls, folder: Path) -> Self:
        """Open the store of `folder`, making folder and database where they are absent.

        Raises:
            StoreError: The folder cannot be written, or holds something else.
        """
        return cls(folder, connect(folder, create=True))

    @classmethod
    def open(cls, folder: Path, *, read_only: bool = False) -> Self:
        """Open an existing store.

        Raises:
            StoreError: There is none, or it cannot be read.
        """
        return cls(folder, connect(folder, read_only=read_only))

    def close(self) -> None:
        """Close the database; the last one to do so folds the write-ahead log into the file."""
        with translated(self.folder / FILE_NAME):
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with translated(self.folder / FILE_NAME), transaction(self._connection) as connection:
            yield connection

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        with translated(self.folder / FILE_NAME):
            yield self._connection

    # -- the study -------------------------------------------------------------------------------------------------

    def freeze(self, study: Mapping[str, Any]) -> None:
        """Fix the study of this store; a second call must bring the same one.

        Raises:
            SpecError: The store holds another study; the message shows the difference.
        """
        with self._write() as connection:
            row = connection.execute("SELECT value FROM meta WHERE name = 'study'").fetchone()
            if row is None:
                text = json.dumps(study, allow_nan=False)
                connection.execute("INSERT INTO meta VALUES ('study', ?)", (text,))
                write_atomically(self.folder / STUDY_FILE, text.encode())
                return
        # Once through JSON, so that tuples and lists compare equal.
        if difference := study_diff(json.loads(row["value"]), json.loads(json.dumps(study))):
            raise SpecError(
                f"{self.folder}: it was started with another study, and results of the two must not mix; "
                f"choose another folder, or undo these changes:\n{difference}"
            )

    def study(self) -> dict[str, Any]:
        """The frozen study.

        Raises:
            StoreError: None has been frozen.
        """
        text = self.note("study")
        if text is None:
            raise StoreError(f"{self.folder}: it holds no study; start one with `limes sweep` or `limes transfer`")
        try:
            return json.loads(text)
        except ValueError:
            raise StoreError(
                f"{self.folder / FILE_NAME}: the study in it is not readable; `limes doctor --repair` takes it from "
                f"{STUDY_FILE}, if that is whole"
            ) from None

    def set_note(self, name: str, value: str) -> None:
        """Keep a line of provenance (versions, base folder, ...)."""
        with self._write() as connection:
            connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def note(self, name: str) -> str | None:
        """A line of provenance; None if it was never set."""
        with self._read() as connection:
            row = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else row["value"]

    @property
    def base_dir(self) -> Path | None:
        """The folder that relative paths of the study start from; None if it was never noted."""
        note = self.note("base_dir")
        return Path(note) if note else None

    # -- what is to be done ----------------------------------------------------------------------------------------

    def add_runs(self, runs: Sequence[NewRun]) -> int:
        """Add the runs that are not there yet; returns how many were new."""
        with self._write() as connection:
            return sum(results.insert_run(connection, run) for run in runs)

    def add_members(self, members: Sequence[Member]) -> int:
        """Add the members that are not there yet; returns how many were new. Their runs must be there.

        Raises:
            StoreError: A member is there with another run.
        """
        with self._write() as connection:
            new = [member for member in members if results.insert_member(connection, member)]
            for key in {member.key for member in new}:
                if self._has_result(connection, key):
                    results.write_sidecar(connection, self.folder, key)
            return len(new)

    # -- leases ----------------------------------------------------------------------------------------------------

    def claim(self, worker: str, *, lease_s: float = LEASE_S) -> Claim | None:
        """Take the costliest run that nobody holds; None if there is none."""
        with self._write() as connection:
            return leases.claim_run(connection, worker, lease_s=lease_s)

    def heartbeat(self, claim: Claim, *, step: int, lease_s: float = LEASE_S) -> bool:
        """Prolong the lease and tell the step reached; False if the lease is lost (stop working on it)."""
        with self._write() as connection:
            return leases.extend(connection, claim.key, claim.token, lease_s=lease_s, step=step)

    def record(self, claim: Claim, result: RunResult) -> bool:
        """Write a result and end the lease, together; False, and nothing written, if the lease is lost.

        Raises:
            StoreError: Disk full, folder not writable, ...; nothing has been recorded then.
        """
        name = results.file_name(results.CURVES, claim.key, claim.token)
        sha256 = write_atomically(self.folder / name, pack_arrays(result.curve))
        with self._write() as connection:
            held = leases.holds(connection, claim.key, claim.token)
            if held:
                results.insert_result(connection, claim.key, result, curve_file=name, curve_sha256=sha256)
                leases.drop(connection, claim.key)
                results.write_sidecar(connection, self.folder, claim.key)
                results.forget_checkpoint(connection, self.folder, claim.key)
        if not held:
            remove(self.folder / name)
        return held

    def fail(self, claim: Claim, error: str) -> RunStatus | None:
        """Count a failed try and end the lease; the third puts the run into quarantine. None if the lease is lost."""
        with self._write() as connection:
            if not leases.holds(connection, claim.key, claim.token):
                return None
            return leases.fail_run(connection, claim.key, error)

    def release(self, claim: Claim) -> bool:
        """Give an unfinished run back, without counting a try; False if the lease was lost already."""
        with self._write() as connection:
            if not leases.holds(connection, claim.key, claim.token):
                return False
            leases.drop(connection, claim.key)
            connection.execute("UPDATE runs SET status = ? WHERE key = ?", (RunStatus.PENDING.value, claim.key))
            return True

    def release_worker(self, worker: str, *, error: str | None = None) -> int:
        """Give back what a dead worker held; with `error` its end is a failed try. Returns how many runs."""
        with self._write() as connection:
            return leases.release_worker(connection, worker, error=error)

    def release_stale(self) -> int:
        """Give back the runs whose lease ran out or whose process (on this machine) is gone; returns how many."""
        with self._write() as connection:
            return leases.release_stale(connection)

    def retry_quarantined(self) -> int:
        """Put quarantined runs back into the queue with their tries forgotten; returns how many."""
        with self._write() as connection:
            cursor = connection.execute(
                "UPDATE runs SET status = ?, attempts = 0, losses = 0 WHERE status = ?",
                (RunStatus.PENDING.value, RunStatus.QUARANTINED.value),
            )
            return cursor.rowcount

    # -- checkpoints -----------------------------------------------------------------------------------------------

    def save_checkpoint(self, claim: Claim, data: bytes, *, step: int) -> bool:
        """Keep the state of an unfinished run; False, and nothing kept, if the lease is lost."""
        name = results.file_name(results.CHECKPOINTS, claim.key, claim.token)
        sha256 = write_atomically(self.folder / name, data)
        with self._write() as connection:
            held = leases.holds(connection, claim.key, claim.token)
            if held:
                results.forget_checkpoint(connection, self.folder, claim.key)
                connection.execute("INSERT INTO checkpoints VALUES (?, ?, ?, ?)", (claim.key, name, sha256, step))
        if not held:
            remove(self.folder / name)
        return held

    def load_checkpoint(self, key: str) -> bytes | None:
        """The newest checkpoint of `key`; None if there is none.

        Raises:
            StoreError: Its file is missing or its checksum is wrong: start the run from its beginning.
        """
        with self._read() as connection:
            row = connection.execute("SELECT file, sha256 FROM checkpoints WHERE key = ?", (key,)).fetchone()
        return None if row is None else read_checked(self.folder / row["file"], row["sha256"])

    # -- reading ---------------------------------------------------------------------------------------------------

    def rows(self) -> list[SweepRow]:
        """The result table: one row per member of a panel, ordered."""
        with self._read() as connection:
            return sweep_rows(connection)

    def spec(self, key: str) -> dict[str, Any]:
        """The resolved settings of a run, as plain JSON."""
        with self._read() as connection:
            row = connection.execute("SELECT spec FROM runs WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise StoreError(f"{self.folder}: there is no run {key}; `limes status` lists them")
        return json.loads(row["spec"])

    def metrics(self, key: str) -> dict[str, float]:
        """Further scalars of a finished run."""
        with self._read() as connection:
            rows = connection.execute("SELECT name, value FROM metrics WHERE key = ? ORDER BY name", (key,))
            return {row["name"]: row["value"] for row in rows}

    def curve(self, key: str) -> dict[str, Array]:
        """The arrays of a finished run.

        Raises:
            StoreError: The run is not finished, or the file is missing or damaged.
        """
        with self._read() as connection:
            row = connection.execute("SELECT curve_file, curve_sha256 FROM runs WHERE key = ?", (key,)).fetchone()
        if row is None or row["curve_file"] is None:
            raise StoreError(f"{self.folder}: run {key} has no curves yet; it is not finished")
        return unpack_arrays(read_checked(self.folder / row["curve_file"], row["curve_sha256"]))

    def progress(self) -> Progress:
        """How far the work is."""
        with self._read() as connection:
            return progress_of(connection)

    def version(self) -> int:
        """A number that changes whenever another process has written; cheap enough to ask often."""
        with self._read() as connection:
            return connection.execute("PRAGMA data_version").fetchone()[0]

    def export(self, path: Path) -> None:
        """Write the result table as .csv, .json or .parquet."""
        export_rows(self.rows(), path)

    @staticmethod
    def _has_result(connection: sqlite3.Connection, key: str) -> bool:
        row = connection.execute("SELECT curve_file FROM runs WHERE key = ?", (key,)).fetchone()
        return row is not None and row["curve_file"] is not None
