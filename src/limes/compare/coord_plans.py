"""Plans for every size of a coordinate check, and the sizes between a base and a target.

Source: limes, docs/coord_check.md.
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from limes.core.errors import PlanError, SpecError
from limes.parametrize import Parametrization, Plan, PlanRow, plan
from limes.parametrize.initial import build_real
from limes.parametrize.sizes import Build, build_on_meta, fields_of, only_more_tensors, shapes_of, with_fields
from limes.spec.study import ParametrizationChoice

Choice = str | Parametrization | ParametrizationChoice | Plan | Callable[[Any], Plan]
_FACTORS = ("init_std", "lr_scale", "weight_decay_scale", "eps_scale", "multiplier")


def plans_for(build: Build, choice: Choice, sizes: Sequence[Any], options: Mapping[str, Any]) -> list[Plan]:
    """One plan per size, the first size being the base.

    Args:
        build: As for `limes.plan`.
        choice: A parametrization; a callable from a size to its plan; or one plan for the last size, whose deviations
            from its parametrization's own plan are taken as powers of the growth for the sizes in between.
        sizes: What `build` takes.
        options: Further arguments of `limes.plan`.

    Raises:
        PlanError: A plan cannot be made, or does not fit the last size.
    """
    # The base itself does not grow: its roles, which decide what Muon trains, come from the last size.
    options = {"probe": sizes[-1], **options}
    if isinstance(choice, Plan):
        return _between(build, choice, sizes, options)
    if callable(choice) and not isinstance(choice, Parametrization):
        made = [choice(size) for size in sizes]
        wrong = [type(value).__name__ for value in made if not isinstance(value, Plan)]
        if wrong:
            raise PlanError(f"the callable returned a {wrong[0]} for a size; it must return a limes.Plan")
        return made
    return [_plan(build, choice, sizes[0], size, options) for size in sizes]


def _plan(build: Build, choice: Any, base: Any, size: Any, options: Mapping[str, Any]) -> Plan:
    return plan(build, base=base, target=size, parametrization=choice, allow_no_growth=True, **options)


def _between(build: Build, given: Plan, sizes: Sequence[Any], options: Mapping[str, Any]) -> list[Plan]:
    shapes = shapes_of(build_on_meta(build, sizes[-1]))
    mine = {row.name: row.shape for row in given.entries}
    if mine != shapes:
        name = next((name for name in shapes if mine.get(name) != shapes[name]), next(iter(mine)))
        raise PlanError(
            f"the plan was made for another network than the last size: {name} has shape {mine.get(name)} in the plan "
            f"and {shapes.get(name)} in the network; make the plan's target the last size, or pass a callable from a "
            "size to its plan"
        )
    fixed = {"optimizer": given.optimizer, "weight_decay": given.decay_mode, "form": given.form, **given.options}
    own = [_plan(build, given.parametrization, sizes[0], size, {**options, **fixed}) for size in sizes]
    total = _growth(own[-1])
    corrections = {
        row.template: {key: _ratio(getattr(row, key), getattr(own[-1].row(row.name), key)) for key in _FACTORS}
        for row in given.entries
    }
    attention = _ratio(given.attention_scale, own[-1].attention_scale)
    result = []
    for made in own:
        share = math.log(_growth(made)) / math.log(total) if total != 1.0 else 0.0
        entries = tuple(_corrected(row, corrections.get(row.template, {}), share) for row in made.entries)
        result.append(replace(made, entries=entries, attention_scale=made.attention_scale * attention**share))
    return [*result[:-1], given]


def _growth(made: Plan) -> float:
    """Growth from the base as a plan tells it: of its depth, else of the number of entries of its tensors."""
    if made.depth_ratio != 1.0:
        return made.depth_ratio
    return float(sum(math.prod(row.shape) for row in made.entries))


def _ratio(given: float, own: float) -> float:
    return given / own if own else 1.0


def _corrected(row: PlanRow, factors: Mapping[str, float], share: float) -> PlanRow:
    return replace(row, **{key: getattr(row, key) * factor**share for key, factor in factors.items()})


def build_model(build: Build, size: Any, made: Plan, *, seed: int) -> nn.Module:
    """The network of a size on the CPU, with the attention scale where the plan leaves that to the caller.

    What the constructor draws comes from a forked random state with the given seed.

    Raises:
        PlanError: The plan wants another attention scale and `build` has no argument for it.
    """
    if made.attention_scale == 1.0:
        return build_real(build, size, seed=seed)[0]
    try:
        takes = "attention_scale" in inspect.signature(build).parameters
    except (TypeError, ValueError):
        takes = False
    if not takes:
        raise PlanError(
            f"the plan leaves the attention scale {made.attention_scale:g} to the caller; give build a keyword "
            "attention_scale that multiplies the model's own scale, or plan with attention='fold'"
        )
    wide: Any = build
    return build_real(lambda value: wide(value, attention_scale=made.attention_scale), size, seed=seed)[0]


def sizes_between(build: Build, base: Any, target: Any, *, num_sizes: int = 4) -> tuple[list[Any], list[Any]]:
    """Sizes from base to target, one list along the width and one along the depth; empty where that does not grow.

    All fields that differ and change shapes move together, geometrically, in whole numbers; a size that cannot be built
    is left out.

    Args:
        build: As for `limes.plan`.
        base: A number, mapping, specification or configuration.
        target: The same, bigger.
        num_sizes: At most so many per axis.

    Raises:
        PlanError: Base and target do not differ in numbers, or no size in between can be built.
        SpecError: A size is not positive, the target is not larger, or num_sizes is below 2.

    >>> sizes_between(lambda width: nn.Linear(width, width), 16, 128)
    ([16, 32, 64, 128], [])
    """
    if num_sizes < 2:
        raise SpecError(f"num_sizes {num_sizes}: expected at least 2, the base and the target")
    old, new = fields_of(base), fields_of(target)
    if old is None or new is None:
        if not isinstance(base, int) or not isinstance(target, int):
            raise SpecError(f"base {base!r} and target {target!r} are neither numbers nor sizes with fields")
        if base < 1 or target <= base:
            raise SpecError(f"base {base}, target {target}: expected a positive base and a larger target")
        deeper = _is_depth(build, base, target)
        values = _ladder(build, lambda share: round(base * (target / base) ** share), num_sizes)
        return ([], values) if deeper else (values, [])
    wide, deep = _growing_fields(build, base, target)
    ladders = []
    for keys in (wide, deep):
        moved = _mover(base, keys, new)
        ladders.append(_ladder(build, moved, num_sizes) if keys else [])
    return ladders[0], ladders[1]


def _growing_fields(build: Build, base: Any, target: Any) -> tuple[list[str], list[str]]:
    """Names of the whole numbers that differ: those of the width and those of the depth."""
    old, new = fields_of(base) or {}, fields_of(target) or {}
    changed = [
        key for key in new if old.get(key) != new[key] and isinstance(old.get(key), int) and isinstance(new[key], int)
    ]
    if not changed:
        raise PlanError("base and target differ in no whole number; there is nothing to grow")
    if small := [key for key in changed if old[key] < 1]:
        raise SpecError(f"base has {small[0]} {old[small[0]]}: expected a positive number to grow from")
    deep = [key for key in changed if _is_depth(build, base, with_fields(base, {key: new[key]}))]
    return [key for key in changed if key not in deep], deep


def _mover(base: Any, keys: Sequence[str], new: Mapping[str, Any]) -> Callable[[float], Any]:
    """From a share of the way (in logarithms) to the size with these fields moved by it."""
    old = fields_of(base) or {}
    return lambda share: with_fields(base, {key: round(old[key] * (new[key] / old[key]) ** share) for key in keys})


def sizes_along(build: Build, base: Any, target: Any, numbers: Sequence[int], *, axis: str) -> list[Any]:
    """The sizes whose width (or depth) takes the given numbers, everything else as at the base.

    Fields that belong to the width with it (heads, inner widths) are told by a target, and grow in proportion.

    Args:
        build: As for `limes.plan`.
        base: The first size.
        target: A bigger one; None where the field is called `width` or `depth`, or `build` takes a number.
        numbers: Growing; the first is that of the base.
        axis: width or depth.

    Raises:
        SpecError: The first number is not that of the base, or no field is known to grow.

    >>> sizes_along(lambda size: nn.Linear(size["width"], 1), {"width": 8}, None, [8, 16, 32], axis="width")
    [{'width': 8}, {'width': 16}, {'width': 32}]
    """
    old = fields_of(base)
    if old is None:
        keys, first = [], base
    else:
        found = [axis] if target is None else _growing_fields(build, base, target)[axis == "depth"]
        keys = [key for key in found if key in old]
        if not keys:
            raise SpecError(f"no field of the base is known to be its {axis}; give a target that is larger in {axis}")
        first = old[keys[0]]
    if numbers[0] != first:
        raise SpecError(f"the first {axis} is {numbers[0]} and that of the base {first}; give that of the base first")
    if old is None:
        return list(numbers)
    if target is None:
        return [with_fields(base, {axis: number}) for number in numbers]
    new = fields_of(target) or {}
    moved = _mover(base, keys, new)
    return [moved(math.log(number / first) / math.log(new[keys[0]] / first)) for number in numbers]


def _is_depth(build: Build, base: Any, other: Any) -> bool:
    try:
        return only_more_tensors(shapes_of(build_on_meta(build, other)), shapes_of(build_on_meta(build, base)))
    except PlanError:
        return False


def _ladder(build: Build, size: Callable[[float], Any], num_sizes: int) -> list[Any]:
    """Sizes at equal steps of the logarithm; what cannot be built in between is left out."""
    found, seen = [], []
    for step in range(num_sizes):
        value = size(step / (num_sizes - 1))
        try:
            shapes = shapes_of(build_on_meta(build, value))
        except PlanError:
            if step in (0, num_sizes - 1):
                raise
            continue
        if shapes not in seen:
            seen.append(shapes)
            found.append(value)
    if len(found) < 3:
        raise PlanError(
            f"only {len(found)} sizes from base to target can be built; a slope needs three: give a larger target or "
            "the sizes themselves (widths=, depths=)"
        )
    return found
