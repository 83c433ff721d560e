"""The base of all specs: frozen, strict about unknown fields, hashable by content."""

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """A frozen, validated description. It has no behaviour; other packages act on it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, every default written out."""
        return self.model_dump(mode="json")


def content_hash(value: Any, *, length: int = 20) -> str:
    """Hash of JSON-like content, independent of key order; floats enter by their shortest exact text.

    >>> content_hash({"a": 1, "b": 0.1}) == content_hash({"b": 0.1, "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]
