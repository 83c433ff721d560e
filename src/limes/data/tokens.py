"""Token ids in flat little-endian binary files, memory-mapped."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from limes.core.errors import DataError
from limes.data.files import DataFile, open_file, refuse_overlap
from limes.data.hashing import fingerprint_of
from limes.data.sequence import SequenceContent
from limes.spec.data import TokensSpec

_DTYPES: Mapping[str, np.dtype[Any]] = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}
_CHUNK_TOKENS = 1 << 22


def load_tokens(spec: TokensSpec, *, base_dir: Path) -> SequenceContent:
    """Two files of ids, read through once per process to check and hash them, then mapped.

    Raises:
        DataError: A file cannot be used, has an id outside the vocabulary, or training is validation.
    """
    dtype = _DTYPES[spec.dtype]
    files = [
        open_file(spec.path, field="data.path", base_dir=base_dir),
        open_file(spec.validation_path, field="data.validation_path", base_dir=base_dir),
    ]
    train, validation = (_map(file, dtype) for file in files)
    refuse_overlap(files, (train.data, validation.data))
    for file, ids in zip(files, (train, validation), strict=True):
        _refuse_ids_beyond(file, ids, vocab_size=spec.vocab_size)
    header = {"kind": "tokens", "vocab_size": spec.vocab_size}
    return SequenceContent(
        train=train,
        validation=validation,
        vocab_size=spec.vocab_size,
        fingerprint=fingerprint_of(header, [("train", train), ("validation", validation)]),
        labels=(files[0].label, files[1].label),
    )


def _map(file: DataFile, dtype: np.dtype[Any]) -> np.ndarray:
    if file.num_bytes % dtype.itemsize:
        raise DataError(
            f"{file.label}: {file.num_bytes} bytes are not a multiple of the {dtype.itemsize} bytes of "
            f"data.dtype = {dtype.name!r}; the file is cut off or has another dtype"
        )
    try:
        return np.memmap(file.path, dtype=dtype, mode="r")
    except OSError as error:
        raise DataError(f"{file.label}: cannot be mapped ({error.strerror}); check its permissions") from None


def _refuse_ids_beyond(file: DataFile, ids: np.ndarray, *, vocab_size: int) -> None:
    for start in range(0, len(ids), _CHUNK_TOKENS):
        beyond = ids[start : start + _CHUNK_TOKENS] >= vocab_size
        if beyond.any():
            index = start + int(beyond.argmax())
            raise DataError(
                f"{file.label}: token id {int(ids[index])} at index {index} "
                f"(byte offset {index * ids.itemsize}) is not below "
                f"data.vocab_size = {vocab_size}; raise it, or check data.dtype = {ids.dtype.name!r}"
            )
