"""What a tensor is for, guessed from the module that holds it, for pooling measurements by role.

Source: limes, docs/diagnostics.md.
"""

from collections.abc import Iterator, Mapping

from torch import nn

from limes.core.errors import SpecError

ROLES = ("embedding", "hidden", "readout", "gain", "bias")


def guess_roles(model: nn.Module) -> dict[str, str]:
    """Role of every parameter by its name: "embedding", "hidden", "readout", "gain" or "bias".

    Vectors named bias are biases, other vectors gains; weights of `nn.Embedding` are embeddings, tied ones too; the
    last other matrix in the order of the modules is the readout. A plan of `limes.plan` knows better.

    Source: limes, docs/diagnostics.md.

    >>> guess_roles(nn.Sequential(nn.Embedding(3, 2), nn.LayerNorm(2), nn.Linear(2, 2), nn.Linear(2, 3, bias=False)))
    {'0.weight': 'embedding', '1.weight': 'gain', '1.bias': 'bias', '2.weight': 'hidden', '2.bias': 'bias',
     '3.weight': 'readout'}
    """
    embeddings = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, nn.Embedding | nn.EmbeddingBag)
        for parameter in module.parameters(recurse=False)
    }
    roles, last = {}, None
    for name, parameter in model.named_parameters():
        if id(parameter) in embeddings:
            roles[name] = "embedding"
        elif parameter.dim() >= 2:
            roles[name], last = "hidden", name
        else:
            roles[name] = "bias" if name.rpartition(".")[2].endswith("bias") else "gain"
    if last is not None:
        roles[last] = "readout"
    return roles


def check_roles(model: nn.Module, roles: Mapping[str, str] | None) -> dict[str, str]:
    """`roles` completed by the guess; names that the model does not have are refused.

    Raises:
        SpecError: A name is unknown.

    Source: limes.

    >>> check_roles(nn.Linear(1, 1, bias=False), {"weight": "mine"})
    {'weight': 'mine'}
    """
    found = guess_roles(model)
    unknown = [name for name in roles or {} if name not in found]
    if unknown:
        raise SpecError(f"roles for {unknown[:3]}: expected names of parameters such as {list(found)[:3]}")
    return found | dict(roles or {})


def matrix_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Modules that hold a matrix of their own and take real numbers: linear maps, convolutions, of any class.

    Source: limes.

    >>> [path for path, _ in matrix_modules(nn.Sequential(nn.Embedding(3, 2), nn.Linear(2, 2), nn.ReLU()))]
    ['1']
    """
    for path, module in model.named_modules():
        own = [parameter for parameter in module.parameters(recurse=False) if parameter.dim() >= 2]
        if own and not list(module.children()) and not isinstance(module, nn.Embedding | nn.EmbeddingBag):
            yield path, module
