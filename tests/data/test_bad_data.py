"""Bad data: each case is refused with one sentence that names the field, the file and the value."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from limes.core.errors import DataError
from limes.data import build_data
from limes.data.digits import _bundled
from limes.spec.data import (
    ArraysSpec,
    CorpusSpec,
    DataSpec,
    DigitsSpec,
    GaussianSpec,
    ParquetSpec,
    PowerLawSpec,
    TextSpec,
    TokensSpec,
)

TEXT = b"the quick brown fox jumps over the lazy dog, again and again\n"
PAIR = {"inputs": np.arange(40.0).reshape(20, 2), "targets": np.arange(20) % 2}
COLUMNS: dict[str, Any] = {"a": [float(i) for i in range(10)], "b": [0, 1] * 5, "label": ["u", "v"] * 5}


@dataclass(frozen=True, kw_only=True)
class Case:
    """Files to write, a spec that names them, and what the sentence must contain."""

    spec: DataSpec
    expect: tuple[str, ...]
    files: dict[str, bytes] = field(default_factory=dict)
    write: Callable[[Path], None] = lambda folder: None
    batch_size: int = 4
    context: int | None = None


def _text(*expect: str, files: dict[str, bytes], context: int | None = 8, **settings: Any) -> Case:
    return Case(spec=TextSpec(**settings), files=files, expect=expect, context=context)


def _tokens(
    *expect: str, train: np.ndarray | bytes, validation: np.ndarray | bytes | None = None, **settings: Any
) -> Case:
    validation = np.arange(90, 190, dtype="<u2") if validation is None else validation
    contents = {"t.bin": train, "v.bin": validation}
    files = {name: c if isinstance(c, bytes) else c.tobytes() for name, c in contents.items()}
    settings = {"path": "t.bin", "validation_path": "v.bin", "vocab_size": 200} | settings
    return Case(spec=TokensSpec(**settings), files=files, expect=expect, context=8)


def _arrays(*expect: str, arrays: dict[str, Any] | None = None, **settings: Any) -> Case:
    def write(folder: Path) -> None:
        content = PAIR | (arrays or {})
        np.savez(folder / "d.npz", **{name: value for name, value in content.items() if value is not None})
        np.save(folder / "x.npy", PAIR["inputs"])
        np.save(folder / "y.npy", PAIR["targets"])

    return Case(spec=ArraysSpec(**({"path": "d.npz"} | settings)), write=write, expect=expect)


def _array_bytes(*expect: str, name: str, content: bytes, **settings: Any) -> Case:
    return Case(spec=ArraysSpec(path=name, **settings), files={name: content}, expect=expect)


def _parquet(*expect: str, columns: dict[str, Any] | None = None, **settings: Any) -> Case:
    def write(folder: Path) -> None:
        pyarrow.parquet.write_table(pyarrow.table(COLUMNS | (columns or {})), folder / "t.parquet")

    defaults = {"path": "t.parquet", "inputs": ("a", "b"), "target": "label", "task": "classification"}
    return Case(spec=ParquetSpec(**(defaults | settings)), write=write, expect=expect)


def _changed(array: np.ndarray, index: tuple[int, ...], value: float) -> np.ndarray:
    array = array.astype(float)
    array[index] = value
    return array


def _npz_bytes() -> bytes:
    import io

    buffer = io.BytesIO()
    np.savez_compressed(buffer, **PAIR)
    return buffer.getvalue()


def _flip(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :]


def _npy_header(shape: tuple[int, ...]) -> bytes:
    header = repr({"descr": "<f8", "fortran_order": False, "shape": shape}).encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


def _links(folder: Path) -> None:
    (folder / "a.txt").write_bytes(TEXT)
    (folder / "soft.txt").symlink_to("a.txt")
    (folder / "hard.txt").hardlink_to(folder / "a.txt")
    (folder / "loop.txt").symlink_to("loop.txt")
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")


IDS = np.arange(100, dtype="<u2")
CASES: dict[str, Case] = {
    # Paths, the same for every source that opens files.
    "missing": _text("data.paths[1]", "'no.txt'", "no such file", files={"a.txt": TEXT}, paths=("a.txt", "no.txt")),
    "missing folder": _tokens("data.path", "'x/t.bin'", "no such file", train=IDS, path="x/t.bin"),
    "missing validation": _tokens("data.validation_path", "'w.bin'", train=IDS, validation_path="w.bin"),
    "missing targets": _arrays("data.targets_path", "'z.npy'", path="x.npy", targets_path="z.npy"),
    "missing parquet": _parquet("data.path", "'u.parquet'", "no such file", path="u.parquet"),
    "empty name": _text("data.paths[0]", "''", "is a folder", files={}, paths=("", "b.txt")),
    "zero in name": _text("data.paths[0]", "null", files={}, paths=("a\0b", "b.txt")),
    "name too long": _text("data.paths[0]", "too long", files={}, paths=("a" * 300, "b.txt")),
    "part is a file": _text(
        "data.paths[0]", "'a.txt/b'", "not a usable path", files={"a.txt": TEXT}, paths=("a.txt/b", "a.txt")
    ),
    "folder": Case(
        spec=TextSpec(paths=("a.txt", "folder")),
        write=_links,
        context=8,
        expect=("data.paths[1]", "is a folder"),
    ),
    "pipe": Case(
        spec=TextSpec(paths=("a.txt", "pipe")),
        write=_links,
        context=8,
        expect=("data.paths[1]", "not a regular file"),
    ),
    "circular link": Case(
        spec=TextSpec(paths=("a.txt", "loop.txt")),
        write=_links,
        context=8,
        expect=("data.paths[1]", "'loop.txt'"),
    ),
    "empty text": _text("data.paths[1]", "0 bytes", files={"a.txt": TEXT, "b.txt": b""}, paths=("a.txt", "b.txt")),
    "empty tokens": _tokens("data.path = 't.bin'", "0 bytes", train=b""),
    "empty npz": _array_bytes("data.path = 'e.npz'", "0 bytes", name="e.npz", content=b""),
    # Text.
    "one file": _text("data.paths[0] = 'a.txt'", "split by file", files={"a.txt": TEXT}, paths=("a.txt",)),
    "named twice": _text(
        "data.paths[0]", "data.paths[1]", "same file", files={"a.txt": TEXT}, paths=("a.txt", "a.txt")
    ),
    "named twice by another route": _text(
        "data.paths[0] = 'a.txt'", "'./a.txt'", "same file", files={"a.txt": TEXT}, paths=("a.txt", "./a.txt")
    ),
    "soft link": Case(
        spec=TextSpec(paths=("a.txt",), validation_paths=("soft.txt",)),
        write=_links,
        context=8,
        expect=("data.paths[0] = 'a.txt'", "data.validation_paths[0] = 'soft.txt'", "same file"),
    ),
    "hard link": Case(
        spec=TextSpec(paths=("a.txt",), validation_paths=("hard.txt",)),
        write=_links,
        context=8,
        expect=("data.paths[0] = 'a.txt'", "data.validation_paths[0] = 'hard.txt'", "same file"),
    ),
    "in both sets": _text(
        "data.paths[0] = 'a.txt'",
        "data.validation_paths[0] = 'a.txt'",
        "same file",
        files={"a.txt": TEXT},
        paths=("a.txt",),
        validation_paths=("a.txt",),
    ),
    "copy in both sets": _text(
        "data.paths[1] = 'b.txt'",
        "data.validation_paths[0] = 'c.txt'",
        "identical content",
        files={"a.txt": TEXT, "b.txt": TEXT * 2, "c.txt": TEXT * 2},
        paths=("a.txt", "b.txt"),
        validation_paths=("c.txt",),
    ),
    "byte outside the vocabulary": _text(
        "data.validation_paths[0] = 'b.txt'",
        "0xe9",
        "offset 61",
        files={"a.txt": TEXT * 2, "b.txt": TEXT + b"\xe9"},
        paths=("a.txt",),
        validation_paths=("b.txt",),
    ),
    "one byte value": _text(
        "data.paths[0] = 'a.txt'",
        "0x61",
        files={"a.txt": b"a" * 90, "b.txt": b"a" * 80},
        paths=("a.txt", "b.txt"),
    ),
    "training text too short": _text(
        "data.paths[0] = 'a.txt'",
        "9 tokens",
        "at least 10",
        files={"a.txt": TEXT[:9], "b.txt": TEXT[:9] * 3},
        paths=("a.txt",),
        validation_paths=("b.txt",),
    ),
    "validation text too short": _text(
        "data.paths[1] = 'b.txt'",
        "3 tokens",
        "at least 10",
        files={"a.txt": TEXT, "b.txt": b"the"},
        paths=("a.txt", "b.txt"),
    ),
    "fraction without effect": _text(
        "data.validation_fraction = 0.5",
        "data.validation_paths",
        files={"a.txt": TEXT, "b.txt": TEXT * 2},
        paths=("a.txt",),
        validation_paths=("b.txt",),
        validation_fraction=0.5,
    ),
    "text without a context": _text(
        'data.source = "text"',
        "use a transformer",
        files={"a.txt": TEXT, "b.txt": TEXT * 2},
        context=None,
        paths=("a.txt", "b.txt"),
    ),
    # Tokens.
    "odd size": _tokens("data.path = 't.bin'", "201 bytes", "multiple of the 2", train=IDS.tobytes() + b"x"),
    "odd size of uint32": _tokens("202 bytes", "multiple of the 4", train=IDS.tobytes() + b"xx", dtype="uint32"),
    "id beyond the vocabulary": _tokens(
        "data.path = 't.bin'",
        "token id 150 at index 99",
        "byte offset 198",
        "= 150",
        train=IDS + 51,
        vocab_size=150,
    ),
    "validation id beyond the vocabulary": _tokens(
        "data.validation_path = 'v.bin'",
        "token id 200 at index 3",
        train=IDS,
        validation=np.arange(197, 300, dtype="<u2"),
    ),
    "wrong dtype": _tokens("token id 65536", "'uint32'", train=IDS, validation=IDS[:98] + 1, dtype="uint32"),
    "train is validation": _tokens("same file", "data.validation_path = 't.bin'", train=IDS, validation_path="t.bin"),
    "train equals validation": _tokens("identical content", "'t.bin'", "'v.bin'", train=IDS, validation=IDS),
    "tokens too few": _tokens("data.path = 't.bin'", "9 tokens", "context 8", train=IDS[:9]),
    "validation tokens too few": _tokens(
        "data.validation_path = 'v.bin'", "5 tokens", "context 8", train=IDS, validation=IDS[:5]
    ),
    # Arrays.
    "nan input": _arrays(
        "data.path = 'd.npz'",
        "inputs[3, 1] = nan",
        arrays={"inputs": _changed(PAIR["inputs"], (3, 1), np.nan)},
    ),
    "infinite target": _arrays(
        "'targets'", "targets[7] = -inf", arrays={"targets": _changed(PAIR["targets"], (7,), -np.inf)}
    ),
    "beyond float32": _arrays(
        "inputs[0, 0] = 1e+300", "float32", arrays={"inputs": _changed(PAIR["inputs"], (0, 0), 1e300)}
    ),
    "lengths differ": _arrays("(20, 2)", "(19,)", "same number of samples", arrays={"targets": PAIR["targets"][:19]}),
    "missing key": _arrays("data.inputs_key = 'x'", "'inputs', 'targets'", inputs_key="x"),
    "missing targets key": _arrays("data.targets_key = 'targets'", "has 'inputs'", arrays={"targets": None}),
    "equal keys": _arrays("data.inputs_key", "'targets'", "two different", inputs_key="targets"),
    "objects": _arrays("data.inputs_key = 'inputs'", "dtype object", arrays={"inputs": np.array([{}] * 20)}),
    "text array": _arrays("dtype <U1", "not real numbers", arrays={"inputs": np.array([["a", "b"]] * 20)}),
    "complex array": _arrays("complex128", "not real numbers", arrays={"inputs": PAIR["inputs"] * 1j}),
    "scalar": _arrays("shape ()", "first axis", arrays={"inputs": np.float64(3)}),
    "vector inputs": _arrays("shape (20,)", "reshape", arrays={"inputs": np.arange(20.0)}),
    "five axes": _arrays("shape (20, 1, 1, 1, 1)", arrays={"inputs": np.zeros((20, 1, 1, 1, 1))}),
    "no columns": _arrays("shape (20, 0)", "no axis empty", arrays={"inputs": np.zeros((20, 0))}),
    "channels last": _arrays("shape (20, 8, 8, 3)", "moveaxis", arrays={"inputs": np.zeros((20, 8, 8, 3))}),
    "constant pixels": _arrays("all inputs are 7", arrays={"inputs": np.full((20, 3, 3), 7, dtype=np.uint8)}),
    "no samples": _arrays("0 samples", arrays={"inputs": np.zeros((0, 2)), "targets": np.zeros(0)}),
    "one sample": _arrays("1 samples", arrays={"inputs": np.zeros((1, 2)), "targets": np.zeros(1)}),
    "nothing to validate on": _arrays("data.validation_fraction = 0.01", "0 for validation", validation_fraction=0.01),
    "negative class": _arrays("targets[1] = -1", "renumber", arrays={"targets": -(np.arange(20) % 2)}),
    "one class": _arrays("all targets are 0", arrays={"targets": np.zeros(20, dtype=int)}),
    "class gap": _arrays("no sample of class 1", arrays={"targets": np.arange(20) % 2 * 2}),
    "huge class": _arrays("targets[4] = 1000000", arrays={"targets": np.where(np.arange(20) == 4, 10**6, 0)}),
    "one-hot integers": _arrays("shape (20, 2)", "must be (N,)", arrays={"targets": np.eye(2, dtype=int)[[0, 1] * 10]}),
    "three axes of targets": _arrays("shape (20, 1, 1)", arrays={"targets": np.zeros((20, 1, 1))}),
    "npz with targets_path": _arrays("data.targets_path = 'y.npy'", "holds both", targets_path="y.npy"),
    "npy without targets_path": _arrays("data.path = 'x.npy'", "data.targets_path", path="x.npy"),
    "npy twice": _arrays("same file", "data.targets_path = 'x.npy'", path="x.npy", targets_path="x.npy"),
    "key of an npy": _arrays("data.inputs_key = 'x'", "no effect", path="x.npy", targets_path="y.npy", inputs_key="x"),
    "other suffix": _array_bytes("data.path = 'd.csv'", "'.csv'", name="d.csv", content=b"1,2\n"),
    "not an archive": _array_bytes("data.path = 'd.npz'", "not a readable", name="d.npz", content=b"hello there"),
    "cut archive": _array_bytes("data.path = 'd.npz'", "not a readable", name="d.npz", content=_npz_bytes()[:-30]),
    "flipped byte": _array_bytes(
        "data.path = 'd.npz'", "not a readable", name="d.npz", content=_flip(_npz_bytes(), 90)
    ),
    "array in an archive's name": _array_bytes("single array", name="d.npz", content=_npy_header((2,)) + bytes(16)),
    "lying header": Case(
        spec=ArraysSpec(path="x.npy", targets_path="y.npy"),
        files={"x.npy": _npy_header((10**15, 2)), "y.npy": b"y"},
        expect=("data.path = 'x.npy'", "not a readable"),
    ),
    "archive in an array's name": Case(
        spec=ArraysSpec(path="x.npy", targets_path="y.npy"),
        files={"x.npy": _npz_bytes(), "y.npy": b"y"},
        expect=("data.path = 'x.npy'", "is an archive"),
    ),
    # Parquet.
    "not parquet": Case(
        spec=ParquetSpec(path="p.parquet", inputs=("a",), target="b", task="regression"),
        files={"p.parquet": b"a,b\n1,2\n"},
        expect=("data.path = 'p.parquet'", "not a readable Parquet"),
    ),
    "missing column": _parquet("column 'z'", "'a', 'b', 'label'", inputs=("a", "z")),
    "missing target column": _parquet("column 'z'", "no such column", target="z"),
    "repeated column": _parquet("data.inputs[1] = 'a'", "twice", inputs=("a", "a")),
    "target among inputs": _parquet("data.inputs[1] = 'label'", "data.target", inputs=("a", "label")),
    "text input": _parquet("data.inputs[0] = 'label'", "string values", inputs=("label",), target="b"),
    "null": _parquet("data.inputs[0] = 'a'", "row 2 is null", columns={"a": [0.5, 1.5, None, *[2.0] * 7]}),
    "nan in a column": _parquet("data.inputs[0] = 'a'", "row[4] = nan", columns={"a": [1.0] * 4 + [np.nan] * 6}),
    "constant column": _parquet("data.inputs[0] = 'a'", "is 0.1 in all", columns={"a": [0.1] * 10}),
    "one label": _parquet("data.target = 'label'", "'u'", columns={"label": ["u"] * 10}),
    "real labels": _parquet("data.target = 'a'", "double", target="a", inputs=("b",)),
    "text regression": _parquet("data.target = 'label'", "string values", task="regression"),
    "no rows": _parquet("0 rows", columns={"a": [], "b": [], "label": []}),
    # Sizes that do not fit.
    "batch beyond samples": Case(
        spec=GaussianSpec(num_samples=10),
        batch_size=11,
        expect=("training.batch_size = 11", "10 training samples"),
    ),
    "batch beyond digits": Case(
        spec=DigitsSpec(num_samples=100),
        batch_size=128,
        expect=("training.batch_size = 128", "100", "digits"),
    ),
    "too many digits": Case(spec=DigitsSpec(num_samples=1500), expect=("data.num_samples = 1500", "1438")),
    "no batch": Case(spec=GaussianSpec(), batch_size=0, expect=("training.batch_size = 0",)),
    "no context": Case(
        spec=CorpusSpec(num_bytes=20_000, validation_bytes=2_000), context=0, expect=("model.context = 0",)
    ),
    "context for vectors": Case(spec=GaussianSpec(), context=64, expect=('"gaussian"', "model.context = 64")),
    "corpus without training text": Case(
        spec=CorpusSpec(num_bytes=10_000, validation_bytes=10_000),
        context=8,
        expect=("data.validation_bytes = 10000", "data.num_bytes = 10000"),
    ),
    "corpus beyond the library": Case(
        spec=CorpusSpec(num_bytes=10**9), context=8, expect=("data.num_bytes = 1000000000", "lower it")
    ),
    "context beyond the corpus": Case(
        spec=CorpusSpec(num_bytes=20_000, validation_bytes=1_000),
        context=1_000,
        expect=("data.validation_bytes = 1000", "1002"),
    ),
    "spectrum too steep": Case(
        spec=PowerLawSpec(num_inputs=1000, capacity=20),
        expect=("data.capacity = 20.0", "data.num_inputs = 1000"),
    ),
}


def _check(message: str, expect: tuple[str, ...]) -> None:
    assert all(part in message for part in expect), message
    assert "\n" not in message and not message.endswith("."), message
    assert len(message) < 500, message


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_bad_data_is_refused_in_one_sentence(case: Case, tmp_path: Path) -> None:
    for name, content in case.files.items():
        (tmp_path / name).write_bytes(content)
    case.write(tmp_path)
    with pytest.raises(DataError) as caught:
        build_data(case.spec, seed=0, batch_size=case.batch_size, context=case.context, base_dir=tmp_path)
    _check(str(caught.value), case.expect)


def test_unreadable_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Root reads everything, so the permission is taken away in the answer of the system call.
    (tmp_path / "a.txt").write_bytes(TEXT)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(DataError) as caught:
        build_data(TextSpec(paths=("a.txt",)), seed=0, batch_size=4, context=8, base_dir=tmp_path)
    _check(str(caught.value), ("data.paths[0] = 'a.txt'", "permission denied"))


def test_reading_fails_half_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(path: Path) -> bytes:
        raise OSError(5, "Input/output error")

    (tmp_path / "a.txt").write_bytes(TEXT)
    (tmp_path / "b.txt").write_bytes(TEXT * 2)
    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(DataError) as caught:
        build_data(TextSpec(paths=("a.txt", "b.txt")), seed=0, batch_size=4, context=8, base_dir=tmp_path)
    _check(str(caught.value), ("data.paths[0] = 'a.txt'", "Input/output error"))


@pytest.mark.parametrize("module", ["sklearn.datasets", "pyarrow"])
def test_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: str) -> None:
    (tmp_path / "t.parquet").write_bytes(b"x")
    spec: DataSpec = DigitsSpec(validation_fraction=0.5)
    if module == "pyarrow":
        spec = ParquetSpec(path="t.parquet", inputs=("a",), target="b", task="regression")
    monkeypatch.setitem(sys.modules, module, None)
    _bundled.cache_clear()
    with pytest.raises(DataError) as caught:
        build_data(spec, seed=0, batch_size=4, base_dir=tmp_path)
    _check(str(caught.value), (spec.source, 'pip install "limes[data]"'))
