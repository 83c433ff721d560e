"""The sizes that `build` takes: numbers, mappings, specs, configuration objects; which fields differ, and
variants.

Fields that differ between base and target form axes: one axis per field that can be changed alone, and one
for all those that cannot, such as a hidden size and the number of heads.
"""

import copy
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from limes.core.errors import PlanError, first_line
from limes.parametrize.names import named_tensors
from limes.spec.io import complaint

Build = Callable[[Any], nn.Module]
Shapes = dict[str, tuple[int, ...]]
_IGNORED = frozenset({"_name_or_path", "transformers_version", "dtype", "torch_dtype", "architectures"})


@dataclass(frozen=True, slots=True)
class Axis:
    """One way in which the network grows.

    Args:
        name: The fields, joined by "+"; "size" where `build` takes one number.
        fields: Names of the fields that move together.
        shapes: Shapes by parameter name when the base grows along this axis alone.
        value: What `build` takes for that network.
    """

    name: str
    fields: tuple[str, ...]
    shapes: Shapes
    value: Any


def fields_of(value: Any) -> dict[str, Any] | None:
    """The fields of a size as a dictionary; None where it has none (a number, say).

    Source: limes.

    >>> fields_of({"width": 8}), fields_of(8)
    ({'width': 8}, None)
    """
    if isinstance(value, Mapping):
        return dict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(type(value), "model_fields"):
        return {name: getattr(value, name) for name in type(value).model_fields}
    if hasattr(value, "to_dict"):
        return {key: part for key, part in value.to_dict().items() if key not in _IGNORED}
    if hasattr(value, "__dict__") and vars(value) and not callable(value):
        return dict(vars(value))
    return None


def with_fields(value: Any, changes: Mapping[str, Any]) -> Any:
    """A copy of a size with some fields changed.

    Source: limes.

    >>> with_fields({"width": 8, "depth": 2}, {"width": 16})
    {'width': 16, 'depth': 2}
    """
    if isinstance(value, Mapping):
        return {**value, **changes}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.replace(value, **changes)
    if hasattr(value, "model_copy"):
        return type(value).model_validate({**(fields_of(value) or {}), **changes})
    result = copy.deepcopy(value)
    for key, part in changes.items():
        setattr(result, key, part)
    return result


def build_on_meta(build: Build, value: Any) -> nn.Module:
    """Build without memory; a PlanError says what went wrong.

    Source: limes.

    >>> build_on_meta(lambda width: nn.Linear(width, 1), 8).weight.is_meta
    True
    """
    try:
        with torch.device("meta"):
            model = build(value)
    except PlanError:
        raise
    except ValidationError as error:
        # A spec made inside; the device has no part in it.
        raise PlanError(f"build({_short(value)}) failed: {complaint(error.errors(include_url=False)[0])}") from error
    except Exception as error:
        raise PlanError(
            f"build({_short(value)}) failed on the meta device: {type(error).__name__}: {first_line(error)}; build "
            'must run under torch.device("meta") (no .item(), no device="cpu")'
        ) from error
    if not isinstance(model, nn.Module):
        raise PlanError(f"build({_short(value)}) returned {type(model).__name__}; it must return a torch.nn.Module")
    return model


def _short(value: Any) -> str:
    text = repr(value).replace("\n", " ")
    return text if len(text) <= 80 else text[:77] + "..."


def shapes_of(model: nn.Module) -> Shapes:
    """Shapes by bare parameter name."""
    return {name: tuple(tensor.shape) for name, tensor in named_tensors(model).items()}


def find_axes(build: Build, base: Any, target: Any, *, base_shapes: Shapes, target_shapes: Shapes) -> list[Axis]:
    """Split the difference of two sizes into axes, each with the shapes of the base grown along it alone.

    Source: limes, docs/parametrize.md.

    >>> def build(size): return nn.Sequential(*[nn.Linear(size["n"], size["n"]) for _ in range(size["depth"])])
    >>> base, target = {"n": 2, "depth": 1}, {"n": 4, "depth": 2}
    >>> shapes = [shapes_of(build_on_meta(build, size)) for size in (base, target)]
    >>> axes = find_axes(build, base, target, base_shapes=shapes[0], target_shapes=shapes[1])
    >>> [axis.name for axis in axes]
    ['n', 'depth']
    """
    old, new = fields_of(base), fields_of(target)
    if old is None or new is None:
        return [Axis("size", (), target_shapes, target)] if target_shapes != base_shapes else []
    changed = [key for key in new if key not in old or _differ(old[key], new[key])]
    alone: dict[str, tuple[Shapes, Any]] = {}
    idle, failed = [], []
    for key in changed:
        variant = _try(build, base, {key: new[key]})
        if variant is None:
            failed.append(key)
        elif variant[0] == base_shapes:
            idle.append(key)
        else:
            alone[key] = variant
    axes = [Axis(key, (key,), *variant) for key, variant in alone.items()]
    if not failed:
        if axes or target_shapes == base_shapes:
            return axes
        return [Axis("+".join(idle), tuple(idle), target_shapes, target)]
    # What cannot change alone goes with what changes no shape alone (a hidden size with its heads).
    joined = [*failed, *idle]
    variant = _try(build, base, {key: new[key] for key in joined})
    if variant is not None and variant[0] != base_shapes:
        return [*axes, Axis("+".join(failed), tuple(joined), *variant)]
    return _join(build, base, new, axes, joined, whole=Axis("", (), target_shapes, target), old=base_shapes)


def _differ(first: Any, second: Any) -> bool:
    try:
        return bool(first != second)
    except Exception:
        return first is not second


def _try(build: Build, base: Any, changes: Mapping[str, Any]) -> tuple[Shapes, Any] | None:
    """Shapes and size of a variant; None where it cannot be built."""
    try:
        value = with_fields(base, changes)
        return shapes_of(build_on_meta(build, value)), value
    except Exception:
        return None


def _join(
    build: Build,
    base: Any,
    new: Mapping[str, Any],
    axes: list[Axis],
    joined: list[str],
    *,
    whole: Axis,
    old: Shapes,
) -> list[Axis]:
    """Fields that cannot change alone go with the widths; depth keeps its own axis."""
    depth = [axis for axis in axes if only_more_tensors(axis.shapes, old)]
    widths = [axis for axis in axes if axis not in depth]
    together = (*(field for axis in widths for field in axis.fields), *joined)
    variant = _try(build, base, {key: new[key] for key in together})
    if variant is not None and variant[0] != old:
        return [Axis("+".join(together), together, *variant), *depth]
    if variant is None:
        # The rest only fits at the target's own depth: one axis for all.
        everything = (*together, *(field for axis in depth for field in axis.fields))
        return [Axis("+".join(everything), everything, whole.shapes, whole.value)]
    return axes


def only_more_tensors(shapes: Shapes, base: Shapes) -> bool:
    """Every shared tensor keeps its size, and there are others: the network only got deeper."""
    same = all(shapes[name] == shape for name, shape in base.items() if name in shapes)
    return same and shapes.keys() != base.keys()
