"""A file of finished pieces of work, one line each: a command that is killed goes on where it was."""

import contextlib
import json
import zlib
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

from limes.core.errors import StoreError


class Ledger(MutableMapping[str, Any]):
    """key -> plain JSON, appended line by line with a checksum. A torn or damaged line counts as not there.

    Args:
        path: The file; it and its folder are made with the first entry.

    Raises:
        StoreError: The file cannot be read, or an entry cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries: dict[str, Any] = {}
        try:
            text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        except OSError as error:
            raise StoreError(f"{path}: cannot be read ({error.strerror or error})") from error
        # A line that a crash tore off must not swallow the next one.
        self._torn = bool(text) and not text.endswith("\n")
        for line in text.splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                checksum, _, body = line.partition(" ")
                if int(checksum, 16) == zlib.crc32(body.encode()):
                    entry = json.loads(body)
                    self._entries[entry["key"]] = entry["value"]

    def __getitem__(self, key: str) -> Any:
        return self._entries[key]

    def __setitem__(self, key: str, value: Any) -> None:
        body = json.dumps({"key": key, "value": value})
        line = f"{zlib.crc32(body.encode()):08x} {body}\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write("\n" + line if self._torn else line)
        except OSError as error:
            raise StoreError(
                f"{self.path}: cannot be written ({error.strerror or error}); make space, or give a writable folder"
            ) from error
        self._torn, self._entries[key] = False, value

    def __delitem__(self, key: str) -> None:
        raise StoreError(f"{self.path}: entries are never removed; delete the file")

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
