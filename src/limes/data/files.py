"""Opening what the user named: every refusal says which field, which path, and what to do."""

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from limes.core.errors import DataError
from limes.spec.data import DataSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class DataFile:
    """A regular, readable, non-empty file.

    Args:
        field: Where the user named it, such as "data.paths[1]".
        name: The path as the user wrote it.
        path: The path as opened.
        identity: Device and inode: equal for a file reached by two names.
        num_bytes: Size.
    """

    field: str
    name: str
    path: Path
    identity: tuple[int, int]
    num_bytes: int

    @property
    def label(self) -> str:
        """How messages call it."""
        return f"{self.field} = {self.name!r}"

    def read_bytes(self) -> bytes:
        """The whole content."""
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise DataError(f"{self.label}: cannot be read ({error.strerror}); check its permissions") from None


def open_file(name: str, *, field: str, base_dir: Path) -> DataFile:
    """Check that `name`, relative to `base_dir`, is a regular file with content that can be read.

    Raises:
        DataError: It is missing, a folder, a device, empty or unreadable.
    """
    label = f"{field} = {name!r}"
    path = base_dir / name
    try:
        info = path.stat()
    except FileNotFoundError:
        raise DataError(
            f"{label}: no such file in {str(base_dir)!r}; paths are relative to the folder of the study file"
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{label}: not a usable path ({reason}); correct it") from None
    if stat.S_ISDIR(info.st_mode):
        raise DataError(f"{label}: is a folder, expected a file; name the files in it one by one")
    if not stat.S_ISREG(info.st_mode):
        raise DataError(f"{label}: is not a regular file; copy its content into one")
    if info.st_size == 0:
        raise DataError(f"{label}: is empty (0 bytes); name a file with content")
    if not os.access(path, os.R_OK):
        raise DataError(f"{label}: cannot be read (permission denied); check its permissions")
    return DataFile(field=field, name=name, path=path, identity=(info.st_dev, info.st_ino), num_bytes=info.st_size)


def refuse_overlap(files: Sequence[DataFile], contents: Sequence[bytes | memoryview]) -> None:
    """Refuse two entries that are one file, or two files of equal content.

    Raises:
        DataError: Names both.
    """
    by_identity: dict[tuple[int, int], DataFile] = {}
    by_content: dict[bytes, DataFile] = {}
    for file, content in zip(files, contents, strict=True):
        if (other := by_identity.setdefault(file.identity, file)) is not file:
            raise DataError(f"{other.label} and {file.label} are the same file; name each file once")
        digest = hashlib.sha256(content).digest()
        if (other := by_content.setdefault(digest, file)) is not file:
            raise DataError(f"{other.label} and {file.label} have identical content; remove one of them")


def versions(spec: DataSpec, base_dir: Path) -> tuple[tuple[int, ...], ...]:
    """Identity, size and times of every file that `spec` names; empty for a file that is not there."""
    names: list[str] = []
    for field in ("path", "targets_path", "validation_path", "paths", "validation_paths"):
        value = getattr(spec, field, None) or ()
        names.extend([value] if isinstance(value, str) else value)
    return tuple(_version(base_dir / name) for name in names)


def _version(path: Path) -> tuple[int, ...]:
    try:
        info = path.stat()
    except (OSError, ValueError):
        return ()
    return (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)
