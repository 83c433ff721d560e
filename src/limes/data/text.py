"""Text files read as bytes, split by file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from limes.core.errors import DataError
from limes.data.files import DataFile, open_file, refuse_overlap
from limes.data.hashing import fingerprint_of
from limes.data.sequence import SequenceContent, byte_vocabulary
from limes.spec.data import TextSpec


def load_text(spec: TextSpec, *, base_dir: Path) -> SequenceContent:
    """Files joined in the order given; the vocabulary is the set of byte values of the training files.

    Windows may span two files of one side; no file is on both sides.

    Raises:
        DataError: A file cannot be used, stands twice, or validation has a byte that training never shows.
    """
    files, held_out = _split(spec, base_dir)
    contents = [file.read_bytes() for file in files + held_out]
    refuse_overlap(files + held_out, contents)
    train = np.frombuffer(b"".join(contents[: len(files)]), dtype=np.uint8)
    values, table = byte_vocabulary(train)
    if len(values) < 2:
        raise DataError(
            f"{files[0].label}: the training text repeats the one byte 0x{int(values[0]):02x}; "
            "name files with at least two different bytes"
        )
    known = np.zeros(256, dtype=bool)
    known[values] = True
    for file, content in zip(held_out, contents[len(files) :], strict=True):
        _refuse_unknown_bytes(file, np.frombuffer(content, dtype=np.uint8), known)
    train = table[train]
    validation = table[np.frombuffer(b"".join(contents[len(files) :]), dtype=np.uint8)]
    header = {"kind": "tokens", "vocab_size": len(values)}
    return SequenceContent(
        train=train,
        validation=validation,
        vocab_size=len(values),
        fingerprint=fingerprint_of(header, [("vocabulary", values), ("train", train), ("validation", validation)]),
        labels=(_label(files), _label(held_out)),
    )


def _split(spec: TextSpec, base_dir: Path) -> tuple[list[DataFile], list[DataFile]]:
    files = _open_all(spec.paths, field="data.paths", base_dir=base_dir)
    held_out = _open_all(spec.validation_paths, field="data.validation_paths", base_dir=base_dir)
    default = TextSpec.model_fields["validation_fraction"].default
    if not held_out:
        if len(files) < 2:
            raise DataError(
                f"{files[0].label}: one file cannot be split by file; name more files or give data.validation_paths"
            )
        count = min(len(files) - 1, max(1, round(len(files) * spec.validation_fraction)))
        return files[:-count], files[-count:]
    if spec.validation_fraction != default:
        raise DataError(
            f"data.validation_fraction = {spec.validation_fraction} has no effect beside "
            "data.validation_paths; remove one of them"
        )
    return files, held_out


def _label(files: Sequence[DataFile]) -> str:
    return " and ".join(file.label for file in files) if len(files) < 3 else f"{files[0].label} to {files[-1].label}"


def _open_all(names: Sequence[str], *, field: str, base_dir: Path) -> list[DataFile]:
    return [open_file(name, field=f"{field}[{i}]", base_dir=base_dir) for i, name in enumerate(names)]


def _refuse_unknown_bytes(file: DataFile, content: np.ndarray, known: np.ndarray) -> None:
    unknown = ~known[content]
    if unknown.any():
        offset = int(unknown.argmax())
        raise DataError(
            f"{file.label}: byte 0x{int(content[offset]):02x} at offset {offset} occurs in no training file, "
            "so the model has no token for it; add training text that has it, or remove it"
        )
