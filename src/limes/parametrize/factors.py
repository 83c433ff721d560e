"""Factors in the model's own forward pass that change with its size, such as a division by sqrt(width).

A plan prescribes what the effective weights do. A model that scales its activations or weights by itself would be
scaled twice; so such factors are found, by comparing the passes of the base and of a wider network, and refused.
"""

import math

from torch import Tensor

from limes.parametrize.branches import attention_factors
from limes.parametrize.trace import Graph, Node
from limes.parametrize.uses import MULTIPLIES
from limes.parametrize.walk import value_parents

_NORMALIZES = frozenset({"normalize", "norm", "vector_norm", "rsqrt", "linalg_norm", "linalg_vector_norm", "sum",
                         "mean", "layer_norm", "rms_norm", "group_norm"})  # fmt: skip


def own_factors(base: Graph, grown: Graph) -> list[tuple[str, float, float]]:
    """(module, factor of the base, factor of the wider network) for each number that changes with the size.

    A scalar tensor on the meta device has no value, reported as nan: it may change.
    Attention scales are left out (they have a rule), and so are factors behind a normalization, which only undo it.

    Source: limes, docs/parametrize.md.

    >>> own_factors(Graph(), Graph())
    []
    """
    if [node.op for node in base.nodes] != [node.op for node in grown.nodes]:
        return []
    skipped = attention_factors(base)
    found = []
    for old, new in zip(base.nodes, grown.nodes):
        if old.op not in MULTIPLIES or old.index in skipped or _undoes_norm(base, old):
            continue
        pairs = zip(_numbers(old), _numbers(new))
        found += [(old.module, a, b) for a, b in pairs if a != b]
    return found


def _numbers(node: Node) -> list[float]:
    """Numbers among the arguments; nan for a scalar tensor whose value the meta device does not have."""
    numbers = []
    for value in node.constants.values():
        if isinstance(value, int | float):
            numbers.append(float(value))
        elif isinstance(value, Tensor) and value.dim() == 0:
            numbers.append(math.nan if value.is_meta else float(value))
    return numbers


def _undoes_norm(graph: Graph, node: Node) -> bool:
    seen = node
    for _ in range(4):
        parents = value_parents(graph, seen) or graph.parents(seen)
        if not parents:
            return False
        if seen is not node and (seen.op in _NORMALIZES or _divides_by_data(graph, seen)):
            return True
        seen = parents[0]
    return seen.op in _NORMALIZES


def _divides_by_data(graph: Graph, node: Node) -> bool:
    return node.op in ("div", "__truediv__") and len(graph.data_parents(node)) == 2
