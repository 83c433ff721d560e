"""Objects of the user's own code by reference: `my_model.py:build` or `package.module:build`; and sizes as text."""

import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from limes.core.errors import LimesError, SpecError


def load_object(reference: str, *, flag: str) -> Any:
    """What a reference names.

    Args:
        reference: `path/to/file.py:name`, or `package.module:name`; dots in the name are followed.
        flag: For error messages.

    Raises:
        SpecError: It is malformed, the file or module cannot be imported, or has no such name.
    """
    place, colon, name = reference.rpartition(":")
    if not colon or not place or not name:
        raise SpecError(f"{flag} {reference!r}: expected my_model.py:name or package.module:name")
    try:
        module = _import_file(Path(place)) if place.endswith(".py") else _import_module(place)
    except SpecError:
        raise
    except Exception as error:
        raise SpecError(f"{flag} {reference!r}: {place} cannot be imported: {type(error).__name__}: {error}") from error
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise SpecError(f"{flag} {reference!r}: {place} has no {name!r}")
        found = getattr(found, part)
    return found


def call_user(function: Callable[..., Any], *args: Any, what: str, **kwargs: Any) -> Any:
    """Call the user's own code; whatever it raises becomes one sentence.

    Raises:
        SpecError: It fails.
    """
    try:
        return function(*args, **kwargs)
    except LimesError:
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        raise SpecError(f"{what} failed: {type(error).__name__}: {reason}") from error


def _import_file(path: Path) -> Any:
    if not path.is_file():
        raise SpecError(f"{path}: there is no such file; give the path of the file that defines your model")
    label = f"limes_user_{path.stem}"
    known = sys.modules.get(label)
    if known is not None and getattr(known, "__file__", None) == str(path.resolve()):
        return known
    spec = importlib.util.spec_from_file_location(label, path.resolve())
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[label] = module  # dataclasses look their module up
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[label]
        raise
    finally:
        sys.path.remove(str(path.resolve().parent))
    return module


def _import_module(name: str) -> Any:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(here)


def parse_size(text: str, *, flag: str) -> Any:
    """A size as text: `256`, `width=256,depth=4`, or a reference to an object such as `my_model.py:small`.

    Raises:
        SpecError: It is none of these.

    >>> parse_size("256", flag="--base"), parse_size("width=256,depth=4", flag="--base")
    (256, {'width': 256, 'depth': 4})
    """
    if re.fullmatch(r"\s*\d+\s*", text):
        return int(text)
    if "=" in text:
        size = {}
        for part in text.split(","):
            key, sign, value = part.partition("=")
            if not sign or not key.strip().isidentifier() or not re.fullmatch(r"\s*\d+\s*", value) or key in size:
                raise SpecError(f"{flag} {text!r}: expected name=whole number, separated by commas, each name once")
            size[key.strip()] = int(value)
        return size
    if ":" in text:
        found = load_object(text, flag=flag)
        return call_user(found, what=f"{flag} {text!r}") if inspect.isfunction(found) else found
    raise SpecError(f"{flag} {text!r}: expected a whole number, width=64,depth=2, or my_model.py:name of a size")


def by_keywords(build: Any, size: Any) -> Any:
    """`build` as a callable of one size; a mapping is passed as keywords where its fields are arguments of `build`."""
    if not isinstance(size, dict):
        return build
    try:
        parameters = inspect.signature(build).parameters.values()
    except (TypeError, ValueError):
        return build
    names = {parameter.name for parameter in parameters}
    if not set(size) <= names and not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return build
    return lambda fields, **more: build(**fields, **more)
