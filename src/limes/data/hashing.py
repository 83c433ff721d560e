"""The fingerprint of data: a hash over content, with the shape and type of each part."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import numpy as np

_CHUNK_BYTES = 1 << 24


def fingerprint_of(header: dict[str, Any], parts: Iterable[tuple[str, np.ndarray]]) -> str:
    """Hash of a description and of named arrays, each with its dtype and shape, in the order given.

    >>> a = np.zeros(4, dtype=np.uint8)
    >>> fingerprint_of({}, [("train", a)]) == fingerprint_of({}, [("train", a.reshape(2, 2))])
    False
    """
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name, array in parts:
        digest.update(f"\n{name} {array.dtype.newbyteorder('<').str} {list(array.shape)}\n".encode())
        flat = array.reshape(-1)
        step = max(1, _CHUNK_BYTES // array.itemsize)
        for start in range(0, len(flat), step):
            digest.update(flat[start : start + step].astype(array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()
