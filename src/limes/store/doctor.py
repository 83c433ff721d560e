"""Is the store sound? Every disagreement between database, sidecars and files, in a sentence; and its repair."""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from limes.core.errors import StoreError
from limes.core.status import RunStatus
from limes.store import leases, results
from limes.store.files import read_checked, remove, write_atomically
from limes.store.records import Finding
from limes.store.schema import FILE_NAME, connect, transaction, translated
from limes.store.store import STUDY_FILE

_DAMAGE, _DEBRIS, _NOTE = "damage", "debris", "note"


def doctor(folder: Path, *, repair: bool = False) -> list[Finding]:
    """Check the store of `folder`; with `repair`, put right what can be.

    Repairs never invent a result: a run whose curves are lost goes back to the queue, and a lost database is rebuilt
    from the sidecars, which carry their own checksums.

    Raises:
        StoreError: There is nothing to check, or a repair cannot be written.
    """
    path = folder / FILE_NAME
    if not path.exists() and not (folder / STUDY_FILE).exists():
        raise StoreError(f"{folder}: neither {FILE_NAME} nor {STUDY_FILE} is there; give the folder of a limes run")
    findings = _database(folder, repair=repair)
    if findings and not findings[-1].repaired:
        return findings
    connection = connect(folder, read_only=not repair)
    try:
        with translated(path):
            for check in _CHECKS:
                findings += check(connection, folder, repair)
    finally:
        connection.close()
    return findings


def _database(folder: Path, *, repair: bool) -> list[Finding]:
    path = folder / FILE_NAME
    try:
        connection = connect(folder, read_only=True)
        try:
            with translated(path):
                verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        finally:
            connection.close()
        if verdict == "ok":
            return []
        problem = f"{path}: SQLite's own check says: {verdict}"
    except StoreError as error:
        problem = str(error)
    if repair:
        _rebuild(folder)
        return [Finding(severity=_DAMAGE, sentence=f"{problem}; rebuilt from the sidecars", repaired=True)]
    return [Finding(severity=_DAMAGE, sentence=problem)]


def _rebuild(folder: Path) -> None:
    path = folder / FILE_NAME
    with translated(path):
        stamp = time.strftime("%Y%m%d-%H%M%S")
        for name in (FILE_NAME, f"{FILE_NAME}-wal", f"{FILE_NAME}-shm"):
            if (folder / name).exists():
                (folder / name).rename(folder / f"{name}.damaged-{stamp}")
    connection = connect(folder, create=True)
    try:
        with translated(path), transaction(connection):
            study = folder / STUDY_FILE
            if study.is_file():
                connection.execute("INSERT INTO meta VALUES ('study', ?)", (study.read_text(),))
            token = 0
            for sidecar in _intact_sidecars(folder):
                results.restore(connection, sidecar)
                token = max(token, results.token_of(sidecar["result"]["curve_file"]))
            # Tokens must keep growing: a worker of the lost database may still be alive.
            connection.execute("INSERT INTO meta VALUES ('last_token', ?)", (str(token + 1000),))
    finally:
        connection.close()


def _intact_sidecars(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted((folder / results.SIDECARS).glob("*.json")):
        try:
            sidecar = results.read_sidecar(path)
            read_checked(folder / sidecar["result"]["curve_file"], sidecar["result"]["curve_sha256"])
        except StoreError:
            continue
        yield sidecar


def _check_study(connection: sqlite3.Connection, folder: Path, repair: bool) -> list[Finding]:
    row = connection.execute("SELECT value FROM meta WHERE name = 'study'").fetchone()
    path = folder / STUDY_FILE
    if row is None:
        return [Finding(severity=_NOTE, sentence=f"{folder}: the store holds no study yet")]
    try:
        kept = json.loads(row["value"])
    except ValueError:
        return [_mend_study(connection, path, repair)]
    try:
        if json.loads(path.read_bytes()) == kept:
            return []
        problem = f"{path}: differs from the study in the database, which counts"
    except (OSError, ValueError):
        problem = f"{path}: missing or unreadable; the database has the study"
    if repair:
        write_atomically(path, row["value"].encode())
    return [Finding(severity=_DEBRIS, sentence=problem, repaired=repair)]


def _mend_study(connection: sqlite3.Connection, path: Path, repair: bool) -> Finding:
    """The study in the database is damaged: take the file's, if that can be read."""
    problem = "the study in the database is not readable"
    try:
        text = path.read_text()
        json.loads(text)
    except (OSError, ValueError):
        return Finding(severity=_DAMAGE, sentence=f"{problem}, and neither is {path}; the study is lost")
    if repair:
        with transaction(connection):
            connection.execute("UPDATE meta SET value = ? WHERE name = 'study'", (text,))
    return Finding(severity=_DAMAGE, sentence=f"{problem}; {path} has it", repaired=repair)


def _check_leases(connection: sqlite3.Connection, folder: Path, repair: bool) -> list[Finding]:
    connection.execute("BEGIN IMMEDIATE" if repair else "BEGIN")
    stale = leases.stale(connection, time.time())
    if repair:
        for key in stale:
            leases.lose_run(connection, key)
    connection.execute("COMMIT")
    return [
        Finding(severity=_NOTE, sentence=f"run {key}: its worker is gone; it goes back to the queue", repaired=repair)
        for key in stale
    ]


def _check_curves(connection: sqlite3.Connection, folder: Path, repair: bool) -> list[Finding]:
    findings = []
    rows = connection.execute("SELECT key, curve_file, curve_sha256 FROM runs WHERE curve_file IS NOT NULL").fetchall()
    for row in rows:
        try:
            read_checked(folder / row["curve_file"], row["curve_sha256"])
        except StoreError as error:
            if repair:
                with transaction(connection):
                    connection.execute(
                        "UPDATE runs SET status = ?, curve_file = NULL, curve_sha256 = NULL, loss = NULL WHERE key = ?",
                        (RunStatus.PENDING.value, row["key"]),
                    )
                remove(folder / results.SIDECARS / f"{row['key']}.json")
                remove(folder / row["curve_file"])
            sentence = f"{error}; with --repair run {row['key']} is queued to be done again"
            findings.append(Finding(severity=_DAMAGE, sentence=sentence, repaired=repair))
    return findings


def _check_sidecars(connection: sqlite3.Connection, folder: Path, repair: bool) -> list[Finding]:
    findings = []
    keys = [row["key"] for row in connection.execute("SELECT key FROM runs WHERE curve_file IS NOT NULL")]
    for key in keys:
        path = folder / results.SIDECARS / f"{key}.json"
        try:
            found = results.read_sidecar(path)
        except StoreError as error:
            sentence = str(error)
        else:
            if found == {k: v for k, v in results.sidecar_of(connection, key).items() if k != "checksum"}:
                continue
            sentence = f"{path}: differs from the database, which counts"
        if repair:
            with transaction(connection):
                results.write_sidecar(connection, folder, key)
        findings.append(Finding(severity=_DEBRIS, sentence=sentence, repaired=repair))
    known = set(keys)
    for sidecar in _intact_sidecars(folder):
        if (key := sidecar["run"]["key"]) not in known:
            if repair:
                with transaction(connection):
                    results.restore(connection, sidecar)
            sentence = f"run {key}: its sidecar has a result that the database lacks"
            findings.append(Finding(severity=_DAMAGE, sentence=sentence, repaired=repair))
    return findings


def _check_checkpoints(connection: sqlite3.Connection, folder: Path, repair: bool) -> list[Finding]:
    findings = []
    for row in connection.execute("SELECT key, file, sha256 FROM checkpoints").fetchall():
        try:
            read_checked(folder / row["file"], row["sha256"])
        except StoreError as error:
            if repair:
                with transaction(connection):
                    results.forget_checkpoint(connection, folder, row["key"])
            sentence = f"{error}; run {row['key']} will start from its beginning"
            findings.append(Finding(severity=_DAMAGE, sentence=sentence, repaired=repair))
    return findings


def _check_files(connection: sqlite3.Connection, folder: Path, repair: bool) -> list[Finding]:
    if connection.execute("SELECT 1 FROM leases").fetchone():
        return []  # A live worker may be writing just now.
    known = {row["curve_file"] for row in connection.execute("SELECT curve_file FROM runs")}
    known |= {row["file"] for row in connection.execute("SELECT file FROM checkpoints")}
    findings = []
    for part in (results.CURVES, results.CHECKPOINTS, results.SIDECARS):
        for path in sorted((folder / part).iterdir()) if (folder / part).is_dir() else []:
            name = f"{part}/{path.name}"
            if name in known or (part == results.SIDECARS and path.suffix == ".json"):
                continue
            if repair:
                remove(path)
            sentence = f"{path}: nothing refers to it (left by a killed worker)"
            findings.append(Finding(severity=_DEBRIS, sentence=sentence, repaired=repair))
    return findings


def _check_quarantine(connection: sqlite3.Connection, folder: Path, repair: bool) -> list[Finding]:
    rows = connection.execute("SELECT key, attempts, error FROM runs WHERE status = ?", (RunStatus.QUARANTINED.value,))
    return [
        Finding(severity=_NOTE, sentence=f"run {row['key']}: in quarantine; last error: {_last_line(row['error'])}")
        for row in rows
    ]


def _last_line(text: str | None) -> str:
    lines = (text or "none noted").strip().splitlines()
    return lines[-1] if lines else "none noted"


_Check = Callable[[sqlite3.Connection, Path, bool], list[Finding]]
_CHECKS: tuple[_Check, ...] = (
    _check_study,
    _check_leases,
    _check_curves,
    _check_sidecars,
    _check_checkpoints,
    _check_files,
    _check_quarantine,
)
