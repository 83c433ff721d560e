"""Residual branches and attention scales, found in the recorded forward pass.

A sum of two equal shapes of which one operand is an ancestor of the other, with parameters on the path, is a
residual, and those parameters are its branch. Operands that only share an ancestor, with parameters on both
sides, are a projected shortcut or parallel branches.
"""

from dataclasses import dataclass

from limes.parametrize.trace import Graph, Node
from limes.parametrize.uses import MULTIPLIES, PRODUCTS
from limes.parametrize.walk import PASS, SUMS, last_maps, used_leaves, value_parents

_RESIDUAL_SUMS = frozenset({"add", "add_", "__add__", "__radd__", "__iadd__"})


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """A residual branch.

    Args:
        leaves: Its parameters.
        ends: Those of its last maps; None where no tensor can take a factor.
        size: Number of calls in it; of two branches that hold a tensor, the smaller one counts.
        add: Index of the sum.
    """

    leaves: frozenset[int]
    ends: frozenset[int] | None
    size: int
    add: int


@dataclass(frozen=True, slots=True, eq=False)
class AttentionCall:
    """One attention product.

    Args:
        module: Where it was made.
        head_dim: Length of a query.
        scale: Factor on q.k; None where it could not be read.
        queries: Leaves of the last maps before the query; None where there is no such map.
        keys: The same of the key.
    """

    module: str
    head_dim: int
    scale: float | None
    queries: frozenset[int] | None
    keys: frozenset[int] | None


def find_branches(graph: Graph) -> list[Branch]:
    """All residual branches, in the order of the forward pass.

    Source: limes, docs/parametrize.md.

    >>> import torch
    >>> from limes.parametrize.trace import record_forward
    >>> layer = torch.nn.TransformerEncoderLayer(8, 2, batch_first=True).eval()
    >>> graph = record_forward(layer, (torch.zeros(1, 3, 8),), {})
    >>> [len(branch.leaves) for branch in find_branches(graph)]
    [4, 4]
    """
    found = []
    for node in graph.nodes:
        data = graph.data_parents(node)
        if node.op not in _RESIDUAL_SUMS or len(data) != 2 or data[0].shape != data[1].shape:
            continue
        first, second = data
        if first.index == second.index:
            continue
        if second.depends_on(first):
            source, end = first, second
        elif first.depends_on(second):
            source, end = second, first
        else:
            continue
        inside = [n for n in graph.nodes[source.index + 1 : end.index + 1] if _between(source, n, end)]
        leaves = frozenset(leaf for n in inside for leaf in used_leaves(graph, n))
        if leaves:
            ends = last_maps(graph, end, stop=source)
            found.append(Branch(leaves, None if ends is None else frozenset(ends), len(inside), node.index))
    return found


def find_shortcut_sums(graph: Graph) -> list[tuple[frozenset[int], frozenset[int] | None, frozenset[int]]]:
    """Sums of two parametrized paths from one ancestor: (leaves of a side, its last maps, leaves of the
    other).

    Each sum appears twice, once for each side.

    Source: limes, docs/parametrize.md.

    >>> from limes.parametrize.trace import Graph
    >>> find_shortcut_sums(Graph())
    []
    """
    found = []
    for node in graph.nodes:
        data = graph.data_parents(node)
        if node.op not in _RESIDUAL_SUMS or len(data) != 2 or data[0].shape != data[1].shape:
            continue
        first, second = data
        if first.depends_on(second) or second.depends_on(first):
            continue
        common = [n for n in graph.nodes[: node.index] if n.has_data and _both(n, first, second)]
        if not common:
            continue
        source = common[-1]
        sides = []
        for end in (first, second):
            inside = [n for n in graph.nodes[source.index + 1 : end.index + 1] if _between(source, n, end)]
            leaves = frozenset(leaf for n in inside for leaf in used_leaves(graph, n))
            ends = last_maps(graph, end, stop=source)
            sides.append((leaves, None if ends is None else frozenset(ends)))
        if sides[0][0] and sides[1][0]:
            found += [(*sides[0], sides[1][0]), (*sides[1], sides[0][0])]
    return found


def _both(node: Node, first: Node, second: Node) -> bool:
    return first.depends_on(node) and second.depends_on(node)


def _between(source: Node, node: Node, end: Node) -> bool:
    return node.index != source.index and node.depends_on(source) and end.depends_on(node)


def find_attention(graph: Graph) -> list[AttentionCall]:
    """All attention products, from the fused call or from the softmax back to the product of two activations.

    Source: limes, docs/parametrize.md.

    >>> import torch
    >>> from limes.parametrize.trace import record_forward
    >>> layer = torch.nn.TransformerEncoderLayer(8, 2, batch_first=True).eval()
    >>> call = find_attention(record_forward(layer, (torch.zeros(1, 3, 8),), {}))[0]
    >>> call.head_dim, call.scale
    (4, 0.5)
    """
    found = []
    for node in graph.nodes:
        if not node.has_data:
            continue
        if node.op == "scaled_dot_product_attention":
            query, key = (graph.nodes[index] for slot, index in node.slots if slot in ("query", "key"))
            head_dim = query.shape[-1]
            scale = node.constants.get("scale")
            scale = float(scale) if scale is not None else head_dim**-0.5
        elif node.op in ("softmax", "_softmax"):
            walked = _product_before(graph, node)
            if walked is None:
                continue
            query, key, scale = walked
            head_dim = query.shape[-1]
        else:
            continue
        factor, maps = _query_maps(graph, query)
        total = None if scale is None or factor is None else scale * factor
        keys = _query_maps(graph, key)[1]
        found.append(AttentionCall(node.module, head_dim, total, maps, keys))
    return found


def attention_factors(graph: Graph) -> set[int]:
    """Calls that scale queries or scores: behind a query map, and between the scores and their softmax."""
    found: set[int] = set()
    for node in graph.nodes:
        if not node.has_data:
            continue
        if node.op == "scaled_dot_product_attention":
            starts = [graph.nodes[index] for slot, index in node.slots if slot in ("query", "key")]
        elif node.op in ("softmax", "_softmax") and (walked := _product_before(graph, node)) is not None:
            starts = [graph.data_parents(node)[0], *walked[:2]]
        else:
            continue
        while starts:
            current = starts.pop()
            if used_leaves(graph, current) or current.index in found:
                continue
            found.add(current.index)
            if current.op in MULTIPLIES or current.op in PASS or current.op in SUMS:
                starts += graph.data_parents(current)
    return found


def _constant_factor(node: Node) -> float | None:
    """The number by which a call multiplies its one data argument; None where it is no number."""
    numbers = [value for value in node.constants.values() if isinstance(value, int | float)]
    if node.op not in MULTIPLIES:
        return 1.0
    if len(numbers) != 1 or node.op in ("pow", "__pow__", "__rpow__", "__rtruediv__"):
        return None
    return 1.0 / numbers[0] if node.op in ("div", "__truediv__") else float(numbers[0])


def _product_before(graph: Graph, softmax: Node) -> tuple[Node, Node, float | None] | None:
    """(query side, key side, scale) of the product of two activations behind a softmax; None for any other softmax."""
    scale: float | None = 1.0
    node = graph.data_parents(softmax)[0]
    while True:
        data = graph.data_parents(node)
        if (used_leaves(graph, node) and node.op not in SUMS) or not data:
            return None
        if node.op in PRODUCTS and len(data) >= 2:
            alpha = node.constants.get("alpha", 1.0)
            total = None if scale is None else scale * float(alpha)
            # With a third operand (baddbmm) the first is the bias.
            return data[-2], data[-1], total
        if node.op in PASS or node.op in SUMS:
            node = _deeper(graph, node)
        elif node.op in MULTIPLIES and len(data) == 1:
            factor = _constant_factor(node)
            scale = None if factor is None or scale is None else scale * factor
            node = data[0]
        else:
            return None


def _deeper(graph: Graph, node: Node) -> Node:
    """Of the operands of a sum (scores and a bias), the one that a product of activations leads to."""
    parents = value_parents(graph, node) or graph.data_parents(node)
    return max(parents, key=lambda parent: parent.index)


def _query_maps(graph: Graph, query: Node) -> tuple[float | None, frozenset[int] | None]:
    """(factor by which the query was scaled beforehand, leaves of its last maps)."""
    factor: float | None = 1.0
    node = query
    while not used_leaves(graph, node):
        data = graph.data_parents(node)
        if node.op in MULTIPLIES and len(data) == 1:
            own = _constant_factor(node)
            # A rotary table multiplies entry by entry and has no effect on the scale.
            is_number = any(isinstance(value, int | float) for value in node.constants.values())
            if is_number:
                factor = None if own is None or factor is None else factor * own
            node = data[0]
        elif node.op in PASS and value_parents(graph, node):
            node = value_parents(graph, node)[0]
        elif node.op in SUMS and data:
            node = data[0]
        else:
            break
    maps = last_maps(graph, query)
    return factor, None if maps is None else frozenset(maps)
