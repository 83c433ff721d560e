"""Files beside the database: written whole or not at all, read back only if their checksum agrees."""

import contextlib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from limes.core.errors import StoreError

Array = NDArray[Any]


def write_atomically(path: Path, data: bytes) -> str:
    """Write `data` so that a reader, or a crash at any moment, meets the old file or the new one.

    Returns:
        The SHA-256 of `data`, hexadecimal.

    Raises:
        StoreError: The disk is full, or the folder cannot be written.
    """
    if path.is_dir():
        raise StoreError(f"{path}: is a folder, a file was to be written there; give another path")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StoreError(
            f"{path}: cannot be written ({error.strerror or error}); make space, or give a writable folder"
        ) from error
    return hashlib.sha256(data).hexdigest()


def read_checked(path: Path, sha256: str) -> bytes:
    """The content of `path`.

    Raises:
        StoreError: It is missing, unreadable, or its checksum is not the recorded one.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror or error})") from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise StoreError(
            f"{path}: {len(data)} bytes with checksum {found[:12]}, but {sha256[:12]} was recorded: the file is damaged"
        )
    return data


def pack_arrays(arrays: Mapping[str, Array]) -> bytes:
    """Arrays as the bytes of a safetensors file, in the order of their names."""
    return save({name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)})


def unpack_arrays(data: bytes) -> dict[str, Array]:
    """The inverse of `pack_arrays`.

    Raises:
        StoreError: `data` is not a safetensors file.
    """
    try:
        return load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise StoreError(f"{len(data)} bytes that are not a safetensors file: {error}") from error


def remove(path: Path) -> None:
    """Delete `path` if it is there; what cannot be deleted is left for `doctor`."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
