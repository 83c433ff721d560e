"""Tables of the one SQLite file, how it is opened, and how its troubles become one sentence.

Numbers that may be missing are NULL, never NaN: SQLite turns NaN into NULL silently, so what happened to a run is
said by its status alone.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from limes.core.errors import StoreError

FILE_NAME = "limes.db"
VERSION = 1
BUSY_SECONDS = 60.0

TABLES = """
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE runs (
    key TEXT PRIMARY KEY,
    spec TEXT NOT NULL,
    cost REAL NOT NULL,
    steps INTEGER NOT NULL,
    num_params INTEGER NOT NULL,
    num_tokens INTEGER NOT NULL,
    flops REAL NOT NULL,
    status TEXT NOT NULL DEFAULT 'pending',
    attempts INTEGER NOT NULL DEFAULT 0,
    losses INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    token INTEGER NOT NULL DEFAULT 0,
    loss REAL,
    initial_loss REAL,
    diverged_step INTEGER,
    last_finite_loss REAL,
    cpu_seconds REAL,
    wall_seconds REAL,
    finished_at REAL,
    curve_file TEXT,
    curve_sha256 TEXT
);
CREATE INDEX runs_by_status ON runs (status, cost);
CREATE TABLE leases (
    key TEXT PRIMARY KEY REFERENCES runs (key),
    token INTEGER NOT NULL,
    worker TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    claimed_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    step INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE checkpoints (
    key TEXT PRIMARY KEY REFERENCES runs (key),
    file TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    step INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE metrics (
    key TEXT NOT NULL REFERENCES runs (key),
    name TEXT NOT NULL,
    value REAL NOT NULL,
    PRIMARY KEY (key, name)
) WITHOUT ROWID;
CREATE TABLE members (
    axis TEXT NOT NULL,
    parametrization TEXT NOT NULL,
    size INTEGER NOT NULL,
    seed INTEGER NOT NULL,
    log2_lr REAL NOT NULL,
    key TEXT NOT NULL REFERENCES runs (key),
    PRIMARY KEY (axis, parametrization, size, seed, log2_lr)
) WITHOUT ROWID;
"""

_SENTENCES = {
    sqlite3.SQLITE_FULL: "the disk is full; free some space and run the same command again",
    sqlite3.SQLITE_READONLY: "it cannot be written; make the folder writable, or choose another one",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check that the folder exists and is writable",
    sqlite3.SQLITE_PERM: "access is not permitted; check the owner and the mode of the folder",
    sqlite3.SQLITE_BUSY: f"another process has held it for over {BUSY_SECONDS:.0f} s; end that process and try again",
    sqlite3.SQLITE_LOCKED: "another process holds it; end that process and try again",
    sqlite3.SQLITE_NOTADB: "it is not a SQLite database; `limes doctor --repair` sets it aside and rebuilds it",
    sqlite3.SQLITE_CORRUPT: "it is damaged; `limes doctor --repair` sets it aside and rebuilds it",
    sqlite3.SQLITE_IOERR: "reading or writing it failed; check the disk",
}


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Every complaint of SQLite or of the file system about `path`, as a `StoreError` of one sentence."""
    try:
        yield
    except sqlite3.Error as error:
        code = (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF
        raise StoreError(f"{path}: {_SENTENCES.get(code, f'SQLite says: {error}')}") from error
    except (FileExistsError, NotADirectoryError) as error:
        where = error.filename or path
        raise StoreError(f"{where}: a folder was expected, but a file stands in its way; give another path") from error
    except OSError as error:
        where = error.filename or path
        raise StoreError(f"{where}: {error.strerror or error}; make space or give a writable folder") from error


def connect(folder: Path, *, create: bool = False, read_only: bool = False) -> sqlite3.Connection:
    """Open the database of `folder`.

    Raises:
        StoreError: It is absent (and not to be created), unreadable, not ours, or of another version.
    """
    path = folder / FILE_NAME
    with translated(path):
        if create:
            folder.mkdir(parents=True, exist_ok=True)
        elif not path.is_file():
            raise StoreError(f"{path}: there is no such file; give the folder that an earlier run wrote")
        connection = _open(path, read_only=read_only)
        try:
            _prepare(connection, path, create=create)
        except BaseException:
            connection.close()
            raise
        return connection


def _open(path: Path, *, read_only: bool) -> sqlite3.Connection:
    location = f"file:{_escaped(path)}"
    if not read_only:
        return _connection(f"{location}?mode=rwc")
    connection = _connection(f"{location}?mode=ro")
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        connection.close()
        # A WAL database in a folder without write access needs files that cannot be made there.
        if (error.sqlite_errorcode & 0xFF) not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            raise
        connection = _connection(f"{location}?immutable=1")
    return connection


def _connection(location: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        location, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    connection.row_factory = sqlite3.Row
    return connection


def _escaped(path: Path) -> str:
    text = str(path.resolve())
    for character in "%?#":
        text = text.replace(character, f"%{ord(character):02x}")
    return text


def _prepare(connection: sqlite3.Connection, path: Path, *, create: bool) -> None:
    if create:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        with transaction(connection):
            if not _tables(connection):
                for statement in TABLES.split(";\n"):
                    if statement.strip():
                        connection.execute(statement)
                connection.execute("INSERT INTO meta VALUES ('schema_version', ?)", (str(VERSION),))
    if "meta" not in _tables(connection):
        what = "a SQLite database of something else" if _tables(connection) else "empty"
        raise StoreError(f"{path}: it is {what}; give the folder of a limes run, or `limes doctor --repair` it")
    row = connection.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchone()
    found = row["value"] if row else "none"
    if found != str(VERSION):
        raise StoreError(
            f"{path}: schema version {found}, but this limes reads version {VERSION}; "
            "use the limes that wrote it, or start in a new folder"
        )


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {row["name"] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All or nothing, holding the write lock from the first statement on."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
