"""Sources that read files: what they return is what the files hold."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch

from limes.data import build_data
from limes.data.hashing import fingerprint_of
from limes.spec.data import ArraysSpec, ParquetSpec, TextSpec, TokensSpec


def _rows(*parts: torch.Tensor) -> set[bytes]:
    return {row.numpy().tobytes() for part in parts for row in part}


def test_import_loads_neither_sklearn_nor_pyarrow() -> None:
    code = "import sys, limes.data; print([m for m in ('sklearn', 'pyarrow', 'pandas', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_text_is_renumbered_and_split_by_file(tmp_path: Path) -> None:
    contents = {"a": b"dcba" * 9, "b": b"ddee" * 8, "c": b"abab" * 7, "d": b"cde" * 10}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    spec = TextSpec(paths=("a", "b", "c", "d"), validation_fraction=0.5)
    source = build_data(spec, seed=0, batch_size=2, context=4, base_dir=tmp_path)
    letters = np.frombuffer(b"abcde", dtype=np.uint8)
    assert source.vocab_size == 5
    assert letters[source.content.train].tobytes() == contents["a"] + contents["b"]
    assert letters[source.content.validation].tobytes() == contents["c"] + contents["d"]


def test_named_validation_files_are_held_out(tmp_path: Path) -> None:
    for name, content in {"a": b"abc" * 20, "b": b"cba" * 20, "v": b"bca" * 20}.items():
        (tmp_path / name).write_bytes(content)
    spec = TextSpec(paths=("a", "b"), validation_paths=("v",))
    content = build_data(spec, seed=0, batch_size=2, context=4, base_dir=tmp_path).content
    assert len(content.train) == 120 and content.validation.tolist() == [1, 2, 0] * 20


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_tokens_are_mapped_as_written(tmp_path: Path, dtype: str) -> None:
    high = 60_000 if dtype == "uint16" else 100_000
    little_endian = np.dtype(dtype).newbyteorder("<")
    ids = np.random.default_rng(0).integers(0, high, 3000).astype(little_endian)
    ids[:2000].tofile(tmp_path / "t.bin")
    ids[2000:].tofile(tmp_path / "v.bin")
    spec = TokensSpec(path="t.bin", validation_path="v.bin", dtype=dtype, vocab_size=high)
    source = build_data(spec, seed=0, batch_size=16, context=10, base_dir=tmp_path)
    assert isinstance(source.content.train, np.memmap) and source.vocab_size == high
    windows = {ids[start : start + 10].astype(np.int64).tobytes() for start in range(1990)}
    assert all(_rows(source.batch(step)[0]) <= windows for step in range(5))


def test_vocabulary_above_the_dtype_is_allowed(tmp_path: Path) -> None:
    for name, first in (("t.bin", 0), ("v.bin", 65_436)):
        np.arange(first, first + 100, dtype="<u2").tofile(tmp_path / name)
    spec = TokensSpec(path="t.bin", validation_path="v.bin", vocab_size=70_000)
    assert build_data(spec, seed=0, batch_size=2, context=4, base_dir=tmp_path).vocab_size == 70_000


def test_rewritten_file_is_read_again(tmp_path: Path) -> None:
    spec = ArraysSpec(path="d.npz")
    prints = []
    for value in (1.0, 2.0):
        np.savez(tmp_path / "d.npz", inputs=np.full((20, 3), value), targets=np.arange(20.0))
        prints.append(build_data(spec, seed=0, batch_size=2, base_dir=tmp_path).fingerprint())
    assert prints[0] != prints[1]


def test_arrays_keep_pairs_and_split_all_samples(tmp_path: Path) -> None:
    inputs = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", np.asfortranarray(inputs))
    np.save(tmp_path / "y.npy", inputs[:, 0].astype(np.float64))
    spec = ArraysSpec(path="x.npy", targets_path="y.npy", validation_fraction=0.3)
    source = build_data(spec, seed=0, batch_size=35, base_dir=tmp_path)
    assert source.task == "regression" and (source.num_inputs, source.num_outputs) == (3, 1)
    train, held_out = source.batch(0), source.validation()[0]
    assert (len(train[0]), len(held_out[0])) == (35, 15)
    assert _rows(train[0], held_out[0]) == _rows(torch.from_numpy(inputs))
    for x, y in (train, held_out):
        assert torch.equal(x[:, :1], y)


def test_uint8_images_are_standardized_as_a_whole(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (40, 5, 6), dtype=np.uint8)
    np.savez(tmp_path / "d.npz", inputs=pixels, targets=np.arange(40) % 4)
    source = build_data(ArraysSpec(path="d.npz"), seed=0, batch_size=4, base_dir=tmp_path)
    assert source.task == "classification" and source.num_outputs == 4
    assert source.input_shape == (1, 5, 6) and source.num_inputs == 30
    content = source.content
    everything = torch.cat([content.inputs, content.validation_inputs]).double()
    expected = (pixels - pixels.mean()) / pixels.std()
    assert _rows(everything.float()) == _rows(torch.from_numpy(expected.astype(np.float32))[:, None])


def test_parquet_standardizes_on_training_rows_and_numbers_labels(tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    size = generator.normal(1e6, 3.0, 60)
    table = pyarrow.table({"size": size, "flag": size > 1e6, "kind": np.where(size > 1e6, "big", "abig")})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet", row_group_size=7)
    spec = ParquetSpec(path="t.parquet", inputs=("size", "flag"), target="kind", task="classification")
    content = build_data(spec, seed=0, batch_size=4, base_dir=tmp_path).content
    mean, deviation = content.inputs.double().mean(0), content.inputs.double().std(0, correction=0)
    # Rounding to float32 is the only error.
    assert torch.allclose(mean, torch.zeros(2, dtype=torch.float64), atol=2**-23)
    assert torch.allclose(deviation, torch.ones(2, dtype=torch.float64), atol=2**-23)
    for inputs, targets in (
        (content.inputs, content.targets),
        (content.validation_inputs, content.validation_targets),
    ):
        assert torch.equal(targets, (inputs[:, 1] > 0).long()), "sorted names: abig is 0, big is 1"


def test_parquet_dictionary_and_regression(tmp_path: Path) -> None:
    labels = pyarrow.array(["u", "v", "w"] * 10).dictionary_encode()
    table = pyarrow.table({"a": np.arange(30), "y": np.arange(30) * 1e5, "label": labels})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    settings = {"path": "t.parquet", "inputs": ("a",)}
    classes = build_data(
        ParquetSpec(**settings, target="label", task="classification"), seed=0, batch_size=24, base_dir=tmp_path
    )
    assert classes.num_outputs == 3
    regression = build_data(
        ParquetSpec(**settings, target="y", task="regression"), seed=0, batch_size=24, base_dir=tmp_path
    )
    inputs, targets = regression.batch(0)
    assert targets.shape == (24, 1) and torch.allclose(inputs, targets, atol=2**-21)


def test_fingerprint_sees_type_shape_order_and_names() -> None:
    a, b = np.arange(6, dtype=np.int64), np.arange(6, 12, dtype=np.int64)
    prints = [
        fingerprint_of({}, [("x", a), ("y", b)]),
        fingerprint_of({}, [("x", b), ("y", a)]),
        fingerprint_of({}, [("y", a), ("x", b)]),
        fingerprint_of({}, [("x", a.astype(np.int32)), ("y", b)]),
        fingerprint_of({}, [("x", a.reshape(2, 3)), ("y", b)]),
        fingerprint_of({"task": "regression"}, [("x", a), ("y", b)]),
    ]
    assert len(set(prints)) == len(prints)
    assert fingerprint_of({}, [("x", a.astype(">i8")), ("y", b)]) == prints[0]
    assert fingerprint_of({}, [("x", np.arange(12)[::2] // 2), ("y", b)]) == prints[0]
