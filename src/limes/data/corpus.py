"""Built-in text: the documentation topics of the running Python, then its standard library.

Documentation comes first and code last, and the end is held out, so validation is code. The text differs
between Python patch versions: compare losses only under equal fingerprints.
"""

import functools
import importlib
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from limes.core.errors import DataError
from limes.data.hashing import fingerprint_of
from limes.data.sequence import SequenceContent, byte_vocabulary
from limes.spec.data import CorpusSpec

_FIRST_BATCH_SEED = 1000


def load_corpus(spec: CorpusSpec, *, base_dir: Path) -> SequenceContent:
    """The first `num_bytes` ASCII bytes of topics and library, the last `validation_bytes` of them held out.

    Raises:
        DataError: This Python ships without topics or library sources, or they are shorter than asked.
    """
    num_train = spec.num_bytes - spec.validation_bytes
    if num_train < 1:
        raise DataError(
            f"data.validation_bytes = {spec.validation_bytes} leaves no training text of "
            f"data.num_bytes = {spec.num_bytes}; lower it"
        )
    raw = np.frombuffer(corpus_bytes(spec.num_bytes), dtype=np.uint8)
    values, table = byte_vocabulary(raw)
    ids = table[raw]
    train, validation = ids[:num_train], ids[num_train:]
    header = {"kind": "tokens", "vocab_size": len(values)}
    parts = [("vocabulary", values), ("train", train), ("validation", validation)]
    return SequenceContent(
        train=train,
        validation=validation,
        vocab_size=len(values),
        fingerprint=fingerprint_of(header, parts),
        labels=(
            f"data.num_bytes = {spec.num_bytes} less data.validation_bytes = {spec.validation_bytes}",
            f"data.validation_bytes = {spec.validation_bytes}",
        ),
        batch_seed=_batch_seed,
    )


def _batch_seed(seed: int) -> int:
    # Differs from the named streams: the reference losses were measured with these seeds.
    return _FIRST_BATCH_SEED + seed


@functools.lru_cache(maxsize=2)
def corpus_bytes(num_bytes: int) -> bytes:
    """The first `num_bytes` bytes of the built-in text.

    Raises:
        DataError: See `load_corpus`.
    """
    pieces: list[bytes] = []
    total = 0
    for text in _texts():
        # Other characters are dropped, so that one byte is one character everywhere.
        pieces.append(text.encode("ascii", "ignore"))
        total += len(pieces[-1])
        if total >= num_bytes:
            return b"".join(pieces)[:num_bytes]
    raise DataError(f"data.num_bytes = {num_bytes}: this Python's built-in text has only {total} bytes; lower it")


def _texts() -> Iterator[str]:
    topics = _topics()
    yield "\n\n".join(topics[key] for key in sorted(topics))
    library = Path(sysconfig.get_paths()["stdlib"])
    paths = sorted(library.glob("*.py"))
    if not paths:
        raise DataError(
            f'data.source = "corpus": no *.py files in the standard library folder {str(library)!r} '
            f"(compressed or stripped Python?); use a full Python, or "
            'data.source = "text" with files of your own'
        )
    for path in paths:
        try:
            yield path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f'data.source = "corpus": {str(path)!r} cannot be read ({error}); reinstall Python'
            ) from None


def _topics() -> Mapping[str, str]:
    try:
        topics = importlib.import_module("pydoc_data.topics").topics
    except (ImportError, AttributeError):
        topics = None
    if not isinstance(topics, dict) or not topics:
        raise DataError(
            'data.source = "corpus": this Python ships without pydoc_data.topics; use a full Python, or '
            'data.source = "text" with files of your own'
        )
    return topics
