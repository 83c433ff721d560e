"""A growing head dimension: which factor the attention scale needs, and which tensors can take it."""

from dataclasses import dataclass
from typing import Literal

from limes.core.errors import PlanError
from limes.parametrize.branches import AttentionCall, find_attention
from limes.parametrize.trace import Graph

AttentionMode = Literal["auto", "factor", "fold", "keep"]


@dataclass(frozen=True, slots=True, eq=False)
class AttentionChange:
    """What happens to the attention from base to target.

    Args:
        growth: head_dim of the target over that of the base.
        own: Scale of the target's own code over that of the base's.
        queries: Names of the base's tensors that can take a factor; empty where the maps are packed or shared.
    """

    growth: float
    own: float
    queries: tuple[str, ...]


def compare_attention(base: Graph, grown: Graph) -> AttentionChange | None:
    """Compare the attention calls of the base with those of a wider network; None where none grows.

    Raises:
        PlanError: Calls grow by different ratios, or a scale cannot be read.

    Source: limes, docs/parametrize.md.

    >>> compare_attention(Graph(), Graph()) is None
    True
    """
    old, new = find_attention(base), find_attention(grown)
    if not old or not new:
        return None
    changes = {(after.head_dim / before.head_dim, _own(before, after)) for before, after in zip(old, new)}
    growing = {change for change in changes if change[0] != 1.0}
    if not growing:
        return None
    if len(changes) > 1:
        raise PlanError(
            f"attention heads grow by different ratios {sorted(change[0] for change in changes)}; give them one "
            "head_dim or pass attention='keep'"
        )
    growth, own = growing.pop()
    if own is None:
        raise PlanError(
            f"the head dimension grows by {growth:g} but the attention scale in {old[0].module!r} could not be read; "
            "pass attention='keep' and scale it yourself, or keep head_dim fixed"
        )
    return AttentionChange(growth, own, _foldable(base, old))


def _own(before: AttentionCall, after: AttentionCall) -> float | None:
    if before.scale is None or after.scale is None:
        return None
    return after.scale / before.scale


def _foldable(graph: Graph, calls: list[AttentionCall]) -> tuple[str, ...]:
    """Tensors of the query maps alone; nothing where query and key share a packed tensor."""
    names: list[str] = []
    for call in calls:
        if call.queries is None or (call.keys is not None and call.queries & call.keys):
            return ()
        names += [name for leaf in call.queries for name in graph.nodes[leaf].names]
    return tuple(dict.fromkeys(names))


def attention_factor(change: AttentionChange | None, wanted: float) -> float:
    """Factor on the target's own scale so that it becomes the wanted multiple of 1/sqrt(head_dim) of the base.

    Args:
        change: From `compare_attention`.
        wanted: What the parametrization asks of 1/sqrt(head_dim) at this growth.

    Source: arXiv:2203.03466 Definition 4.1; relative to the base.

    >>> attention_factor(AttentionChange(4.0, 0.5, ()), 0.5)   # own 1/sqrt(d), wanted 1/d
    0.5
    """
    if change is None or wanted == 1.0:
        return 1.0
    return wanted * change.growth**-0.5 / change.own
