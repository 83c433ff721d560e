"""TOML <-> spec. Every complaint names the file and the field, says what was got, and fits in one sentence."""

import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from limes.core.errors import SpecError
from limes.spec.base import Spec
from limes.spec.study import StudySpec

AnySpec = TypeVar("AnySpec", bound=Spec)

MAX_BYTES = 1_000_000
MAX_COMPLAINTS = 4
# Fields that are unions of specs, told apart by a tag.
TAGGED = ("model", "data")


def load_study(path: Path, *, settings: Sequence[str] = ()) -> StudySpec:
    """Read and validate a study.

    Args:
        path: A TOML file.
        settings: Overrides such as `training.steps=100`, or `panels.0.sizes=[32, 64]`; values are TOML.

    Raises:
        SpecError: The file cannot be read, is not TOML, or a field is wrong.
    """
    return parse_study(_read_toml(path), name=str(path), settings=settings)


def parse_study(content: Mapping[str, Any], *, name: str, settings: Sequence[str] = ()) -> StudySpec:
    """Validate a study given as plain data; `name` is how messages call it."""
    return parse_spec(StudySpec, content, name=name, settings=settings)


def load_spec(kind: type[AnySpec], path: Path, *, settings: Sequence[str] = ()) -> AnySpec:
    """Read and validate a spec of any kind; as `load_study`."""
    return parse_spec(kind, _read_toml(path), name=str(path), settings=settings)


def parse_spec(kind: type[AnySpec], content: Mapping[str, Any], *, name: str, settings: Sequence[str] = ()) -> AnySpec:
    """Validate a spec of any kind given as plain data; `name` is how messages call it."""
    plain: dict[str, Any] = json.loads(json.dumps(content, default=str))
    for setting in settings:
        _apply_setting(plain, setting)
    try:
        return kind.model_validate(plain)
    except ValidationError as error:
        raise SpecError(_sentence(error, name)) from None


def study_diff(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Unified diff of two studies, one setting per line; empty when they are equal.

    >>> print(study_diff({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}}))
    - b.c = 2
    + b.c = 3
    """
    lines = difflib.unified_diff(_flat_lines(old), _flat_lines(new), lineterm="", n=0)
    changed = [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    return "\n".join(f"{line[0]} {line[1:]}" for line in changed)


def _read_toml(path: Path) -> dict[str, Any]:
    if path.exists() and not path.is_file():
        raise SpecError(f"{path}: is no regular file; give the path of a study in TOML")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({error.strerror}); give the path of a study in TOML") from None
    if len(data) > MAX_BYTES:
        raise SpecError(f"{path}: {len(data)} bytes; a study has at most {MAX_BYTES}: is this the right file?")
    try:
        return tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SpecError(f"{path}: is not valid TOML: {error}") from None


def _apply_setting(content: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise SpecError(f"--set {setting!r}: expected key=value, such as training.steps=100")
    try:
        content_of_line = tomllib.loads(f"value = {text}")
        if content_of_line.keys() != {"value"}:
            raise SpecError(f"--set {setting!r}: expected one value; give one --set for each setting")
        value = content_of_line["value"]
    except tomllib.TOMLDecodeError:
        if not text.replace("_", "a").replace("-", "a").replace(".", "a").replace("/", "a").isalnum():
            raise SpecError(f"--set {setting!r}: {text!r} is not a TOML value") from None
        value = text
    place: Any = content
    for part in parts[:-1]:
        place = _child(place, part, setting)
    if isinstance(place, list):
        place[_index(place, parts[-1], setting)] = value
    elif isinstance(place, dict):
        place[parts[-1]] = value
    else:
        raise SpecError(f"--set {setting!r}: {'.'.join(parts[:-1])} is {place!r}, which has no fields")


def _child(place: Any, part: str, setting: str) -> Any:
    if isinstance(place, list):
        return place[_index(place, part, setting)]
    if isinstance(place, dict):
        return place.setdefault(part, {})
    raise SpecError(f"--set {setting!r}: there is nothing named {part} inside {place!r}")


def _index(place: list[Any], part: str, setting: str) -> int:
    if not (part.isascii() and part.isdecimal() and int(part) < len(place)):
        raise SpecError(f"--set {setting!r}: {part!r} is not an index of a list of {len(place)}")
    return int(part)


def _sentence(error: ValidationError, name: str) -> str:
    found = error.errors(include_url=False)
    # A list whose entries are all wrong is also called too short.
    inner = {problem["loc"][:depth] for problem in found for depth in range(len(problem["loc"]))}
    problems = [complaint(one) for one in found if not (one["type"] == "too_short" and one["loc"] in inner)]
    more = [f"and {len(problems) - MAX_COMPLAINTS} more"] if len(problems) > MAX_COMPLAINTS else []
    return f"{name}: " + "; ".join(problems[:MAX_COMPLAINTS] + more)


def complaint(problem: Mapping[str, Any]) -> str:
    """One wrong field in words: where, what was expected, what was got."""
    place, kind, context = list(problem["loc"]), problem["type"], problem.get("ctx", {})
    if len(place) > 1 and place[0] in TAGGED:
        # Pydantic puts the chosen member of the union into the path; the file has no such level.
        del place[1]
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    got = f" (got {_short(problem['input'])})"
    if kind in ("missing", "value_error"):
        got = ""
    if kind == "extra_forbidden":
        message = "there is no such field; check its spelling"
    elif kind == "too_short":
        message, got = f"expected {context['min_length']} or more entries, got {context['actual_length']}", ""
    elif kind == "union_tag_invalid":
        place.append(context["discriminator"].strip("'"))
        message, got = f"expected one of {context['expected_tags'].replace(chr(39), '')}", f" (got {context['tag']!r})"
    elif kind == "union_tag_not_found":
        place.append(context["discriminator"].strip("'"))
        message, got = "is missing; `limes show` lists the names", ""
    field = ".".join(str(part) for part in place) or "study"
    return f"{field}: {message[:1].lower()}{message[1:]}{got}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _flat_lines(content: Any, prefix: str = "") -> list[str]:
    if isinstance(content, Mapping):
        return [
            line for key in content for line in _flat_lines(content[key], f"{prefix}.{key}" if prefix else str(key))
        ]
    if isinstance(content, list) and any(isinstance(item, Mapping) for item in content):
        return [line for i, item in enumerate(content) for line in _flat_lines(item, f"{prefix}.{i}")]
    return [f"{prefix} = {json.dumps(content)}"]
