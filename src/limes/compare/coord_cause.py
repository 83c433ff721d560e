"""From failures to the setting that is likely to blame.

A wrong setting of one tensor moves everything behind it. So the causes are sought in quantities of single maps, which
do not see what comes before: the gain of the map at initialization, the gain of its update, and the size of the update
relative to the learning rate; the latter two in the first step, when no tensor has felt the others yet. Both gains off
by about one power: a multiplier. The gain of the update alone: the learning rate, or eps, if the update itself shrinks
relative to the learning rate. The gain at initialization alone: the std.

Source: limes, docs/coord_check.md.
"""

from collections.abc import Mapping, Sequence

from limes.compare.coord_result import Cause, CoordRow
from limes.parametrize.declared import Declaration, TensorExponents

_RATES = {"hidden": "hidden learning rate", "embedding": "embedding learning rate",
          "readout": "readout learning rate"}  # fmt: skip
# A multiplier moves both gains by the same power, a wrong std only the first one, a wrong learning rate too the second
# one by twice as much (standard training's readout).
_LEAST, _MOST = 0.4, 1.5
Rows = Mapping[tuple[str, str], CoordRow]


def find_causes(
    rows: Sequence[CoordRow],
    declaration: Declaration,
    *,
    tolerance: float,
    exponents: Mapping[str, Mapping[str, float]],
    normalizes: bool,
    owners: Mapping[str, str],
) -> tuple[Cause, ...]:
    """Likely causes of the failures, one per tensor or module; empty where nothing fails.

    Args:
        rows: Of one axis, judged.
        declaration: What was declared.
        tolerance: As in the verdict.
        exponents: For each template the measured exponents of `lr_scale`, `eps_scale`, `init_std`, `multiplier` of the
            plans that were used.
        owners: For each tensor the module at whose output its effect is seen.
        normalizes: The optimizer's update does not grow with the gradient, so that eps can matter.
    """
    failed = [row for row in rows if row.verdict == "fails"]
    if not failed:
        return ()
    table = {(row.quantity, row.name): row for row in rows}
    causes: list[Cause] = []
    blamed: set[str] = set()
    # Matrices first: what is wrong with the map of a module is wrong with its bias, and said once.
    outer = outer_tensors(owners)
    for name, entry in sorted(declaration.tensors.items(), key=lambda item: (item[0] in outer, not item[1].is_matrix)):
        if not entry.is_matrix and name.rpartition(".")[0] in blamed:
            continue
        # Seen at the output of the whole model only, its effect passes through others: they come first.
        if name in outer and blamed and not owners.get(name):
            continue
        cause = _tensor_cause(name, entry, table, declaration, tolerance, normalizes=normalizes)
        if cause is not None:
            setting, words = cause
            blamed.add(name.rpartition(".")[0])
            sentence = f"{setting} of {name}: {words}{_used(setting, exponents.get(name, {}))}"
            causes.append(Cause(axis=declaration.axis, setting=setting, name=name, sentence=sentence))
    causes += _attention_causes(failed, causes, declaration)
    causes += _decay_causes([row for row in failed if row.name.rpartition(".")[0] not in blamed], declaration)
    if declaration.axis == "depth" and declaration.block_ratio is None:
        causes.insert(0, _no_rule(failed, declaration))
    return tuple(causes) or (_unexplained(failed, declaration),)


def outer_tensors(owners: Mapping[str, str]) -> frozenset[str]:
    """Tensors whose effect is seen at the output of a module that holds the maps of other tensors, too."""
    inner = set(owners.values())
    return frozenset(
        name
        for name, owner in owners.items()
        if any(other != owner and (not owner or other.startswith(f"{owner}.")) for other in inner)
    )


def _off(row: CoordRow | None, tolerance: float) -> float:
    """Signed deviation of a slope whose whole interval lies outside the tolerance; else 0."""
    if row is None or row.low is None or row.high is None or row.declared is None:
        return 0.0
    below = row.bound == "equals" and row.high < row.declared - tolerance
    outside = row.low > row.declared + tolerance or below
    return row.excess if outside else 0.0


def _tensor_cause(
    name: str,
    entry: TensorExponents,
    table: Rows,
    declaration: Declaration,
    tolerance: float,
    *,
    normalizes: bool,
) -> tuple[str, str] | None:
    """(setting, words) for one tensor; None where its own map does what is declared."""
    effective = table.get(("effective", name))
    has_map = entry.is_matrix and ("map change", name) in table
    update = table.get(("map change" if has_map else "own change", name)) or effective
    if effective is None or update is None:
        return None
    initial = table.get(("map init", name) if has_map else ("init", name.rpartition(".")[0]))
    at_init = _off(initial, tolerance) if entry.is_matrix else 0.0
    change = _off(update, tolerance)
    if change and initial is not None and entry.is_matrix and abs(initial.excess) > tolerance:
        at_init = initial.excess  # with a wrong update beside it, a wide interval is no excuse
    grown = "the width" if declaration.axis == "width" else "the depth"
    if at_init and _LEAST < update.excess / at_init < _MOST:
        words = f"its output at initialization and its update go with {grown} to the powers {at_init:+.2f} and "
        return _multiplier(entry, declaration), f"{words}{update.excess:+.2f} too much"
    if change:
        step = table.get(("step", name)) if normalizes else None
        words = f"its update acts with {grown} to the power {update.slope:+.2f}, declared {update.declared:+.2f}"
        if step is not None and step.excess * change > 0 and abs(step.excess) >= abs(change) / 2:
            return "epsilon", f"{words}, because its entries shrink relative to the learning rate by {step.excess:+.2f}"
        if at_init:
            words += f"; and its output at initialization is off by {at_init:+.2f}"
        return _RATES.get(entry.role, "learning rate"), words
    if at_init:
        return "init std", f"its output at initialization goes with {grown} to the power {at_init:+.2f} too much"
    return None


def _multiplier(entry: TensorExponents, declaration: Declaration) -> str:
    if entry.folded:
        return "attention scale"
    if entry.role == "readout":
        return "readout multiplier"
    return "residual multiplier" if declaration.axis == "depth" and entry.ends_branch else "multiplier"


def _used(setting: str, exponents: Mapping[str, float]) -> str:
    """What the plans did with the setting, in words."""
    key = "eps_scale" if setting == "epsilon" else "init_std" if setting == "init std" else "lr_scale"
    if setting in ("readout multiplier", "residual multiplier", "multiplier") and exponents.get("multiplier"):
        key = "multiplier"
    if key not in exponents:
        return ""
    return f" (the plan's {key} goes to the power {exponents[key]:+.2f})"


def _attention_causes(failed: Sequence[CoordRow], known: Sequence[Cause], declaration: Declaration) -> list[Cause]:
    """Attention logits off although queries and keys are right."""
    causes = []
    for name in dict.fromkeys(row.name for row in failed if row.quantity.startswith("attention ")):
        # Along the depth the logits follow what queries and keys are given; along the width they have their own scale.
        inside = [row.name for row in failed if not row.quantity.startswith("attention ")]
        inside = inside if declaration.axis == "depth" else []
        if any(other.startswith(f"{name}.") for other in [*(cause.name for cause in known), *inside]):
            continue
        parts = [row for row in failed if row.name == name and row.quantity.startswith("attention ")]
        words = " and ".join(
            f"{row.quantity} goes as {row.slope or 0:+.2f}, declared {row.declared or 0:+.2f}" for row in parts
        )
        sentence = f"attention scale of {name}: {words}, while its query and key maps are right"
        causes.append(Cause(axis=declaration.axis, setting="attention scale", name=name, sentence=sentence))
    return causes


def _decay_causes(failed: Sequence[CoordRow], declaration: Declaration) -> list[Cause]:
    return [
        Cause(
            axis=declaration.axis,
            setting="weight decay",
            name=row.name,
            sentence=f"weight decay of {row.name}: what a step takes away goes to the power {row.slope or 0:+.2f}, "
            "and should stay as at the base",
        )
        for row in failed
        if row.quantity == "shrinkage"
    ]


def _no_rule(failed: Sequence[CoordRow], declaration: Declaration) -> Cause:
    worst = max(failed, key=lambda row: abs(row.excess))
    return Cause(
        axis="depth",
        setting="residual multiplier",
        name=worst.name,
        sentence=f"residual multiplier: {declaration.parametrization} has no rule of depth, so that residual branches "
        f"add up; worst is {worst.quantity} of {worst.name} with the power {worst.slope or 0:+.2f}",
    )


def _unexplained(failed: Sequence[CoordRow], declaration: Declaration) -> Cause:
    first = failed[0]
    return Cause(
        axis=declaration.axis,
        setting="unknown",
        name=first.name,
        sentence=f"no setting of a single tensor explains it; first off is {first.quantity} of {first.name}: look for "
        "what the forward pass does there that changes with the size",
    )
