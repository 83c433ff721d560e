"""What the recorded pass says about each parameter of the base, before any growth is known."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from limes.parametrize.branches import Branch, find_branches, find_shortcut_sums
from limes.parametrize.names import template_of
from limes.parametrize.trace import Graph
from limes.parametrize.uses import Use, find_uses
from limes.parametrize.walk import carriers, clear_of, reaches_output

_SELECTS = frozenset({"topk", "sort", "argsort", "argmax", "kthvalue"})


@dataclass(frozen=True, slots=True, eq=False)
class TensorUse:
    """One parameter name of the base.

    Args:
        labels: What each dimension does.
        kind: Word for the reason.
        shared: Other names of the same tensor.
        primary: The name whose row decides its settings (the embedding, where it is tied to a readout).
        is_matrix: It contracts or looks up.
        at_output: No other matrix lies behind it.
        is_router: It feeds a choice of the largest entries.
        in_branch: It lies in a residual branch.
        ends_branch: It belongs to the last map of its branch.
        carrier: Module that can carry a multiplier.
        direct: It enters its call as stored.
        used: The pass saw it.
        hidden_tie: It is looked up and also makes the output, without a second name.
    """

    labels: tuple[str, ...]
    kind: str
    shared: tuple[str, ...]
    primary: str
    is_matrix: bool
    at_output: bool
    is_router: bool
    in_branch: bool
    ends_branch: bool
    carrier: str | None
    direct: bool
    used: bool
    hidden_tie: bool


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """All of it.

    Args:
        tensors: By parameter name.
        branch_paths: For each template of a branch's module path, the templates of its tensors.
        endless: Tensors of branches whose last op has no parameters, so that no tensor can take their multiplier.
        num_branches: Number of residual branches that the pass runs through.
    """

    tensors: dict[str, TensorUse]
    branch_paths: dict[str, frozenset[str]]
    endless: tuple[str, ...]
    num_branches: int


def _first(graph: Graph, leaf: int) -> str:
    return graph.nodes[leaf].names[0]


def _common_path(names: Iterable[str]) -> str:
    """Longest module path that all names share."""
    split = [name.split(".")[:-1] for name in names]
    path: list[str] = []
    for parts in zip(*split):
        if len(set(parts)) > 1:
            break
        path.append(parts[0])
    return ".".join(path)


def _innermost(branches: list[Branch]) -> list[Branch]:
    """Without branches that contain another one: a skip around the whole trunk is no branch of a block."""
    return [
        branch
        for branch in branches
        if not any(other is not branch and other.leaves < branch.leaves for other in branches)
    ]


def _all_branches(graph: Graph) -> list[Branch]:
    """Residual branches, and of sums of two parametrized paths the side that is a branch elsewhere.

    A shortcut with parameters (a projection) counts as trunk: the side whose tensors have the templates of true
    branches is the branch. In a parallel sum (x + f(x)) + g(x), the side without a bare copy of x is one.
    """
    branches = _innermost(find_branches(graph))
    templates = {template_of(_first(graph, leaf)) for branch in branches for leaf in branch.leaves}
    known = {leaf for branch in branches for leaf in branch.leaves}
    for leaves, ends, other in find_shortcut_sums(graph):
        mine = {template_of(_first(graph, leaf)) for leaf in leaves}
        parallel = ends is not None and other <= known and not leaves & known
        if (mine <= templates or parallel) and not leaves <= known:
            branches.append(Branch(leaves, ends, len(leaves), -1))
    return branches


def read_structure(graph: Graph) -> Structure:
    """Reduce a recorded pass to facts per parameter name.

    Source: limes, docs/parametrize.md.

    >>> import torch
    >>> from limes.parametrize.trace import record_forward
    >>> graph = record_forward(torch.nn.Linear(2, 3), (torch.zeros(1, 2),), {})
    >>> read_structure(graph).tensors["weight"].at_output
    True
    """
    uses = find_uses(graph)
    matrices = {use.node for parts in uses.values() for use in parts if use.is_matrix or "unknown" in use.labels}
    clear = reaches_output(graph, uses)
    picks = {node.index for node in graph.nodes if node.op in _SELECTS}
    chosen = clear_of(graph, picks, matrices)
    branches = _all_branches(graph)
    owner: dict[int, Branch] = {}
    for branch in sorted(branches, key=lambda branch: -branch.size):
        owner.update(dict.fromkeys(branch.leaves, branch))
    hooks = carriers(graph, uses)
    tensors = {}
    for name, leaf in graph.parameters.items():
        found = uses[leaf]
        use = _use_of(graph, name, found)
        branch_of = owner.get(leaf)
        tensors[name] = TensorUse(
            labels=use.labels if use else (),
            kind=use.kind if use else "unused",
            shared=tuple(other for other in graph.nodes[leaf].names if other != name),
            primary=_primary(graph, leaf, found),
            is_matrix=use is not None and use.is_matrix,
            at_output=use is not None and use.node in clear,
            is_router=use is not None and use.is_matrix and use.node in chosen,
            in_branch=branch_of is not None,
            ends_branch=branch_of is not None and leaf in (branch_of.ends or ()),
            carrier=hooks.get(name),
            direct=all(each.direct for each in found),
            used=bool(found),
            hidden_tie=len(graph.nodes[leaf].names) == 1 and _ties(found, clear),
        )
    return Structure(tensors, _paths(graph, branches), _endless(graph, branches), len(branches))


def _ties(found: list[Use], clear: set[int]) -> bool:
    looked_up = any(use.kind == "lookup" for use in found)
    return looked_up and any("in" in use.labels and use.node in clear for use in found)


def _use_of(graph: Graph, name: str, found: list[Use]) -> Use | None:
    """Of several uses of a shared tensor, the one in the module that owns this name."""
    owner = name.rpartition(".")[0]
    mine = [use for use in found if graph.nodes[use.node].module == owner]
    pool = mine or found
    return next((use for use in pool if "unknown" not in use.labels), pool[0] if pool else None)


def _primary(graph: Graph, leaf: int, found: list[Use]) -> str:
    """The name under which a tensor is looked up, else its first one."""
    names = graph.nodes[leaf].names
    lookups = {graph.nodes[use.node].module for use in found if use.kind == "lookup"}
    return next((name for name in names if name.rpartition(".")[0] in lookups), names[0])


def _paths(graph: Graph, branches: list[Branch]) -> dict[str, frozenset[str]]:
    paths: dict[str, set[str]] = {}
    times = Counter(leaf for branch in branches for leaf in branch.leaves)
    for branch in branches:
        # What several branches share (one table of relative positions for all blocks) tells no place.
        own = [leaf for leaf in branch.leaves if times[leaf] == 1] or list(branch.leaves)
        names = sorted(_first(graph, leaf) for leaf in own)
        path = template_of(_common_path(names))
        if "*" not in path:
            # Blocks laid out as parallel lists (norms.0, up.0, down.0): count the entries of one of them.
            names = [name for name in names if "*" in template_of(name)][:1] or names
            path = template_of(names[0])
            path = path[: path.index("*") + 1] if "*" in path else path
        paths.setdefault(path, set()).update(template_of(name) for name in names)
    return {path: frozenset(templates) for path, templates in paths.items()}


def _endless(graph: Graph, branches: list[Branch]) -> tuple[str, ...]:
    return tuple(sorted(_first(graph, leaf) for branch in branches if branch.ends is None for leaf in branch.leaves))
