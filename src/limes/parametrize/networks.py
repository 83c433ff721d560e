"""Base and target as a plan sees them: shapes, axes, the recorded pass, initialization; and what it refuses."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from limes.core.errors import PlanError
from limes.parametrize.branches import find_attention
from limes.parametrize.factors import own_factors
from limes.parametrize.growth import Overrides, override_for
from limes.parametrize.initial import MAX_BASE_BYTES, InitLaw, build_real, measure_init
from limes.parametrize.inputs import trace_model
from limes.parametrize.scaling import Parametrization, TensorFacts
from limes.parametrize.sizes import (
    Axis,
    Build,
    Shapes,
    build_on_meta,
    fields_of,
    find_axes,
    only_more_tensors,
    shapes_of,
    with_fields,
)
from limes.parametrize.structure import Structure, read_structure
from limes.parametrize.trace import Graph
from limes.spec.base import Spec


@dataclass(frozen=True, slots=True, eq=False)
class Networks:
    """Base and target as they were built, and what the forward pass of the base showed."""

    build: Build
    base: Any
    target: Any
    base_shapes: Shapes
    target_shapes: Shapes
    axes: list[Axis]
    graph: Graph
    structure: Structure
    laws: dict[str, InitLaw]
    example: Callable[[Any], Any]


def _own_probe(base: Any) -> Any:
    """Twice the width and depth of a built-in model."""
    fields = fields_of(base) or {}
    if not isinstance(base, Spec) or not {"width", "depth"} <= fields.keys():
        return None
    return with_fields(base, {"width": 2 * fields["width"], "depth": 2 * fields["depth"]})


def read_networks(
    build: Build, base: Any, target: Any, *, probe: Any, example: Any, init: Mapping[str, tuple[str, float, float]]
) -> Networks:
    """Build base, target and probe on the meta device, find the growing axes, and record the base's forward pass."""
    meta = build_on_meta(build, base)
    base_shapes = shapes_of(meta)
    target_shapes = shapes_of(build_on_meta(build, target))
    axes = find_axes(build, base, target, base_shapes=base_shapes, target_shapes=target_shapes)
    probe = _own_probe(base) if probe is None else probe
    if probe is not None:
        shapes = shapes_of(build_on_meta(build, probe))
        taken = {field for axis in axes for field in axis.fields}
        more = find_axes(build, base, probe, base_shapes=base_shapes, target_shapes=shapes)
        axes += [axis for axis in more if not taken & set(axis.fields)]
    real, laws = _initial(build, base, meta, init)
    example_of = example if callable(example) else lambda size: example
    graph = trace_model(meta, real, example_of(base))
    structure = read_structure(graph)
    return Networks(build, base, target, base_shapes, target_shapes, axes, graph, structure, laws, example_of)


def _initial(
    build: Build, base: Any, meta: nn.Module, init: Mapping[str, tuple[str, float, float]]
) -> tuple[nn.Module | None, dict[str, InitLaw]]:
    names = list(shapes_of(meta))
    given = {name: law for name in names if (law := _given_law(name, init)) is not None}
    if len(given) == len(names):
        return None, given
    num_bytes = sum(tensor.numel() * tensor.element_size() for tensor in meta.parameters())
    real, laws = measure_init(build, base, num_bytes=num_bytes)
    return real, {**laws, **given}


def _given_law(name: str, init: Mapping[str, tuple[str, float, float]]) -> InitLaw | None:
    entry = override_for(name, {pattern: {"law": law} for pattern, law in init.items()})
    if not entry:
        return None
    kind, mean, std = entry["law"]
    if kind not in ("normal", "uniform", "constant", "own") or std < 0:
        raise PlanError(f"init of {name} is {entry['law']!r}; give (normal | uniform | constant | own, mean, std >= 0)")
    return InitLaw(kind, float(mean), float(std))


def check_growth(networks: Networks, *, allow: bool) -> None:
    """Refuse a plan in which nothing grows, unless that is allowed."""
    if networks.base_shapes == networks.target_shapes and not allow:
        raise PlanError(
            "nothing grows from base to target: every tensor has the same shape and there are as many of them; give a "
            "bigger target, or allow_no_growth=True for the base size itself"
        )


def check_facts(
    facts: list[TensorFacts],
    networks: Networks,
    chosen: Parametrization,
    overrides: Overrides,
    depth_ratio: float,
) -> None:
    """Refuse what would be guessed in silence: an override that matches nothing, a tie or a branch without a rule."""
    names = [fact.name for fact in facts]
    unmatched = [pattern for pattern in overrides if not any(override_for(name, {pattern: {"x": 1}}) for name in names)]
    if unmatched:
        raise PlanError(f"the override {unmatched[0]!r} matches no tensor; patterns must match a whole name")
    if not chosen.plain:
        ties = [name for name, use in networks.structure.tensors.items() if use.hidden_tie]
        wide = [name for name in ties if any(f.name == name and f.m_out != 1.0 for f in facts)]
        if wide:
            raise PlanError(
                f"{wide[0]} is both looked up and used as the readout by a bare function call, so that no module can "
                "carry the multiplier of the logits; tie it to the weight of an nn.Linear instead"
            )
    if chosen.alpha and depth_ratio != 1.0:
        open_ends = [name for name in networks.structure.endless if "branch" not in override_for(name, overrides)]
        if open_ends:
            raise PlanError(
                f"the residual branch with {open_ends[0]} ends in an op without parameters, so that no tensor can take "
                f"the factor depth^-{chosen.alpha:g}; mark its last map with overrides={{'name': {{'branch': "
                f"'last'}}}} and "
                "the others with {'branch': True}"
            )


def grown_graph(networks: Networks) -> Graph | None:
    """The forward pass at the target's width and the base's depth."""
    depth = [
        field for axis in networks.axes if only_more_tensors(axis.shapes, networks.base_shapes) for field in axis.fields
    ]
    size, old = networks.target, fields_of(networks.base)
    if depth and old is not None:
        size = with_fields(size, {field: old[field] for field in depth})
    meta, real = build_on_meta(networks.build, size), None
    try:
        return trace_model(meta, real, networks.example(size))
    except PlanError as error:
        num_bytes = sum(tensor.numel() * tensor.element_size() for tensor in meta.parameters())
        if num_bytes <= MAX_BASE_BYTES:
            real = build_real(networks.build, size, seed=0)[0]
        elif find_attention(networks.graph):
            raise
        else:
            _unseen(error)
            return None
    try:
        return trace_model(meta, real, networks.example(size))
    except PlanError as error:
        if find_attention(networks.graph):
            raise
        _unseen(error)
        return None


def _unseen(error: PlanError) -> None:
    warnings.warn(
        f"the wider network was not looked at for factors of its own: {error}; example_inputs may be a callable that "
        "returns the inputs for a size",
        stacklevel=4,
    )


def needs_grown(networks: Networks, chosen: Parametrization) -> bool:
    """A wider network must be looked at: for the attention scale and for the model's own factors."""
    return networks.base_shapes != networks.target_shapes and not chosen.plain


def check_own_factors(networks: Networks, grown: Graph | None, mode: str) -> None:
    """Refuse a model that scales by itself with its size, unless the user keeps that."""
    if mode not in ("refuse", "keep"):
        raise PlanError(f"own_factors {mode!r} is neither refuse nor keep")
    found = own_factors(networks.graph, grown) if grown is not None and mode == "refuse" else []
    if found:
        module, old, new = found[0]
        raise PlanError(
            f"the forward pass multiplies or divides by a number that changes with the size, in module {module!r} "
            f"({old:g} at the base, {new:g} at the target), so that the plan would scale twice; take it out of the "
            "model, or pass own_factors='keep' if it only undoes a normalization"
        )


def check_shared_depth(networks: Networks, chosen: Parametrization) -> None:
    """Fields that change no tensor may still change how often the same layers run."""
    old, new = fields_of(networks.base), fields_of(networks.target)
    if not chosen.alpha or old is None or new is None:
        return
    known = {field for axis in networks.axes for field in axis.fields}
    idle = {key: new[key] for key in new if key in old and key not in known and isinstance(new[key], int)}
    idle = {key: value for key, value in idle.items() if value != old[key]}
    if not idle:
        return
    try:
        size = with_fields(networks.base, idle)
        graph = trace_model(build_on_meta(networks.build, size), None, networks.example(networks.base))
    except PlanError:
        return  # a field that cannot change alone is judged together with its axis
    before, after = networks.structure.num_branches, read_structure(graph).num_branches
    if before != after:
        raise PlanError(
            f"{', '.join(idle)} changes the number of residual branches from {before} to {after} without new tensors: "
            "the layers share their weights, for which there is no rule of depth here; keep their number, or use mup"
        )
