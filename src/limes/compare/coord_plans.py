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


def build_model(build: Build, size: Any, made: Plan) -> nn.Module:
    """The network of a size, with the attention scale where the plan leaves that to the caller.

    Raises:
        PlanError: The plan wants another attention scale and `build` has no argument for it.
    """
    if made.attention_scale == 1.0:
        return build(size)
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
    model: nn.Module = wide(size, attention_scale=made.attention_scale)
    return model


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

    >>> sizes_between(lambda width: nn.Linear(width, width), 16, 128)
    ([16, 32, 64, 128], [])
    """
    old, new = fields_of(base), fields_of(target)
    if old is None or new is None:
        if not isinstance(base, int) or not isinstance(target, int):
            raise SpecError(f"base {base!r} and target {target!r} are neither numbers nor sizes with fields")
        deeper = _is_depth(build, base, target)
        values = _ladder(build, lambda share: round(base * (target / base) ** share), num_sizes)
        return ([], values) if deeper else (values, [])
    changed = {
        key: (old[key], new[key])
        for key in new
        if key in old and old[key] != new[key] and isinstance(old[key], int) and isinstance(new[key], int)
    }
    if not changed:
        raise PlanError("base and target differ in no whole number; there is nothing to grow")
    deep = [key for key in changed if _is_depth(build, base, with_fields(base, {key: new[key]}))]
    wide = [key for key in changed if key not in deep]
    ladders = []
    for keys in (wide, deep):

        def size(share: float, keys: list[str] = keys) -> Any:
            moved = {key: round(old[key] * (new[key] / old[key]) ** share) for key in keys}
            return with_fields(base, moved)

        ladders.append(_ladder(build, size, num_sizes) if keys else [])
    return ladders[0], ladders[1]


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
