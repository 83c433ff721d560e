"""Where batches come from: one file per source, one table, one function that builds.

>>> from limes.spec.data import GaussianSpec
>>> source = build_data(GaussianSpec(num_inputs=3), seed=0, batch_size=2)
>>> inputs, targets = source.batch(0)
>>> tuple(inputs.shape), tuple(targets.shape)
((2, 3), (2, 1))
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from limes.core.errors import DataError
from limes.data.arrays import load_arrays
from limes.data.circle import load_circle
from limes.data.corpus import load_corpus
from limes.data.digits import load_digits
from limes.data.files import versions
from limes.data.gaussian import load_gaussian
from limes.data.parquet import load_parquet
from limes.data.power_law import load_power_law
from limes.data.samples import SampleContent, SampleSource
from limes.data.sequence import SequenceContent, SequenceSource
from limes.data.source import Batch, DataSource, Task
from limes.data.synthetic import OnlineContent, OnlineSource
from limes.data.teacher import load_teacher
from limes.data.text import load_text
from limes.data.tokens import load_tokens
from limes.spec.data import DataSpec

__all__ = ["SOURCES", "Batch", "Content", "DataSource", "Task", "build_data"]

Content = SequenceContent | SampleContent | OnlineContent

# load(spec, base_dir=folder) -> content: reads, checks and splits what the spec names; same for all seeds.
SOURCES: Mapping[str, Callable[..., Content]] = {
    "corpus": load_corpus,
    "text": load_text,
    "tokens": load_tokens,
    "arrays": load_arrays,
    "parquet": load_parquet,
    "digits": load_digits,
    "gaussian": load_gaussian,
    "power_law": load_power_law,
    "teacher": load_teacher,
    "circle": load_circle,
}


def build_data(
    spec: DataSpec, *, seed: int, batch_size: int, context: int | None = None, base_dir: Path | None = None
) -> DataSource:
    """The data of one run. Content is read and checked once per process and shared by later runs.

    Args:
        spec: Which source, and its settings.
        seed: The run's seed; it decides the batches and nothing else.
        batch_size: Samples, or windows, per batch.
        context: Tokens per window; needed by token sources and refused by the others.
        base_dir: Folder that relative paths start from (the study file's); the current one by default.

    Raises:
        DataError: The content cannot be used, or does not fit the batch size or the context.
    """
    if batch_size < 1:
        raise DataError(f"training.batch_size = {batch_size}, expected at least 1")
    folder = (base_dir or Path()).absolute()
    content = _load(spec, folder, versions(spec, folder))
    if isinstance(content, SequenceContent):
        if context is None:
            raise DataError(
                f'data.source = "{spec.source}" has token sequences, which this model cannot read; use a transformer'
            )
        if context < 1:
            raise DataError(f"model.context = {context}, expected at least 1")
        return SequenceSource(content, seed=seed, batch_size=batch_size, context=context)
    if context is not None:
        raise DataError(
            f'data.source = "{spec.source}" has no token sequences for model.context = {context}; '
            "use a text source, or a model of vectors or images"
        )
    if isinstance(content, OnlineContent):
        return OnlineSource(content, seed=seed, batch_size=batch_size)
    return SampleSource(content, seed=seed, batch_size=batch_size)


# The versions of the files are part of the key, so that a rewritten file is read again.
@functools.lru_cache(maxsize=2)
def _load(spec: Any, folder: Path, _versions: tuple[tuple[int, ...], ...]) -> Content:
    return SOURCES[spec.source](spec, base_dir=folder)
