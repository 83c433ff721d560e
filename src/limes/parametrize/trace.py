"""Record one forward pass as a graph of calls, without symbolic tracing.

A function mode sees each call of a torch function as the model wrote it (attention with its scale, a linear
map with its weight). Parameters and inputs are leaves; each call that touches one of them becomes a node.
Calls on constants alone (masks, rotary tables) make none, and so does an op that returns its own unchanged
input.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from limes.parametrize.names import named_tensors

_IN_PLACE = frozenset({"__iadd__", "__isub__", "__imul__", "__itruediv__", "__setitem__"})
_POSITIONS = {
    "linear": ("input", "weight", "bias"),
    "embedding": ("input", "weight"),
    "scaled_dot_product_attention": ("query", "key", "value"),
    "softmax": ("input", "dim"),
    "transpose": ("input", "dim0", "dim1"),
}


@dataclass(slots=True, eq=False)
class Node:
    """One call, parameter or input.

    Args:
        index: Position in the graph; parents have smaller ones.
        op: Name of the torch function, or "parameter" or "input".
        slots: (argument, node) for each tensor argument; an argument is a position, a name or nested
            positions.
        shape: Shape of the (first) result.
        constants: Arguments that are no tensors of the graph, by the same labels.
        names: For a parameter, all its names.
        module: Path of the innermost module in which the call was made.
        ancestors: Bit set of all nodes that it depends on, itself included.
        has_data: It depends on an input of the model.
    """

    index: int
    op: str
    slots: tuple[tuple[Any, int], ...]
    shape: tuple[int, ...]
    constants: dict[Any, Any] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    module: str = ""
    ancestors: int = 0
    has_data: bool = False

    def depends_on(self, other: "Node") -> bool:
        """`other` lies before it on some path."""
        return bool(self.ancestors >> other.index & 1)


@dataclass(slots=True, eq=False)
class Graph:
    """The calls of one forward pass.

    Args:
        nodes: In the order of the calls.
        outputs: Indices of the nodes that the model returned.
        module_outputs: For each module, the nodes that it returned.
        parameters: For each parameter name, its leaf.
    """

    nodes: list[Node] = field(default_factory=list)
    outputs: set[int] = field(default_factory=set)
    module_outputs: dict[str, set[int]] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=dict)

    def parents(self, node: Node) -> list[Node]:
        """The nodes of the arguments, in order."""
        return [self.nodes[index] for _, index in node.slots]

    def data_parents(self, node: Node) -> list[Node]:
        """Arguments that depend on the model's input."""
        return [parent for parent in self.parents(node) if parent.has_data]

    def children(self) -> list[list[int]]:
        """For each node, the nodes that use it."""
        lists: list[list[int]] = [[] for _ in self.nodes]
        for node in self.nodes:
            for index in {index for _, index in node.slots}:
                lists[index].append(node.index)
        return lists

    def parameter_names(self, ancestors: int) -> set[str]:
        """All names of the parameters in a bit set."""
        found: set[str] = set()
        for leaf in set(self.parameters.values()):
            if ancestors >> leaf & 1:
                found.update(self.nodes[leaf].names)
        return found


def _leaves(value: Any, label: Any) -> Iterator[tuple[Any, Any]]:
    """(label, value) of everything inside nested lists, tuples and dicts."""
    if isinstance(value, list | tuple) and any(isinstance(part, Tensor | list | tuple) for part in value):
        for position, part in enumerate(value):
            yield from _leaves(part, (label, position))
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _leaves(part, (label, key))
    else:
        yield label, value


def _tensors(value: Any) -> list[Tensor]:
    """All tensors in a result: containers, mappings and objects such as a model's output class."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    elif hasattr(value, "__dict__") and not isinstance(value, list | tuple | nn.Module):
        value = list(vars(value).values())
    if isinstance(value, list | tuple):
        return [tensor for part in value for tensor in _tensors(part)]
    return []


def op_name(func: Any) -> str:
    """Name of a torch function; a property's getter is called by the property's name."""
    name = getattr(func, "__name__", str(func))
    if name == "__get__":
        return getattr(getattr(func, "__self__", None), "__name__", name)
    return name


class _Recorder(TorchFunctionMode):
    def __init__(self, graph: Graph, *, assume_true: bool) -> None:
        super().__init__()
        self.graph = graph
        self.assume_true = assume_true
        self.known: dict[int, int] = {}
        self.keep: list[Tensor] = []  # an id is only unique while its tensor lives
        self.stack: list[str] = [""]

    def leaf(self, tensor: Tensor, op: str, names: tuple[str, ...]) -> None:
        index = len(self.graph.nodes)
        node = Node(index, op, (), tuple(tensor.shape), names=names, has_data=op == "input", ancestors=1 << index)
        self.graph.nodes.append(node)
        self.remember(tensor, index)

    def remember(self, tensor: Tensor, index: int) -> None:
        self.known[id(tensor)] = index
        self.keep.append(tensor)

    def node(self, op: str, slots: list[tuple[Any, int]], shape: Any, constants: dict[Any, Any]) -> int:
        index = len(self.graph.nodes)
        parents = [self.graph.nodes[parent] for _, parent in slots]
        ancestors = 1 << index
        for parent in parents:
            ancestors |= parent.ancestors
        self.graph.nodes.append(
            Node(
                index,
                op,
                tuple(slots),
                tuple(shape),
                constants,
                module=self.stack[-1],
                ancestors=ancestors,
                has_data=any(parent.has_data for parent in parents),
            )
        )
        return index

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.assume_true and op_name(func) == "__bool__" and args[0].is_meta:
            return True  # such questions are about masks ("is it all ones?"), whose entries meta tensors lack
        result = func(*args, **kwargs)
        self.record(op_name(func), args, kwargs, result)
        return result

    def record(self, op: str, args: Any, kwargs: Any, result: Any) -> None:
        labels = _POSITIONS.get(op, ())
        arguments = [
            (labels[position] if position < len(labels) else position, value) for position, value in enumerate(args)
        ]
        pairs = [pair for label, value in (*arguments, *kwargs.items()) for pair in _leaves(value, label)]
        slots = [(label, self.known[id(value)]) for label, value in pairs if id(value) in self.known]
        outputs = [args[0]] if op == "__setitem__" else _tensors(result)
        if not slots or not outputs:
            return
        constants = {label: value for label, value in pairs if id(value) not in self.known}
        mutated = op in _IN_PLACE or (op.endswith("_") and not op.endswith("__"))
        given = {id(value) for _, value in pairs}
        fresh = [tensor for tensor in outputs if mutated or id(tensor) not in given]
        if not fresh:
            return
        if op == "multi_head_attention_forward":
            index = self._attention(arguments, kwargs, fresh[0].shape)
        else:
            index = self.node(op, slots, fresh[0].shape, constants)
        for tensor in fresh:
            self.remember(tensor, index)

    def _attention(self, arguments: Any, kwargs: Any, shape: Any) -> int:
        """The one function that hides several maps: written out as projection, attention, projection."""
        names = ("query", "key", "value", "embed_dim", "num_heads", "in_proj_weight", "in_proj_bias", "bias_k",
                 "bias_v", "add_zero_attn", "dropout_p", "out_proj_weight", "out_proj_bias")  # fmt: skip
        given = {**{names[position]: value for position, value in arguments if position < len(names)}, **kwargs}

        def slot(label: str, argument: str) -> list[tuple[Any, int]]:
            value = given.get(argument)
            return [(label, self.known[id(value)])] if id(value) in self.known else []

        heads = given["num_heads"]
        head_shape = (*shape[:-1], heads, given["embed_dim"] // heads)
        parts = []
        for role, separate in (("query", "q_proj_weight"), ("key", "k_proj_weight"), ("value", "v_proj_weight")):
            weight = slot("weight", separate) or slot("weight", "in_proj_weight")
            slots = slot("input", role) + weight + slot("bias", "in_proj_bias")
            extra = {"key": "bias_k", "value": "bias_v"}.get(role, "")
            parts.append((role, self.node("linear", slots, head_shape, {})))
            if extra and slot("1", extra):
                parts[-1] = (role, self.node("cat", [(0, parts[-1][1]), *slot("1", extra)], head_shape, {}))
        mixed = self.node("scaled_dot_product_attention", parts, head_shape, {})
        slots = [("input", mixed), *slot("weight", "out_proj_weight"), *slot("bias", "out_proj_bias")]
        return self.node("linear", slots, shape, {})


def record_forward(
    model: nn.Module, inputs: tuple[Any, ...], keywords: Mapping[str, Any], *, assume_true: bool = False
) -> Graph:
    """Run `model(*inputs, **keywords)` once, without gradients, and return the graph of its calls.

    Args:
        model: Any module, on any device (the meta device included); it should be in eval mode.
        inputs: Positional inputs; every tensor in them is a leaf.
        keywords: Named inputs.
        assume_true: Let conditions on values that meta tensors do not have come out true.

    Returns:
        The graph, whose nodes are in the order of the calls.

    Source: limes, docs/parametrize.md.

    >>> graph = record_forward(nn.Linear(2, 3), (torch.zeros(1, 2),), {})
    >>> [node.op for node in graph.nodes]
    ['parameter', 'parameter', 'input', 'linear']
    """
    graph = Graph()
    recorder = _Recorder(graph, assume_true=assume_true)
    names: dict[int, list[str]] = {}
    tensors = named_tensors(model)
    for name, tensor in tensors.items():
        names.setdefault(id(tensor), []).append(name)
    for name, tensor in tensors.items():
        if id(tensor) not in recorder.known:
            recorder.leaf(tensor, "parameter", tuple(names[id(tensor)]))
        graph.parameters[name] = recorder.known[id(tensor)]
    for tensor in _tensors([list(inputs), dict(keywords)]):
        recorder.leaf(tensor, "input", ())
    handles = []
    for path, module in model.named_modules():
        handles += _watch(module, path, recorder)
    try:
        with torch.no_grad(), recorder:
            result = model(*inputs, **keywords)
    finally:
        for handle in handles:
            handle.remove()
    graph.outputs = {recorder.known[id(tensor)] for tensor in _tensors(result) if id(tensor) in recorder.known}
    return graph


def _watch(module: nn.Module, path: str, recorder: _Recorder) -> list[Any]:
    def enter(module: nn.Module, inputs: Any) -> None:
        recorder.stack.append(path)

    def leave(module: nn.Module, inputs: Any, output: Any) -> None:
        recorder.stack.pop()
        found = recorder.graph.module_outputs.setdefault(path, set())
        found.update(recorder.known[id(tensor)] for tensor in _tensors(output) if id(tensor) in recorder.known)

    return [module.register_forward_pre_hook(enter), module.register_forward_hook(leave, always_call=True)]
