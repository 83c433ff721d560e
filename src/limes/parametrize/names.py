"""Parameter names without wrappers and without layer indices."""

from torch import Tensor, nn

WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_flat_param"})


def bare_name(name: str) -> str:
    """The name without the path parts that DDP, compile, FSDP and checkpoint wrappers insert.

    Source: limes; parts are compared whole, never stripped as characters.

    >>> bare_name("module._orig_mod.embed.weight"), bare_name("modules.weight")
    ('embed.weight', 'modules.weight')
    """
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def template_of(name: str) -> str:
    """The name with every index replaced by `*`.

    Source: limes.

    >>> template_of("layers.3.mlp.experts.0.w1.weight")
    'layers.*.mlp.experts.*.w1.weight'
    """
    return ".".join("*" if part.isdigit() else part for part in name.split("."))


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """All parameters by bare name, a shared one under each of its names.

    Source: limes.

    >>> list(named_tensors(nn.Linear(1, 1)))
    ['weight', 'bias']
    """
    return {bare_name(name): tensor for name, tensor in model.named_parameters(remove_duplicate=False)}
