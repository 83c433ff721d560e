"""What a refusal looks like: one clear sentence."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def one_sentence(error: type[Exception] | tuple[type[Exception], ...], words: str) -> Iterator[None]:
    """What stands inside raises `error` with one line that holds `words`, a regular expression."""
    with pytest.raises(error, match=words) as caught:
        yield
    assert "\n" not in str(caught.value)
