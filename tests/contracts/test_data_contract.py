"""What every data source keeps: a new one needs a line in `_examples` and nothing else."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from limes.data import SOURCES, DataSource, build_data
from limes.spec.data import (
    ArraysSpec,
    CircleSpec,
    CorpusSpec,
    DigitsSpec,
    GaussianSpec,
    ParquetSpec,
    PowerLawSpec,
    TeacherSpec,
    TextSpec,
    TokensSpec,
)

CONTEXT = 8
BATCH_SIZE = 6


def _write_text(folder: Path) -> None:
    generator = np.random.default_rng(0)
    for name in ("a.txt", "b.txt", "c.txt"):
        # Ten of each printable character: every file has the whole vocabulary.
        (folder / name).write_bytes(bytes(generator.permutation(list(range(32, 127)) * 10).tolist()))


def _write_tokens(folder: Path) -> None:
    generator = np.random.default_rng(1)
    for name, count in (("train.bin", 4000), ("validation.bin", 700)):
        generator.integers(0, 500, count).astype("<u2").tofile(folder / name)


def _write_arrays(folder: Path) -> None:
    generator = np.random.default_rng(2)
    inputs, targets = generator.normal(size=(60, 2, 3, 4)), generator.permutation(np.arange(60) % 3)
    np.savez(folder / "data.npz", inputs=inputs, targets=targets)


def _write_parquet(folder: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    generator = np.random.default_rng(3)
    columns = {
        "age": generator.normal(40, 9, 80),
        "size": generator.integers(0, 10**6, 80),
        "kind": ["x", "y"] * 40,
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "table.parquet")


# name -> (writes the files into a folder, keywords of the spec, class, what changes the content or its split)
_EXAMPLES: dict[str, tuple[Callable[[Path], None], type[Any], dict[str, Any], dict[str, Any]]] = {
    "corpus": (
        lambda folder: None,
        CorpusSpec,
        {"num_bytes": 50_000, "validation_bytes": 5_000},
        {"num_bytes": 50_001},
    ),
    "text": (_write_text, TextSpec, {"paths": ("a.txt", "b.txt", "c.txt")}, {"validation_fraction": 0.6}),
    "tokens": (
        _write_tokens,
        TokensSpec,
        {"path": "train.bin", "validation_path": "validation.bin", "vocab_size": 500},
        {"path": "validation.bin", "validation_path": "train.bin"},
    ),
    "arrays": (_write_arrays, ArraysSpec, {"path": "data.npz"}, {"validation_fraction": 0.25}),
    "parquet": (
        _write_parquet,
        ParquetSpec,
        {"path": "table.parquet", "inputs": ("age", "size"), "target": "kind", "task": "classification"},
        {"inputs": ("size", "age")},
    ),
    "digits": (lambda folder: None, DigitsSpec, {"layout": "image"}, {"num_samples": 1000}),
    "gaussian": (lambda folder: None, GaussianSpec, {}, {"noise_std": 0.1}),
    "power_law": (lambda folder: None, PowerLawSpec, {"num_samples": 100}, {"capacity": 1.25}),
    "teacher": (
        lambda folder: None,
        TeacherSpec,
        {"noise_std": 0.3, "num_outputs": 2},
        {"activation": "erf"},
    ),
    "circle": (lambda folder: None, CircleSpec, {}, {"exponent": 2.5}),
}


@pytest.fixture(params=list(SOURCES))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def _build(name: str, folder: Path, *, seed: int = 0, **changes: Any) -> DataSource:
    write, spec_class, settings, _ = _EXAMPLES[name]
    write(folder)
    context = CONTEXT if name in ("corpus", "text", "tokens") else None
    spec = spec_class(**(settings | changes))
    return build_data(spec, seed=seed, batch_size=BATCH_SIZE, context=context, base_dir=folder)


def _same(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> bool:
    return torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])


def test_examples_cover_the_table() -> None:
    assert list(_EXAMPLES) == list(SOURCES)


def test_batch_depends_on_seed_and_step_alone(name: str, tmp_path: Path) -> None:
    steps = [0, 1, 2, 9, 40, 300, 700]
    forward = _build(name, tmp_path)
    expected = {step: copy.deepcopy(forward.batch(step)) for step in steps}
    backward = _build(name, tmp_path)
    order = [*reversed(steps), 300, 0, 700, 1, 9]
    assert all(_same(backward.batch(step), expected[step]) for step in order)
    assert all(_same(forward.batch(step), expected[step]) for step in order)


def test_batch_survives_a_caller_that_writes_into_it(name: str, tmp_path: Path) -> None:
    source = _build(name, tmp_path)
    expected = copy.deepcopy(source.batch(0))
    for tensor in source.batch(0):
        tensor.zero_()
    assert _same(source.batch(0), expected)


def test_steps_and_seeds_differ(name: str, tmp_path: Path) -> None:
    source, other = _build(name, tmp_path), _build(name, tmp_path, seed=1)
    assert not _same(source.batch(0), source.batch(1))
    assert not _same(source.batch(0), other.batch(0))


def test_validation_and_fingerprint_are_shared_by_seeds(name: str, tmp_path: Path) -> None:
    first, second = _build(name, tmp_path), _build(name, tmp_path, seed=7)
    second.batch(3)
    batches = first.validation()
    assert all(_same(a, b) for a, b in zip(batches, second.validation(), strict=True))
    assert all(_same(a, b) for a, b in zip(batches, first.validation(), strict=True))
    assert len({len(inputs) for inputs, _ in batches}) == 1, "unequal batches would need weights"
    assert first.fingerprint() == second.fingerprint()


def test_fingerprint_follows_content_and_not_the_folder(name: str, tmp_path: Path) -> None:
    folders = tmp_path / "one", tmp_path / "two"
    for folder in folders:
        folder.mkdir()
    first, second = (_build(name, folder).fingerprint() for folder in folders)
    assert first == second
    assert len(first) == 64 and set(first) <= set("0123456789abcdef")
    assert _build(name, tmp_path, **_EXAMPLES[name][3]).fingerprint() != first


def test_no_validation_sample_is_trained_on(name: str, tmp_path: Path) -> None:
    source = _build(name, tmp_path)
    trained = {row.numpy().tobytes() for step in range(60) for row in source.batch(step)[0]}
    held_out = {row.numpy().tobytes() for inputs, _ in source.validation() for row in inputs}
    assert held_out and not trained & held_out


def test_declared_sizes_are_those_of_the_tensors(name: str, tmp_path: Path) -> None:
    source = _build(name, tmp_path)
    for inputs, targets in (source.batch(0), *source.validation()):
        if source.task == "next_token":
            assert source.vocab_size is not None
            assert source.num_inputs is source.input_shape is source.num_outputs is None
            assert inputs.dtype == targets.dtype == torch.int64
            assert inputs.shape == targets.shape == (len(inputs), CONTEXT)
            assert torch.equal(inputs[:, 1:], targets[:, :-1])
            assert min(inputs.min(), targets.min()) >= 0 and max(inputs.max(), targets.max()) < source.vocab_size
            continue
        assert source.vocab_size is None and source.num_outputs is not None
        assert inputs.dtype == torch.float32 and inputs[0].numel() == source.num_inputs
        assert inputs.shape[1:] == (source.input_shape or (source.num_inputs,))
        if source.task == "classification":
            assert targets.dtype == torch.int64 and targets.shape == (len(inputs),)
            assert targets.min() >= 0 and targets.max() < source.num_outputs
        else:
            assert targets.dtype == torch.float32 and targets.shape == (len(inputs), source.num_outputs)
    assert len(source.batch(0)[0]) == BATCH_SIZE


def test_global_generators_are_left_alone(name: str, tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    source = _build(name, tmp_path)
    source.batch(5), source.validation(), source.fingerprint()
    assert torch.equal(torch.random.get_rng_state(), before)
