"""What a parametrization declares about a network that trains under it: exponents that a coordinate check can test.

A rule speaks of effective weights: their init std S, and the change D of an entry over the training. An output of a
map adds m_in terms: at random S m_in^(1/2), coherently D m_in. Along one axis these are powers of its growth m.

Letters: m growth of the width, or of the number of residual branches; alpha exponent of the branch multiplier
m_L^-alpha; theta a factor folded into a tensor.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Literal

from limes.core.errors import PlanError
from limes.parametrize.attention import AttentionMode, compare_attention
from limes.parametrize.branches import find_branches
from limes.parametrize.growth import Growth, Overrides, collect_facts
from limes.parametrize.initial import InitLaw
from limes.parametrize.names import template_of
from limes.parametrize.networks import Networks, grown_graph, needs_grown, read_networks
from limes.parametrize.planner import attention_scales, choose_parametrization
from limes.parametrize.scaling import Parametrization, TensorFacts
from limes.parametrize.sizes import Build, Shapes
from limes.parametrize.trace import Graph
from limes.spec.study import ParametrizationChoice

AxisName = Literal["width", "depth"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorExponents:
    """What is declared of one tensor. Exponents are powers of the growth of the axis.

    Args:
        label: Its name without the indices of layers that are alike; see `Declaration.label`.
        role: As in a plan.
        init: Size of its map's output at initialization.
        effective: Size of what its update adds to the output of its map; None where nothing is declared.
        is_matrix: It is contracted with its input.
        in_branch: It lies in a residual branch.
        ends_branch: It belongs to the last map of a branch, which carries the branch multiplier.
        folded: It carries the attention scale.
        zero: It starts from zero.
    """

    label: str
    role: str
    init: float
    effective: float | None
    is_matrix: bool
    in_branch: bool
    ends_branch: bool
    folded: bool
    zero: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Declaration:
    """Everything that is declared along one axis.

    Args:
        parametrization: Its name.
        axis: `width` or `depth`.
        growth: Of the axis, from base to target.
        tensors: By label.
        unlike: Labels of modules whose numbered children differ from each other and so keep their numbers.
        features: Change of the activations.
        logits_init: Output at initialization; None without a readout of its own that starts without a bias.
        attention_init: Attention logits at initialization.
        attention_change: Change of the attention logits.
        inner: Labels of the modules that lie inside a residual branch.
        blocks: Labels of the modules that hold whole residual branches.
        block_ratio: Second-order over first-order change of a block: alpha - 1; None without a rule of depth.
    """

    parametrization: str
    axis: AxisName
    growth: float
    tensors: Mapping[str, TensorExponents]
    unlike: frozenset[str]
    features: float
    logits_init: float | None
    attention_init: float
    attention_change: float | None
    inner: frozenset[str]
    blocks: tuple[str, ...]
    block_ratio: float | None

    def label(self, path: str) -> str:
        """Under which label a tensor or module is pooled with its like: numbers of layers become `*`.

        Children of an `nn.Sequential` (a map, an activation, a map) are not alike and keep their numbers.
        """
        return _label(path, self.unlike)


def _label(path: str, unlike: Collection[str]) -> str:
    parts: list[str] = []
    for part in path.split("."):
        parts.append("*" if part.isdigit() and ".".join(parts) not in unlike else part)
    return ".".join(parts)


def declare(
    build: Build,
    *,
    base: Any,
    target: Any,
    parametrization: str | Parametrization | ParametrizationChoice = "completep",
    alpha: float | None = None,
    gamma0: float | None = None,
    overrides: Overrides | None = None,
    example_inputs: Any = None,
    attention: AttentionMode = "auto",
    probe: Any = None,
) -> Declaration:
    """The exponents that a parametrization declares when `build(base)` grows to `build(target)` along one axis.

    Standard training declares nothing about updates; it is held to what every limit asks for, that the activations
    change by order one.

    Args:
        build: As for `plan`.
        base: As for `plan`.
        target: The same, wider or deeper, not both.
        parametrization: As for `plan`.
        alpha: Option of `depth_mup`.
        gamma0: Option of `meanfield`.
        overrides: As for `plan`.
        example_inputs: As for `plan`.
        attention: As for `plan`.
        probe: As for `plan`; decides roles only.

    Raises:
        PlanError: Nothing grows, or width and depth grow together.

    Source: arXiv:2203.03466 Appendix J, arXiv:2505.01618 Section 4; docs/coord_check.md.

    >>> from torch import nn
    >>> def build(width): return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2))
    >>> found = declare(build, base=8, target=32, parametrization="mup")
    >>> found.growth, found.tensors["2.weight"].init, found.tensors["2.weight"].effective
    (4.0, -0.5, 0.0)
    """
    chosen = choose_parametrization(parametrization, alpha=alpha, gamma0=gamma0)
    networks = read_networks(build, base, target, probe=probe, example=example_inputs, init={})
    growth = Growth(networks.base_shapes, networks.target_shapes, networks.axes, networks.structure)
    facts = collect_facts(growth, dict(overrides or {}))
    axis, ratio = _axis(growth, networks)
    grown = grown_graph(networks) if needs_grown(networks, chosen) or chosen.plain else None
    folded = _folded(networks, grown, chosen, attention)
    each = {
        fact.name: _exponents(
            fact,
            chosen,
            axis=axis,
            ratio=ratio,
            theta=folded.get(growth.match(fact.name), 1.0),
            law=networks.laws[growth.match(fact.name)],
        )
        for fact in facts
    }
    unlike = _unlike(each, networks)
    tensors: dict[str, TensorExponents] = {}
    for name, entry in each.items():
        label = _label(name, unlike)
        tensors.setdefault(label, replace(entry, label=label))
    moving = [
        entry.effective
        for entry in tensors.values()
        if entry.effective is not None and entry.is_matrix and entry.role != "readout" and not entry.folded
    ]
    features = max(moving) if axis == "width" and moving else 0.0
    attention_init, attention_change = _attention(networks, grown, chosen, features, ratio)
    readouts = [fact for fact in facts if fact.role == "readout" and fact.tied_to is None]
    inner, blocks = _places(networks, unlike)
    return Declaration(
        parametrization=chosen.name,
        axis=axis,
        growth=ratio,
        tensors=tensors,
        unlike=unlike,
        features=features,
        logits_init=_logits_init(each, [fact.name for fact in readouts]),
        attention_init=attention_init,
        attention_change=attention_change,
        inner=inner,
        blocks=blocks,
        block_ratio=chosen.alpha - 1.0 if axis == "depth" and chosen.alpha is not None else None,
    )


def _unlike(each: Mapping[str, TensorExponents], networks: Networks) -> frozenset[str]:
    """Labels of modules whose numbered children hold different tensors, or the same ones in different parts.

    From the outside to the inside, because the label of an inner module depends on what is pooled around it.
    """
    # A called module without parameters counts as a child that holds nothing.
    paths = [(name.split("."), entry) for name, entry in each.items()]
    empty = [(path.split("."), None) for path in networks.graph.module_outputs if path]
    unlike: set[str] = set()
    for level in range(max(len(parts) for parts, _ in paths)):
        children: dict[str, dict[str, set[object]]] = {}
        for parts, entry in [*paths, *empty]:
            if len(parts) > level and parts[level].isdigit():
                mine = children.setdefault(".".join(parts[:level]), {}).setdefault(parts[level], set())
                if entry is not None:
                    mine.add((template_of(".".join(parts[level + 1 :])), entry))
        for parent, kinds in children.items():
            if len({frozenset(kind) for kind in kinds.values()}) > 1:
                unlike.add(_label(parent, unlike))
    return frozenset(unlike)


def _axis(growth: Growth, networks: Networks) -> tuple[AxisName, float]:
    depth = growth.depth_ratio()
    width = width_growth(networks.base_shapes, networks.target_shapes)
    if depth != 1.0 and width != 1.0:
        raise PlanError(
            f"width grows {width:g}-fold and depth {depth:g}-fold from base to target; check one axis at a time: "
            "sizes in widths= share the depth of the first one, sizes in depths= its width"
        )
    if depth == 1.0 and width == 1.0:
        raise PlanError(
            "neither width nor the number of residual branches grows from base to target; give a bigger one"
        )
    return ("depth", depth) if depth != 1.0 else ("width", width)


def width_growth(base: Shapes, target: Shapes) -> float:
    """Median growth of the dimensions that grow, over tensors of the same name; 1 where none does.

    Source: limes.

    >>> width_growth({"w": (8, 3)}, {"w": (32, 3)})
    4.0
    """
    ratios = [
        new / old for name, shape in target.items() for old, new in zip(base.get(name, ()), shape) if new != old and old
    ]
    return float(median(ratios)) if ratios else 1.0


def _power(ratio: float, growth: float) -> float:
    """log(ratio)/log(growth), free of rounding where it is a simple fraction."""
    return round(math.log(ratio) / math.log(growth), 6) + 0.0


def _exponents(
    fact: TensorFacts, chosen: Parametrization, *, axis: AxisName, ratio: float, theta: float, law: InitLaw
) -> TensorExponents:
    neutral = chosen.scales(replace(fact, m_in=1.0, m_out=1.0, m_depth=1.0))
    scales = chosen.scales(fact)
    in_branch = "residual branch" in fact.why
    terms = fact.m_in if fact.is_matrix else 1.0
    effective: float | None = _power(scales.change / neutral.change * terms * theta, ratio)
    if chosen.plain:
        effective = 0.0
    if axis == "depth" and in_branch and chosen.alpha is None:
        effective = None
    return TensorExponents(
        label="",
        role=fact.role,
        init=_power(scales.init / neutral.init * terms**0.5 * theta, ratio),
        effective=effective,
        is_matrix=fact.is_matrix,
        in_branch=in_branch,
        ends_branch=fact.ends_branch,
        folded=theta != 1.0,
        zero=law.mean == 0.0 and law.std == 0.0,
    )


def _logits_init(each: Mapping[str, TensorExponents], readouts: list[str]) -> float | None:
    """Size of the output at initialization; None where a bias that is no zero covers the readout, or there is none."""
    for name in readouts:
        module = name.rpartition(".")[0]
        beside = [entry for other, entry in each.items() if other.rpartition(".")[0] == module and not entry.is_matrix]
        return each[name].init if all(entry.zero for entry in beside) else None
    return None


def _folded(networks: Networks, grown: Graph | None, chosen: Parametrization, mode: AttentionMode) -> dict[str, float]:
    """Factors that a plan folds into query maps; none where they are packed with the keys."""
    change = compare_attention(networks.graph, grown) if grown is not None else None
    if change is None or not change.queries:
        return {}
    return attention_scales(networks, grown, chosen, mode)[1]


def _attention(
    networks: Networks, grown: Graph | None, chosen: Parametrization, features: float, ratio: float
) -> tuple[float, float | None]:
    """Exponents of the attention logits: d terms times the scale, at random and coherent with the features."""
    change = compare_attention(networks.graph, grown) if grown is not None else None
    growth = 1.0 if change is None else change.growth
    factor = chosen.attention_factor(growth)
    coherent = 0.0 if chosen.plain else _power(factor * growth**0.5, ratio) + features
    return _power(factor, ratio), coherent


def _places(networks: Networks, unlike: Collection[str]) -> tuple[frozenset[str], tuple[str, ...]]:
    """Labels of modules inside a branch, and of modules that hold whole branches."""
    graph = networks.graph
    branches = find_branches(graph)
    trunk: set[str] = set()
    for path, outputs in graph.module_outputs.items():
        nodes = [graph.nodes[index] for index in outputs]
        for branch in branches:
            mine = all(graph.nodes[leaf].names[0].startswith(f"{path}." if path else "") for leaf in branch.leaves)
            if mine and any(node.ancestors >> branch.add & 1 for node in nodes):
                trunk.add(_label(path, unlike))
    inside = {name for name, use in networks.structure.tensors.items() if use.in_branch}
    inner = set()
    for path in graph.module_outputs:
        held = [name for name in networks.structure.tensors if name.startswith(f"{path}." if path else "")]
        label = _label(path, unlike)
        # A module without parameters (an activation, a dropout) is taken to lie where the block around it has its own.
        around = any(label.startswith(f"{block}.") for block in trunk if block)
        if label not in trunk and (inside.issuperset(held) if held else around and "*" in label):
            inner.add(label)
    whole = {
        path
        for path, templates in networks.structure.branch_paths.items()
        if all(template.startswith(f"{path}.") for template in templates)
    }
    found = [_label(path, unlike) for path in graph.module_outputs if template_of(path) in whole]
    return frozenset(inner), tuple(dict.fromkeys(label for label in found if label in trunk))
