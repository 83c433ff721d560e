"""The built-in text: its bytes, its batches and its validation windows are part of the reference numbers."""

import hashlib
import importlib
import platform
import sys
import sysconfig
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from limes.core.errors import DataError
from limes.data import build_data
from limes.data.corpus import corpus_bytes, load_corpus
from limes.data.sequence import StartSequence, validation_starts
from limes.spec.data import CorpusSpec

# Not open work: the text is the standard library, which differs between patch releases, and one release is recorded.
needs_reference_python = pytest.mark.skipif(
    platform.python_version() != "3.11.7",
    reason=f"the recorded hash is of CPython 3.11.7's text; Python {platform.python_version()} ships another",
)


@pytest.fixture
def fresh_corpus() -> Iterator[None]:
    corpus_bytes.cache_clear()
    yield
    corpus_bytes.cache_clear()


@needs_reference_python
def test_text_is_the_reference_text() -> None:
    raw = corpus_bytes(2_500_000)
    assert hashlib.sha256(raw).hexdigest() == "8a9de81e614826a93197919b4a86451adac79b8a675cd919d4c168bd23d8b509"
    assert len(set(raw)) == 96


def test_split_is_by_position_and_complete() -> None:
    content = load_corpus(CorpusSpec(num_bytes=80_000, validation_bytes=9_000), base_dir=Path())
    values = np.unique(np.frombuffer(corpus_bytes(80_000), dtype=np.uint8))
    assert len(content.train) == 71_000 and content.vocab_size == len(values)
    ids = np.concatenate([content.train, content.validation])
    assert values[ids].tobytes() == corpus_bytes(80_000)


def test_shorter_text_is_a_prefix() -> None:
    assert corpus_bytes(2_000_000).startswith(corpus_bytes(30_000))


@pytest.mark.parametrize("seed", [0, 3])
def test_batches_are_the_reference_draws(seed: int) -> None:
    content = load_corpus(CorpusSpec(), base_dir=Path())
    source = build_data(CorpusSpec(), seed=seed, batch_size=8, context=64)
    generator = torch.Generator().manual_seed(1000 + seed)
    for step in range(600):
        starts = torch.randint(0, 2_440_000 - 65, (8,), generator=generator)
        if step % 100 in (0, 99):
            window = np.stack([content.train[start : start + 65] for start in starts.tolist()])
            inputs, targets = source.batch(step)
            assert np.array_equal(inputs.numpy(), window[:, :-1]) and np.array_equal(targets.numpy(), window[:, 1:])


def test_validation_windows_are_the_reference_windows() -> None:
    content = load_corpus(CorpusSpec(), base_dir=Path())
    first, second = build_data(CorpusSpec(), seed=0, batch_size=8, context=64).validation()
    for (inputs, targets), shift in ((first, 0), (second, 67)):
        assert inputs.shape == (32, 64)
        for j in range(32):
            start = j * 59_934 // 32 + shift
            assert np.array_equal(inputs[j].numpy(), content.validation[start : start + 64])
            assert np.array_equal(targets[j].numpy(), content.validation[start + 1 : start + 65])


@pytest.mark.parametrize("context", [1, 8, 64, 998])
def test_validation_windows_fit_the_smallest_text(context: int) -> None:
    first, second = validation_starts(1_000, context=context)
    assert first[0] == 0 and (second > first).all() and second[-1] + context + 1 <= 1_000


def test_start_sequence_redraws_early_blocks() -> None:
    starts = StartSequence(seed=5, high=10_000, batch_size=4)
    late = starts(1000).clone()
    generator = torch.Generator().manual_seed(5)
    expected = [torch.randint(0, 10_000, (4,), generator=generator) for _ in range(2001)]
    assert torch.equal(late, expected[1000])
    assert all(torch.equal(starts(step), expected[step]) for step in (0, 255, 256, 999, 511, 1000, 3, 2000, 1024, 2))


def test_content_is_shared_within_a_process() -> None:
    first, second = (build_data(CorpusSpec(), seed=seed, batch_size=8, context=64) for seed in (0, 1))
    assert first.content is second.content


@pytest.mark.usefixtures("fresh_corpus")
@pytest.mark.parametrize("topics", [None, types.ModuleType("pydoc_data.topics")])
def test_python_without_topics_is_refused(monkeypatch: pytest.MonkeyPatch, topics: types.ModuleType | None) -> None:
    # None in sys.modules makes the import fail; an empty module has no table.
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", topics)
    with pytest.raises(DataError, match="without pydoc_data"):
        load_corpus(CorpusSpec(), base_dir=Path())


@pytest.mark.usefixtures("fresh_corpus")
def test_compressed_library_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path / "python311.zip")})
    with pytest.raises(DataError, match=r"python311\.zip"):
        load_corpus(CorpusSpec(), base_dir=Path())


@pytest.mark.usefixtures("fresh_corpus")
def test_unreadable_module_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_bytes(b"\xff\xfe")
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    with pytest.raises(DataError, match=r"broken\.py"):
        load_corpus(CorpusSpec(), base_dir=Path())


def test_topics_come_first() -> None:
    topics = importlib.import_module("pydoc_data.topics").topics
    assert corpus_bytes(30_000) == "\n\n".join(topics[key] for key in sorted(topics)).encode("ascii", "ignore")[:30_000]
