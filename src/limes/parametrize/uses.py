"""How each parameter takes part in the forward pass: what every one of its dimensions does.

A dimension is contracted with the input (`in`), makes the output (`out`), is looked up (`lookup`), counts
independent copies such as experts (`copy`), runs over the positions of a kernel (`kernel`), or acts entry by
entry (`each`). Growth of sizes alone cannot tell these apart; the call can.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from limes.parametrize.trace import Graph, Node

Label = str

NORMS = frozenset({"layer_norm", "rms_norm", "batch_norm", "group_norm", "instance_norm", "prelu"})
ADDS = frozenset({"add", "add_", "__add__", "__radd__", "__iadd__", "sub", "__sub__", "__rsub__", "cat", "stack",
                  "concat", "hstack", "vstack", "where", "masked_fill", "__setitem__", "lerp"})  # fmt: skip
MULTIPLIES = frozenset({"mul", "mul_", "__mul__", "__rmul__", "__imul__", "div", "__truediv__", "__rtruediv__",
                        "addcmul", "maximum", "minimum", "pow", "__pow__", "__rpow__"})  # fmt: skip
PRODUCTS = frozenset({"matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "mv", "dot", "addmm", "baddbmm", "addbmm",
                      "einsum", "inner", "grouped_mm", "_grouped_mm", "chain_matmul"})  # fmt: skip
RECURRENT = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell",
                       "rnn_relu_cell"})  # fmt: skip
CONVOLUTIONS = frozenset({"conv1d", "conv2d", "conv3d"})
TRANSPOSED = frozenset({"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"})


@dataclass(frozen=True, slots=True)
class Use:
    """One use of a parameter together with data.

    Args:
        labels: What each dimension of the stored parameter does.
        kind: Word for the reason: `linear`, `lookup`, `convolution`, `depthwise`, `norm`, `add`, `multiply`,
            ...
        node: The call.
        direct: The parameter enters the call as it is stored, up to a transpose, a slice or a cast.
    """

    labels: tuple[Label, ...]
    kind: str
    node: int
    direct: bool = True

    @property
    def is_matrix(self) -> bool:
        """It contracts, or looks up, along a dimension."""
        return any(label in ("in", "lookup") for label in self.labels)


@dataclass(frozen=True, slots=True)
class _Origin:
    """A parameter inside a tensor computed from parameters alone."""

    leaf: int
    dims: tuple[int | None, ...] | None  # for each current dimension, that of the parameter; None: lost track
    fixed: tuple[tuple[int, Label], ...] = ()
    direct: bool = True


def _matrix_labels(ndim: int, *, second: bool) -> tuple[Label, ...]:
    if ndim == 1:
        return ("in",)
    last: tuple[Label, Label] = ("in", "out") if second else ("out", "in")
    return ("copy",) * (ndim - 2) + last


def _einsum_labels(node: Node, slot: Any, ndim: int) -> tuple[Label, ...]:
    equation = next((value for value in node.constants.values() if isinstance(value, str)), "")
    if "->" not in equation or "." in equation:
        return ("unknown",) * ndim
    left, _, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    position = slot[1] if isinstance(slot, tuple) else slot - 1
    mine = terms[position]
    others = "".join(term for index, term in enumerate(terms) if index != position)
    return tuple("in" if c not in right else "copy" if c in others else "out" for c in mine)


def _conv_labels(node: Node, ndim: int, *, transposed: bool, shape: tuple[int, ...]) -> tuple[Label, ...]:
    groups = node.constants.get("groups", node.constants.get(6, 1))
    first: tuple[Label, Label] = ("in", "out") if transposed else ("out", "in")
    if groups > 1 and shape[1] == 1:
        first = ("each", "kernel")
    return (*first, *(("kernel",) * (ndim - 2)))


def _slot_position(slot: Any) -> Any:
    return {"input": 0, "weight": 1, "bias": 2, "other": 1, "mat1": 1, "mat2": 2, "self": 0}.get(slot, slot)


def _product_labels(node: Node, slot: Any, ndim: int) -> tuple[Label, ...]:
    position = _slot_position(slot)
    if node.op == "einsum":
        return _einsum_labels(node, slot, ndim)
    if node.op in ("addmm", "baddbmm", "addbmm"):
        return ("each",) * ndim if position == 0 else _matrix_labels(ndim, second=position == 2)
    if node.op == "inner":
        return ("out",) * (ndim - 1) + ("in",)
    second = (position == 0) if node.op == "__rmatmul__" else (position == 1)
    return _matrix_labels(ndim, second=second)


def labels_of(node: Node, slot: Any, shape: tuple[int, ...]) -> tuple[str, tuple[Label, ...]]:
    """(kind, labels) of a tensor of the given shape in one argument of a call."""
    ndim, position = len(shape), _slot_position(slot)
    each: tuple[Label, ...] = ("each",) * ndim
    if node.op in ("linear", "_weight_norm") and ndim == 2:
        return "linear", ("out", "in")
    if node.op in ("embedding", "embedding_bag"):
        return "lookup", ("lookup", "out")
    if node.op in PRODUCTS:
        return "product", _product_labels(node, slot, ndim)
    if node.op in CONVOLUTIONS | TRANSPOSED and ndim > 1:
        labels = _conv_labels(node, ndim, transposed=node.op in TRANSPOSED, shape=shape)
        return ("depthwise" if labels[0] == "each" else "convolution"), labels
    if node.op in RECURRENT and ndim == 2:
        return "recurrent", ("out", "in")
    if node.op == "bilinear" and ndim == 3:
        return "bilinear", ("out", "in", "in")
    if (node.op == "linear" and position == 2) or (ndim <= 1 and node.op in RECURRENT | CONVOLUTIONS | TRANSPOSED):
        return "bias", each
    if node.op in NORMS:
        return "norm", each
    if node.op == "scaled_dot_product_attention" and slot in (3, "attn_mask"):
        return "add", each
    if node.op in ADDS:
        return "add", each
    if node.op in MULTIPLIES:
        return "multiply", each
    return "unknown", each if ndim <= 1 else ("unknown",) * ndim


def _moved(node: Node, parent: Node, dims: tuple[int | None, ...]) -> tuple[int | None, ...] | None:
    """Dimensions after a call on parameters alone; None where they cannot be followed."""
    op, ndim = node.op, len(parent.shape)
    values = [value for key, value in node.constants.items() if key not in ("input", 0)]
    if op in ("t", "T", "adjoint") and ndim == 2:
        return dims[::-1]
    if op == "mT":
        return (*dims[:-2], dims[-1], dims[-2])
    if op in ("transpose", "swapaxes", "swapdims") and len(values) >= 2:
        a, b = (value % ndim for value in values[:2])
        swapped = list(dims)
        swapped[a], swapped[b] = swapped[b], swapped[a]
        return tuple(swapped)
    if op == "permute":
        order = values[0] if isinstance(values[0], list | tuple) else values
        return tuple(dims[index % ndim] for index in order)
    if op == "__getitem__":
        return _indexed(values[0] if values else None, dims)
    if op in ("unbind", "select") and values:
        return tuple(value for index, value in enumerate(dims) if index != values[0] % ndim)
    if len(node.shape) == ndim:
        # Casts, scalings, chunks, concatenations: the same dimensions in the same order.
        if op not in ("view", "reshape", "flatten") or node.shape == parent.shape:
            return dims
        return _aligned(node.shape, parent.shape, dims)
    return _padded(node.shape, parent.shape, dims) or _aligned(node.shape, parent.shape, dims)


def _indexed(index: Any, dims: tuple[int | None, ...]) -> tuple[int | None, ...] | None:
    parts = list(index) if isinstance(index, tuple) else [index]
    result: list[int | None] = []
    position = 0
    for part in parts:
        if part is None:
            result.append(None)
        elif part is Ellipsis:
            keep = len(dims) - position - sum(1 for p in parts[parts.index(Ellipsis) + 1 :] if p is not None)
            result += dims[position : position + keep]
            position += keep
        elif isinstance(part, slice):
            result.append(dims[position])
            position += 1
        elif isinstance(part, int) or getattr(part, "ndim", 1) == 0:
            position += 1
        else:
            result.append(dims[position])
            position += 1
    return (*result, *dims[position:])


def _padded(
    shape: tuple[int, ...], old: tuple[int, ...], dims: tuple[int | None, ...]
) -> tuple[int | None, ...] | None:
    """Match dimensions through added or removed sizes of one."""
    core = [(size, dim) for size, dim in zip(old, dims, strict=True) if size != 1]
    result: list[int | None] = []
    for size in shape:
        if core and size == core[0][0]:
            result.append(core.pop(0)[1])
        else:
            result.append(None)
    return tuple(result) if not core else None


def _aligned(
    shape: tuple[int, ...], old: tuple[int, ...], dims: tuple[int | None, ...]
) -> tuple[int | None, ...] | None:
    """Keep the last dimensions of a reshape that only rearranges leading ones which belong to no parameter."""
    kept = 0
    while kept < min(len(shape), len(old)) and shape[-1 - kept] == old[-1 - kept]:
        kept += 1
    if any(dim is not None for dim in dims[: len(old) - kept]):
        return None
    return (*((None,) * (len(shape) - kept)), *dims[len(old) - kept :])


def _is_lookup(node: Node) -> bool:
    """Rows picked by a tensor of indices that depends on no input."""
    if node.op == "__getitem__":
        index = next((value for key, value in node.constants.items() if key in (1, "other")), None)
        return isinstance(index, Tensor) and not index.is_floating_point()
    return node.op in ("embedding", "index_select")


def _derive(graph: Graph, node: Node, known: Mapping[int, list[_Origin]]) -> list[_Origin]:
    """Origins of a tensor computed from parameters alone."""
    origins: list[_Origin] = []
    for slot, index in node.slots:
        parent = graph.nodes[index]
        for origin in known[index]:
            if origin.dims is None:
                origins.append(origin)
            elif _is_lookup(node) and len(origin.dims) == 2:
                # A table looked up at fixed places (positions): its rows are rows, whatever comes after.
                rows, columns = origin.dims
                fixed = (*origin.fixed, *(((rows, "lookup"),) if rows is not None else ()))
                shift = (None,) * (len(node.shape) - 1)
                origins.append(_Origin(origin.leaf, (*shift, columns), fixed, origin.direct))
            elif node.op in PRODUCTS:
                origins.append(_through_product(node, slot, parent, origin))
            else:
                moved = _moved(node, parent, origin.dims)
                plain = origin.direct and not (node.op in MULTIPLIES or len(node.slots) > 1)
                origins.append(_Origin(origin.leaf, moved, origin.fixed, plain))
    return origins


def _through_product(node: Node, slot: Any, parent: Node, origin: _Origin) -> _Origin:
    """A product of two parameters: the inner dimension is an output of the second factor's input side."""
    assert origin.dims is not None
    position = _slot_position(slot)
    if len(parent.shape) != 2 or node.op not in ("matmul", "__matmul__", "mm"):
        return _Origin(origin.leaf, None, origin.fixed, False)
    inner = origin.dims[1] if position == 0 else origin.dims[0]
    kept = origin.dims[0] if position == 0 else origin.dims[1]
    label: Label = "in" if position == 0 else "out"
    fixed = (*origin.fixed, *(((inner, label),) if inner is not None else ()))
    return _Origin(origin.leaf, (kept, None) if position == 0 else (None, kept), fixed, False)


def find_uses(graph: Graph) -> dict[int, list[Use]]:
    """For each parameter leaf, how the forward pass uses it together with data.

    Source: limes, docs/parametrize.md.

    >>> import torch
    >>> from limes.parametrize.trace import record_forward
    >>> graph = record_forward(torch.nn.Linear(2, 3), (torch.zeros(1, 2),), {})
    >>> [use.labels for use in find_uses(graph)[graph.parameters["weight"]]]
    [('out', 'in')]
    """
    uses: dict[int, list[Use]] = {leaf: [] for leaf in graph.parameters.values()}
    known: dict[int, list[_Origin]] = {}
    for node in graph.nodes:
        if node.op == "parameter":
            known[node.index] = [_Origin(node.index, tuple(range(len(node.shape))))]
        elif not node.has_data:
            known[node.index] = _derive(graph, node, known)
        else:
            for slot, index in node.slots:
                for origin in known.get(index, ()):
                    uses[origin.leaf].append(_use(graph, node, slot, graph.nodes[index], origin))
    return uses


def _use(graph: Graph, node: Node, slot: Any, tensor: Node, origin: _Origin) -> Use:
    ndim = len(graph.nodes[origin.leaf].shape)
    kind, labels = labels_of(node, slot, tensor.shape)
    if origin.dims is None or len(labels) != len(origin.dims):
        return Use(("unknown",) * ndim if ndim > 1 else ("each",) * ndim, kind, node.index, False)
    # A dimension that an index removed counts copies (the expert that was picked).
    result: list[Label] = ["copy"] * ndim
    kind = "lookup" if any(label == "lookup" for _, label in origin.fixed) else kind
    for dim, label in origin.fixed:
        result[dim] = label
    for current, label in zip(origin.dims, labels, strict=True):
        if current is not None:
            result[current] = "out" if kind == "lookup" and label == "each" else label
    return Use(tuple(result), kind, node.index, origin.direct)
