"""From structure and sizes to facts: which dimensions grow, by how much, and hence which role a tensor has.

Growth decides, never equality of sizes. Growth along an axis that only lengthens tables, outputs, kernels or the
list of experts (a vocabulary, a context, a number of classes) scales nothing.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from limes.core.errors import PlanError
from limes.parametrize.align import Alignment
from limes.parametrize.names import template_of
from limes.parametrize.scaling import ROLES, Role, TensorFacts
from limes.parametrize.sizes import Axis, Shapes
from limes.parametrize.structure import Structure, TensorUse

Overrides = Mapping[str, Any]
_NEUTRAL = frozenset({"lookup", "copy", "kernel"})


@dataclass(slots=True)
class Growth:
    """Shapes of base and target and the axes between them (or between base and probe).

    Args:
        base: Shapes by name.
        target: The same of the target.
        axes: How the sizes differ, for roles.
        structure: What each tensor of the base does.
        neutral: Axes that lengthen only what needs no rule of width; filled in.
        counts: For each axis, how many tensors each template has; filled in.
        alignment: Which names correspond; filled in.
        base_counts: How many tensors each template has in the base; filled in.
    """

    base: Shapes
    target: Shapes
    axes: list[Axis]
    structure: Structure
    neutral: list[Axis] = field(default_factory=list)
    counts: list[Counter[str]] = field(default_factory=list)
    alignment: Alignment = field(init=False)
    base_counts: Counter[str] = field(init=False)

    def __post_init__(self) -> None:
        self.alignment = Alignment(self.base, self.target, self.structure.tensors)
        self.base_counts = Counter(map(template_of, self.base))
        self.neutral = [axis for axis in self.axes if self._only_lengthens(axis)]
        self.counts = [Counter(map(template_of, axis.shapes)) for axis in self.axes]

    def match(self, name: str) -> str:
        """The base tensor that corresponds to a target tensor."""
        return self.alignment.match(name)

    def _only_lengthens(self, axis: Axis) -> bool:
        """Every dimension that the axis grows is neutral.

        A dimension of a tensor of three or more that is an output in its own call counts as copies if the same
        axis counts copies elsewhere: experts, which one map makes and the next one takes apart.
        """
        grown = [
            (use, dim)
            for name, old in self.base.items()
            for use in (self.structure.tensors[name],)
            for dim, (a, b) in enumerate(zip(old, axis.shapes.get(name, old)))
            if a != b
        ]
        copies = any(_label(use, dim) == "copy" for use, dim in grown)
        return bool(grown) and all(
            _is_neutral(use, dim) or (copies and _label(use, dim) == "out" and len(use.labels) > 2)
            for use, dim in grown
        )

    def ratios(self, name: str, source: str) -> list[float]:
        """Growth of each dimension from base to target, neutral axes divided out."""
        old, new = self.base[source], self.target[name]
        result = [b / a if a else 1.0 for a, b in zip(old, new)]
        for axis in self.neutral:
            part = axis.shapes.get(source, old)
            result = [ratio / (b / a) if a != b and ratio != 1.0 else ratio for ratio, a, b in zip(result, old, part)]
        return result

    def grows(self, source: str, ratios: list[float]) -> list[bool]:
        """Which dimensions grow along some axis of width."""
        old = self.base[source]
        result = [ratio != 1.0 for ratio in ratios]
        for axis in self.axes:
            if axis not in self.neutral:
                part = axis.shapes.get(source, old)
                result = [flag or a != b for flag, a, b in zip(result, old, part)]
        return result

    def depth_ratio(self) -> float:
        """Growth of the number of residual branches, all stacks together."""
        counts = [0, 0]
        for path, templates in self.structure.branch_paths.items():
            depth = path.count(".") + 1
            for index, names in enumerate((self.base, self.target)):
                found = {".".join(name.split(".")[:depth]) for name in names if template_of(name) in templates}
                counts[index] += len(found) if path else 1
        return counts[1] / counts[0] if counts[0] else 1.0


def _label(use: TensorUse, dim: int) -> str:
    return use.labels[dim] if dim < len(use.labels) else "unknown"


def _is_neutral(use: TensorUse, dim: int) -> bool:
    label = _label(use, dim)
    if label in _NEUTRAL:
        return True
    if label == "out":
        return use.at_output or use.is_router
    table = label == "each" and use.kind == "add" and len(use.labels) > 1
    return table or (label == "each" and (use.at_output or use.is_router))


def collect_facts(growth: Growth, overrides: Overrides) -> list[TensorFacts]:
    """Facts of every tensor of the target, in the target's order.

    Raises:
        PlanError: A tensor's part in the network is ambiguous; the message names it and the override to give.

    Source: limes, docs/parametrize.md.
    """
    depth_ratio = growth.depth_ratio()
    facts, unseen = [], []
    for name in growth.target:
        source = growth.match(name)
        use = _overridden(name, growth.structure.tensors[source], overrides, len(growth.target[name]))
        if len(growth.target[name]) != len(growth.base[source]):
            raise PlanError(
                f"{name} has shape {growth.target[name]} in the target and {source} {growth.base[source]} in the "
                "base; base and target must differ in sizes only"
            )
        facts.append(_facts(growth, name, source, use, depth_ratio))
        if not use.used:
            unseen.append(name)
    if unseen:
        _refuse_unseen(unseen)
    return [_with_role(fact, overrides) for fact in facts]


def override_for(name: str, overrides: Overrides) -> dict[str, Any]:
    """What the user says about a tensor: all patterns that match its whole name, later ones winning.

    Source: limes.

    >>> override_for("a.0.weight", {r".*weight": "hidden", r"a\\..*": {"lr_scale": 2.0}})
    {'role': 'hidden', 'lr_scale': 2.0}
    """
    result: dict[str, Any] = {}
    for pattern, value in overrides.items():
        if re.fullmatch(pattern, name):
            result.update({"role": value} if isinstance(value, str) else value)
    return result


def _overridden(name: str, use: TensorUse, overrides: Overrides, ndim: int) -> TensorUse:
    given = override_for(name, overrides)
    if "labels" in given:
        labels = tuple(given["labels"])
        if len(labels) != ndim:
            raise PlanError(f"labels {labels} of {name} must name its {ndim} dimensions")
        matrix = "in" in labels or "lookup" in labels
        use = replace(use, labels=labels, is_matrix=matrix, kind="override", used=True)
    if "branch" in given:
        last = given["branch"] == "last"
        use = replace(use, in_branch=bool(given["branch"]), ends_branch=last)
    if given.get("role") in ("vector", "finite") and (not use.used or "unknown" in use.labels):
        use = replace(use, labels=("each",) * ndim, is_matrix=False, kind="override", used=True)
    return use


def _product(values: list[float]) -> float:
    result = 1.0
    for value in values:
        result *= value
    return result


def _facts(growth: Growth, name: str, source: str, use: TensorUse, depth_ratio: float) -> TensorFacts:
    ratios = growth.ratios(name, source)
    flags = growth.grows(source, ratios)
    labels = use.labels if len(use.labels) == len(ratios) else ("unknown",) * len(ratios)
    if "unknown" in labels and any(flags) and use.used:
        raise PlanError(
            f"{name} (shape {growth.target[name]}) is used in a way that shapes and calls do not explain "
            f"({use.kind}); give overrides={{{re.escape(name)!r}: {{'labels': (...)}}}} with one of "
            "'in', 'out', 'lookup', 'copy', 'kernel', 'each' per dimension"
        )
    grown_in = any(flag for flag, label in zip(flags, labels) if label == "in")
    grown_out = any(flag for flag, label in zip(flags, labels) if label in ("out", "each"))
    # What the last map puts out is a number of classes or tokens; where it grows with the width it is none.
    out_is_width = grown_out and not (use.at_output and _only_neutral(growth, source, labels))
    m_in = _product([ratio for ratio, label in zip(ratios, labels) if label == "in"])
    m_out = _product([ratio for ratio, label in zip(ratios, labels) if label in ("out", "each")])
    axes = tuple(axis.name for axis, count in zip(growth.axes, growth.counts) if _touches(axis, count, source, growth))
    role, why = _role(use, grown_in, out_is_width)
    if role == "readout" and not use.direct:
        raise PlanError(
            f"the readout {name} is computed from several parameters (a normalized or merged weight), so that its "
            "scale is not that of its entries; use a plain weight there, or give "
            f"overrides={{{re.escape(name)!r}: 'hidden'}}"
        )
    if use.is_router:
        m_out = 1.0
    in_branch = use.in_branch
    return TensorFacts(
        name=name,
        template=template_of(name),
        role=role,
        axes=axes,
        m_in=m_in,
        m_out=m_out if out_is_width or not use.at_output else 1.0,
        m_depth=depth_ratio if in_branch else 1.0,
        ends_branch=in_branch and use.ends_branch,
        at_output=use.at_output,
        is_matrix=use.is_matrix,
        base_shape=_rows_columns(growth.base[source], labels),
        target_shape=_rows_columns(growth.target[name], labels),
        carrier=None if use.carrier is None else name.rpartition(".")[0],
        tied_to=use.primary if use.shared and use.primary != source else None,
        why=why + _branch_words(use),
    )


def _only_neutral(growth: Growth, source: str, labels: tuple[str, ...]) -> bool:
    """No axis of width grows an output dimension of this tensor."""
    old = growth.base[source]
    for axis in growth.axes:
        new = axis.shapes.get(source, old)
        grown = [label for label, a, b in zip(labels, old, new) if a != b]
        if any(label in ("out", "each") for label in grown) and axis not in growth.neutral:
            return False
    return True


def _touches(axis: Axis, count: Counter[str], source: str, growth: Growth) -> bool:
    """The axis changes this tensor's shape, or how many tensors of its template there are."""
    if axis.shapes.get(source, growth.base[source]) != growth.base[source]:
        return True
    template = template_of(source)
    return count[template] != growth.base_counts[template]


def _rows_columns(shape: tuple[int, ...], labels: tuple[str, ...]) -> tuple[int, int]:
    rows = int(_product([float(size) for size, label in zip(shape, labels) if label in ("out", "each")]))
    columns = int(_product([float(size) for size, label in zip(shape, labels) if label in ("in", "kernel")]))
    return max(rows, 1), max(columns, 1)


def _role(use: TensorUse, grown_in: bool, grown_out: bool) -> tuple[Role, str]:
    word = {"product": "matrix product", "lookup": "lookup table", "add": "added", "multiply": "factor"}.get(
        use.kind, use.kind
    )
    if not use.is_matrix:
        if not grown_out:
            return "finite", f"{word}, nothing grows"
        if use.kind == "add" and len(use.labels) > 1:
            return "embedding", "table added to the activations, its width grows"
        return "vector", f"{word}, one entry per unit"
    if use.is_router and grown_in:
        return "router", f"{word} that chooses experts, fan-in grows"
    if grown_in and grown_out:
        return "hidden", f"{word}, fan-in and fan-out grow"
    if grown_in and use.at_output:
        return "readout", f"{word}, fan-in grows, reaches the output"
    if grown_in:
        return "hidden", f"{word}, fan-in grows, fan-out fixed inside the network"
    if grown_out:
        return "embedding", f"{word}, only fan-out grows"
    return "finite", f"{word}, nothing grows"


def _branch_words(use: TensorUse) -> str:
    if not use.in_branch:
        return ""
    return "; last map of a residual branch" if use.ends_branch else "; in a residual branch"


def _refuse_unseen(names: list[str]) -> None:
    raise PlanError(
        f"the recorded forward pass never uses {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}; pass "
        f"example_inputs that use it, or overrides={{{re.escape(names[0])!r}: {{'labels': (...)}}}} with one of 'in', "
        "'out', 'lookup', 'copy', 'kernel', 'each' per dimension"
    )


def _with_role(fact: TensorFacts, overrides: Overrides) -> TensorFacts:
    given = override_for(fact.name, overrides)
    if "role" not in given:
        return fact
    role = given["role"]
    if role not in ROLES:
        raise PlanError(f"role {role!r} of {fact.name} is none of {', '.join(ROLES)}")
    return replace(fact, role=role, at_output=fact.at_output or role == "readout", why=f"override: {role}")
