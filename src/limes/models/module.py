"""Networks of the user's own: a function in a Python file, read as text, so that a run's key covers what it trains.

The text is executed as a module of its own name; the file is not imported, and may change or vanish while runs last.
"""

import ast
import inspect
import json
import linecache
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from limes.core.errors import SpecError
from limes.spec.base import content_hash
from limes.spec.model import ModuleSpec

MAX_BYTES = 1_000_000
# The program itself: no run's key holds its version, the provenance of a study does.
_PROGRAM = frozenset({"limes", "torch"})
_SIZES = ("width", "depth", "context", "vocab_size", "num_inputs", "input_shape", "num_outputs")


def read_source(build: str, *, base_dir: Path | None) -> tuple[str, dict[str, str]]:
    """Text of the file that `build` names, and the versions of the installed packages that it imports.

    Args:
        build: "file.py:function".
        base_dir: Where a relative path starts; the working directory by default.

    Raises:
        SpecError: The file cannot be read or parsed, or imports what no key can cover: a file beside it, or a package
            without a version that stands for its content.
    """
    path = (base_dir or Path()) / build.rpartition(":")[0]
    try:
        data = path.read_bytes()
        source = data.decode()
        tree = ast.parse(source)
    except OSError as error:
        raise SpecError(
            f"model.build {build!r}: {path} cannot be read ({error.strerror}); give file.py:function"
        ) from None
    except (UnicodeDecodeError, SyntaxError, ValueError) as error:
        raise SpecError(f"model.build {build!r}: {path} is not Python: {error}") from None
    if len(data) > MAX_BYTES:
        raise SpecError(
            f"model.build {build!r}: {len(data)} bytes; a file of at most {MAX_BYTES} is kept with each run"
        )
    names = sorted(set(_imports(tree, build)) - _PROGRAM - sys.stdlib_module_names)
    return source, {name: _version(name, build) for name in names}


def _imports(tree: ast.Module, build: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise SpecError(f"model.build {build!r} has a relative import, which no run's key covers; use one file")
            yield str(node.module).partition(".")[0]


def _version(name: str, build: str) -> str:
    for candidate in dict.fromkeys((name, *metadata.packages_distributions().get(name, ()))):
        try:
            distribution = metadata.distribution(candidate)
        except metadata.PackageNotFoundError:
            continue
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
        if not origin.get("dir_info", {}).get("editable", False):
            return distribution.version
        raise SpecError(
            f"model.build {build!r} imports {name!r}, an editable installation, whose content can change under the "
            "same version; install it properly, or put what is needed into the file"
        )
    raise SpecError(
        f"model.build {build!r} imports {name!r}, which is no installed package: its content cannot enter the key of a "
        "run; put what is needed into the file"
    )


def build_module(spec: ModuleSpec, *, generator: torch.Generator | None) -> nn.Module:
    """Call the user's function with the sizes and arguments that it asks for.

    Args:
        spec: Filled in.
        generator: Decides the random numbers of the constructor; None leaves them to the global generator.

    Raises:
        SpecError: The file or its function fails, or asks for what is not there.
    """
    function = _function(spec.build, spec.source)
    arguments = _arguments(function, spec)
    try:
        if generator is None:
            model = function(**arguments)
        else:
            with torch.random.fork_rng(devices=[]):
                torch.random.default_generator.set_state(generator.get_state())
                model = function(**arguments)
    except Exception as error:
        raise SpecError(f"model.build {spec.build!r} failed: {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise SpecError(f"model.build {spec.build!r} returned {type(model).__name__}, expected a torch.nn.Module")
    return model


@lru_cache(maxsize=16)
def _function(build: str, source: str | None) -> Callable[..., Any]:
    if source is None:
        raise SpecError(f"model.build {build!r} has not been read yet; it must be filled in before the model is built")
    path, _, name = build.rpartition(":")
    module = ModuleType(f"limes_build_{content_hash(source)}")
    module.__file__ = f"<{path} {module.__name__}>"
    # Dataclasses look their module up, and tracebacks their lines.
    sys.modules[module.__name__] = module
    linecache.cache[module.__file__] = (len(source), None, source.splitlines(keepends=True), module.__file__)
    try:
        exec(compile(source, module.__file__, "exec"), module.__dict__)
    except Exception as error:
        raise SpecError(f"model.build {build!r} failed on import: {type(error).__name__}: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise SpecError(f"model.build {build!r}: {path} has no function {name!r}")
    return function


def _arguments(function: Callable[..., Any], spec: ModuleSpec) -> dict[str, Any]:
    offered = {name: getattr(spec, name) for name in _SIZES}
    offered = {name: value for name, value in offered.items() if value is not None}
    twice = sorted(spec.arguments.keys() & set(_SIZES))
    if twice:
        raise SpecError(f"model.arguments has {twice[0]!r}, which is a field of the model itself; set model.{twice[0]}")
    offered |= spec.arguments
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return offered
    unknown = [name for name in spec.arguments if name not in parameters]
    if unknown:
        raise SpecError(f"model.arguments has {unknown[0]!r}, which {spec.build!r} does not take")
    for name, parameter in parameters.items():
        needed = parameter.default is parameter.empty and parameter.kind is not parameter.VAR_POSITIONAL
        if needed and name not in offered:
            known = ", ".join(offered)
            raise SpecError(f"{spec.build!r} needs {name!r}, but there is only {known}; give it in model.arguments")
    return {name: value for name, value in offered.items() if name in parameters}


def check_module(spec: ModuleSpec, inputs: Tensor, *, outputs: tuple[int, ...]) -> None:
    """Refuse a network that the training loop could not train reproducibly, before any run.

    Args:
        spec: Filled in.
        inputs: A batch of the data.
        outputs: Shape that the outputs must have.

    Raises:
        SpecError: It fails on the data, its outputs have another shape, or its forward pass draws random numbers.
    """
    model = build_module(spec, generator=torch.Generator().manual_seed(0)).train()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        before = torch.get_rng_state()
        try:
            found = model(inputs)
        except Exception as error:
            shape = tuple(inputs.shape)
            raise SpecError(
                f"model.build {spec.build!r} fails on inputs of shape {shape}: {type(error).__name__}: {error}"
            ) from error
        drawn = not torch.equal(before, torch.get_rng_state())
    if drawn:
        raise SpecError(
            f"the forward pass of model.build {spec.build!r} draws random numbers (dropout?), so that no run could be "
            "resumed or repeated; switch that off"
        )
    found = getattr(found, "logits", found)
    if not isinstance(found, Tensor) or found.shape != outputs:
        what = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise SpecError(f"model.build {spec.build!r} returns {what} for these data, expected {outputs}")
