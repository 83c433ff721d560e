"""From measured sizes to verdicts: which exponent each quantity is held to, its slope, its interval.

The rule: a slope passes if its whole interval lies within the tolerance of the declared exponent (or below it, where
only growth is forbidden), fails if the whole interval lies outside, and is undecided otherwise.

Source: limes, docs/coord_check.md; exponents of arXiv:2203.03466 Appendix J and arXiv:2505.01618 Section 4.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

import numpy as np
from scipy import stats

from limes.compare.coord_result import Bound, CoordRow, RowVerdict
from limes.compare.coord_run import LOGITS, Key
from limes.parametrize.declared import Declaration, TensorExponents

Target = tuple[float, Bound]
QUANTITIES = (
    "init", "change", "effective", "propagating", "attention init", "attention change", "second order", "shrinkage",
    "map init", "map change", "own change", "step", "gradient",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """How slopes are judged.

    Attributes:
        level: Of the intervals.
        tolerance: Half the smallest difference between the exponents of published rules, by default.
        decays: Learning rate times decay shall stay as at the base.
    """

    level: float
    tolerance: float
    decays: bool


def target_of(key: Key, declaration: Declaration, *, decays: bool, outer: Collection[str] = ()) -> Target | None:
    """The exponent that a quantity is held to; None where nothing is declared.

    Args:
        key: (quantity, template).
        declaration: What the parametrization declares along the axis.
        decays: Whether shrinkage by weight decay shall stay as it is.
        outer: Tensors whose effect is seen at the output of a larger module only, because no module is their map.
    """
    quantity, name = key
    if quantity in ("effective", "map init", "map change", "own change", "step"):
        if name in outer and declaration.features:
            return None  # what a tensor does to the output of other maps behind it has no declared exponent
        return _tensor_target(quantity, declaration.tensors.get(name), declaration)
    if quantity == "init":
        return _init_target(name, declaration)
    if quantity == "change":
        return _change_target(name, declaration)
    if quantity == "propagating":
        return _propagating_target(declaration.tensors.get(name), declaration)
    if quantity == "attention init":
        return declaration.attention_init, "equals"
    if quantity == "attention change" and declaration.attention_change is not None:
        return declaration.attention_change, "equals" if declaration.axis == "width" else "at most"
    if quantity == "second order" and declaration.block_ratio is not None and _many_matrices(name, declaration):
        return declaration.block_ratio, "equals"
    if quantity == "shrinkage" and decays:
        return 0.0, "equals"
    return None


def _tensor_target(quantity: str, entry: TensorExponents | None, declaration: Declaration) -> Target | None:
    if entry is None:
        return None
    if quantity == "step":
        return 0.0, "equals"
    if quantity == "map init":
        return _map_target(entry, declaration)
    return None if entry.effective is None else (entry.effective, "equals")


def _map_target(entry: TensorExponents, declaration: Declaration) -> Target:
    """Output of a map at initialization; a bias that is not zero can cover it."""
    module = entry.label.rpartition(".")[0]
    beside = [other for other in declaration.tensors.values() if other.label.rpartition(".")[0] == module]
    biases = [other.init for other in beside if not other.is_matrix and not other.zero]
    return (max(entry.init, *biases), "at most") if biases else (entry.init, "equals")


def _owned(name: str, declaration: Declaration) -> list[TensorExponents]:
    """Matrices whose map is the module `name`."""
    return [
        entry for label, entry in declaration.tensors.items() if entry.is_matrix and label.rpartition(".")[0] == name
    ]


def _init_target(name: str, declaration: Declaration) -> Target | None:
    if name == LOGITS:
        return (0.0, "at most") if declaration.logits_init is None else (declaration.logits_init, "equals")
    owned = _owned(name, declaration)
    if len(owned) == 1 and (owned[0].role != "readout" or declaration.logits_init is not None):
        return _map_target(owned[0], declaration)
    return 0.0, "at most"


def _change_target(name: str, declaration: Declaration) -> Target | None:
    features = declaration.features
    if name == LOGITS:
        return 0.0, "equals"
    owned = _owned(name, declaration)
    inner = name in declaration.inner
    if declaration.axis == "depth":
        return ((owned[0].init if owned else 0.0), "at most") if inner else (0.0, "equals")
    if len(owned) == 1:
        entry = owned[0]
        return (entry.effective or 0.0) if entry.role == "readout" or entry.folded else features, "equals"
    return features, "at most" if inner else "equals"


def _propagating_target(entry: TensorExponents | None, declaration: Declaration) -> Target | None:
    if entry is None or not entry.is_matrix:
        return None
    if declaration.axis == "depth":
        return entry.init, "at most"
    if entry.role == "readout":
        return 0.0, "at most"
    # A random map hands on a change by its own gain.
    return declaration.features + entry.init, "at most"


def _many_matrices(name: str, declaration: Declaration) -> bool:
    """The subset is a part with two matrices or more, or a whole block without such parts.

    One matrix alone can act linearly, and has no second order then; in a whole block several parts mix, which act on
    each other more weakly with depth than each on itself.
    """
    block, _, label = name.partition(": ")
    inside = [
        template[len(block) + 1 :].partition(".")[0]
        for template, entry in declaration.tensors.items()
        if entry.is_matrix and template.startswith(f"{block}.")
    ]
    parts = {part for part in inside if inside.count(part) >= 2}
    return label in parts if parts else label == "all" and len(inside) >= 2


@dataclass(frozen=True, slots=True, eq=False)
class _Slopes:
    """Slopes of one quantity by seed; empty where a value is zero or not finite."""

    key: Key
    values: np.ndarray  # (num_sizes, num_seeds)
    slopes: np.ndarray  # (num_seeds,)
    target: Target | None


def judge(
    values: Mapping[Key, np.ndarray],
    growth: Sequence[float],
    declaration: Declaration,
    rule: Rule,
    *,
    outer: Collection[str] = (),
) -> tuple[CoordRow, ...]:
    """Rows with verdicts, judged ones first.

    Args:
        values: (num_sizes, num_seeds) by quantity and template; nan where a network does not have it, infinite where
            it diverged.
        growth: (num_sizes,) of the axis.
        declaration: What is declared.
        rule: How to judge.
        outer: See `target_of`.
    """
    found = []
    for key, table in values.items():
        target = target_of(key, declaration, decays=rule.decays, outer=outer)
        if target is not None and _without_gradient(key, values, declaration):
            target = None
        if np.isnan(table).any():
            continue  # not every network has it, or not under this name
        found.append(_Slopes(key, table, _fit(table, growth), target))
    # Few seeds can agree by chance: no row is taken to be surer than the median one.
    judged = [part for part in found if part.target is not None and len(part.slopes) > 1]
    spreads = [float(part.slopes.std(ddof=1)) for part in judged if part.key[0] != "shrinkage"]
    floor = median(spreads) if spreads else 0.0
    rows = []
    for part in found:
        # What weight decay takes is exact.
        row = _row(part, 0.0 if part.key[0] == "shrinkage" else floor, declaration.axis, rule)
        rows += [] if row is None else [row]
    return tuple(sorted(rows, key=lambda row: (row.verdict == "shown", QUANTITIES.index(row.quantity))))


def _fit(table: np.ndarray, growth: Sequence[float]) -> np.ndarray:
    if not (np.isfinite(table).all() and (table > 0).all()):
        return np.empty(0)
    x = np.log(np.asarray(growth))
    centered = x - x.mean()
    slopes: np.ndarray = centered @ np.log(table) / (centered @ centered)
    return slopes


def _without_gradient(key: Key, values: Mapping[Key, np.ndarray], declaration: Declaration) -> bool:
    """A vector whose gradient is rounding, such as the bias of the keys, which the softmax does not see."""
    quantity, name = key
    entry = declaration.tensors.get(name)
    if entry is None or entry.is_matrix or quantity not in ("effective", "map change", "own change", "step"):
        return False
    own = values.get(("gradient", name))
    module = name.rpartition(".")[0]
    beside = [
        table
        for (kind, other), table in values.items()
        if kind == "gradient" and other != name and other.rpartition(".")[0] == module
    ]
    return own is not None and any(float(np.nanmin(own)) < 1e-3 * float(np.nanmin(table)) for table in beside)


def _row(part: _Slopes, floor: float, axis: Literal["width", "depth"], rule: Rule) -> CoordRow | None:
    quantity, name = part.key
    if not len(part.slopes) and (part.values == 0).any():
        return None  # what is zero has no exponent: a lookup propagates nothing
    slope, low, high = None, None, None
    count = len(part.slopes)
    if count:
        slope = float(part.slopes.mean())
        spread = max(float(part.slopes.std(ddof=1)), floor) if count > 1 else math.inf
        half = float(stats.t.ppf(0.5 + rule.level / 2, count - 1)) * spread / count**0.5 if count > 1 else math.inf
        low, high = (slope - half, slope + half) if math.isfinite(half) else (None, None)
    declared: float | None = None
    bound: Bound = "equals"
    if part.target is not None:
        declared, bound = part.target
    finite = bool(np.isfinite(part.values).all())
    return CoordRow(
        axis=axis,
        quantity=quantity,
        name=name,
        values=tuple(tuple(float(value) for value in row) for row in part.values),
        slope=slope,
        low=low,
        high=high,
        declared=declared,
        bound=bound,
        verdict=_verdict(declared, bound, (slope, low, high), rule.tolerance, quantity=quantity, finite=finite),
    )


def _verdict(
    declared: float | None,
    bound: Bound,
    found: tuple[float | None, float | None, float | None],
    tolerance: float,
    *,
    quantity: str,
    finite: bool,
) -> RowVerdict:
    if declared is None or quantity in ("map init", "map change", "own change", "step", "gradient"):
        return "shown"
    slope, low, high = found
    if slope is None:
        return "undecided" if finite else "fails"
    if low is None or high is None:
        return "undecided"
    if high <= declared + tolerance and (bound == "at most" or low >= declared - tolerance):
        return "passes"
    if low > declared + tolerance or (bound == "equals" and high < declared - tolerance):
        return "fails"
    return "undecided"
