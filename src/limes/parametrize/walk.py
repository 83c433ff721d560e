"""Walks over the recorded graph: the last maps behind a value, what reaches the output, where a hook can
act.
"""

from collections.abc import Iterable

from limes.parametrize.trace import Graph, Node
from limes.parametrize.uses import MULTIPLIES, PRODUCTS, Use

# Linear in their first data argument and without parameters: a factor passes through them unchanged.
# fmt: off
PASS = frozenset({
    "dropout", "feature_dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "reshape", "view",
    "flatten", "unflatten", "transpose", "permute", "contiguous", "squeeze", "unsqueeze", "to", "float", "half",
    "double", "bfloat16", "type", "type_as", "clone", "detach", "__getitem__", "chunk", "split", "tensor_split",
    "unbind", "select", "narrow", "mean", "sum", "roll", "pad", "expand", "expand_as", "repeat",
    "repeat_interleave", "movedim", "moveaxis", "swapaxes", "swapdims", "t", "T", "mT", "neg", "__neg__",
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
    "interpolate", "upsample", "fold", "unfold", "pixel_shuffle", "pixel_unshuffle", "view_as", "reshape_as",
    "flip", "index_select", "gather", "cumsum", "identity", "requires_grad_", "masked_fill", "squeeze_",
    "unsqueeze_", "transpose_", "tril", "triu",
})
SUMS = frozenset({
    "add", "add_", "__add__", "__radd__", "__iadd__", "sub", "__sub__", "cat", "concat", "stack", "hstack",
    "vstack", "where", "lerp",
})
# fmt: on
# Sums into a buffer: the index argument is data, but carries no value.
SCATTERS = {
    "index_add_": (0, 3),
    "index_add": (0, 3),
    "index_copy_": (0, 3),
    "scatter_add_": (0, 3),
    "scatter_add": (0, 3),
    "__setitem__": (0, 2),
    "index_put_": (0, 2),
}  # fmt: skip


def used_leaves(graph: Graph, node: Node) -> set[int]:
    """Parameter leaves that enter a call on data directly, or through calls on parameters alone."""
    found: set[int] = set()
    for parent in graph.parents(node):
        mask = 0 if parent.has_data else parent.ancestors
        while mask:
            lowest = mask & -mask
            mask ^= lowest
            index = lowest.bit_length() - 1
            if graph.nodes[index].op == "parameter":
                found.add(index)
    return found


def value_parents(graph: Graph, node: Node) -> list[Node]:
    """Data arguments that carry values into the result, for ops through which a factor passes."""
    if node.op in SCATTERS:
        first, second = SCATTERS[node.op]
        kept = [index for slot, index in node.slots if slot in (first, second, "source", "self", "src")]
        return [graph.nodes[index] for index in kept if graph.nodes[index].has_data]
    data = graph.data_parents(node)
    return data[:1] if node.op in PASS else data


def last_maps(graph: Graph, node: Node, *, stop: Node | None = None) -> set[int] | None:
    """Leaves of the last linear maps before `node`: scaling all of them scales the value, nothing else.

    Args:
        graph: The recorded pass.
        node: The value to be scaled.
        stop: Where a residual branch begins; reaching it means that the branch contains a bare copy.

    Returns:
        Parameter leaves (weights and biases of the last maps, or the gains and biases of a final norm), or
        None where a nonlinear op without parameters comes last, so that no tensor can take the factor.

    Source: limes, docs/parametrize.md.

    >>> import torch
    >>> from limes.parametrize.trace import record_forward
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1, bias=False))
    >>> graph = record_forward(model, (torch.zeros(1, 2),), {})
    >>> last_maps(graph, graph.nodes[-1]) == {graph.parameters["2.weight"]}
    True
    """
    return _Walk(graph, stop).maps(node)


class _Walk:
    """One backward search, each node visited once."""

    def __init__(self, graph: Graph, stop: Node | None) -> None:
        self.graph = graph
        self.stop = -1 if stop is None else stop.index
        self.cache: dict[int, set[int] | None] = {}

    def maps(self, node: Node) -> set[int] | None:
        if node.index not in self.cache:
            self.cache[node.index] = self._step(node)
        return self.cache[node.index]

    def _step(self, node: Node) -> set[int] | None:
        if node.index == self.stop or node.op == "input":
            return None
        leaves = used_leaves(self.graph, node)
        if leaves and node.op not in SUMS:
            return leaves
        if leaves:
            return self._union([leaves, *map(self.maps, self.graph.data_parents(node))])
        if node.op in SUMS or node.op in SCATTERS or node.op in PASS:
            return self._union(map(self.maps, value_parents(self.graph, node)))
        if node.op in MULTIPLIES or node.op in PRODUCTS:
            return self._product(node)
        return None

    def _product(self, node: Node) -> set[int] | None:
        """Through a constant factor; through a gate only where one side alone is linear."""
        data = self.graph.data_parents(node)
        if len(data) == 1:
            return self.maps(data[0]) if node.op not in ("__rtruediv__", "pow", "__pow__", "__rpow__") else None
        found = [maps for parent in data if (maps := self.maps(parent)) is not None]
        return found[0] if len(found) == 1 else None

    @staticmethod
    def _union(parts: Iterable[set[int] | None]) -> set[int] | None:
        total: set[int] = set()
        for part in parts:
            if part is None:
                return None
            total |= part
        return total or None


def reaches_output(graph: Graph, uses: dict[int, list[Use]]) -> set[int]:
    """Nodes from which the output is reached without another matrix on the way.

    Source: limes.

    >>> import torch
    >>> from limes.parametrize.trace import record_forward
    >>> from limes.parametrize.uses import find_uses
    >>> graph = record_forward(torch.nn.Linear(2, 3), (torch.zeros(1, 2),), {})
    >>> len(reaches_output(graph, find_uses(graph)))   # the map and its parameters
    3
    """
    matrices = {use.node for parts in uses.values() for use in parts if use.is_matrix or "unknown" in use.labels}
    return clear_of(graph, graph.outputs, matrices)


def clear_of(graph: Graph, ends: set[int], matrices: set[int]) -> set[int]:
    """Nodes from which one of `ends` is reached without passing through a call in `matrices`."""
    clear = set(ends)
    for node in reversed(graph.nodes):
        if node.index in clear:
            parents = graph.parents(node)
            clear.update(parent.index for parent in parents if not parent.has_data or node.index not in matrices)
    return clear


def carriers(graph: Graph, uses: dict[int, list[Use]]) -> dict[str, str]:
    """For each parameter name, the module whose output is its map's output, so that a hook there multiplies
    it.

    Source: limes.

    >>> import torch
    >>> from limes.parametrize.trace import record_forward
    >>> from limes.parametrize.uses import find_uses
    >>> graph = record_forward(torch.nn.Sequential(torch.nn.Linear(2, 3)), (torch.zeros(1, 2),), {})
    >>> carriers(graph, find_uses(graph))
    {'0.weight': '0', '0.bias': '0'}
    """
    owned: dict[str, list[str]] = {}
    for name in graph.parameters:
        owned.setdefault(name.rpartition(".")[0], []).append(name)
    found: dict[str, str] = {}
    for owner, names in owned.items():
        outputs = graph.module_outputs.get(owner)
        if not outputs:
            continue
        ends = {_through(graph, graph.nodes[index]) for index in outputs}
        nodes = [{use.node for use in uses[graph.parameters[name]]} for name in names]
        if all(ends <= each for each in nodes):
            found.update({name: owner for name in names})
    return found


def _through(graph: Graph, node: Node) -> int:
    """The node behind reshapes and the like."""
    while node.op in PASS and len(value_parents(graph, node)) == 1 and not used_leaves(graph, node):
        node = value_parents(graph, node)[0]
    return node.index
