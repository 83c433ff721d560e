"""Forward multipliers: a module's output times a number, by a class of its own that stays what it was otherwise.

A forward hook would do in eager mode only. `torch.compile` shares code between instances of one class and does not look
for hooks unless a process-wide switch is set before anything is compiled; a class is always looked at.
"""

import functools
from typing import Any

from torch import nn

_FACTOR = "_limes_multiplier"
_CLASSES: dict[type[nn.Module], type[nn.Module]] = {}


def multiplier_of(module: nn.Module) -> float:
    """What the module's output is multiplied by.

    Source: limes, docs/parametrize.md.

    >>> multiplier_of(nn.Linear(1, 1))
    1.0
    """
    return float(getattr(module, _FACTOR, 1.0))


def set_multiplier(module: nn.Module, factor: float) -> None:
    """Make a module multiply its output (the first one, of a tuple); a factor of 1 leaves its class alone.

    Survives `copy.deepcopy`, pickling, `torch.compile`, sharding; parameters keep their names.

    Source: limes, docs/parametrize.md.

    >>> layer = nn.Identity()
    >>> set_multiplier(layer, 0.5); set_multiplier(layer, 0.5)
    >>> layer(3.0), isinstance(layer, nn.Identity), multiplier_of(layer)
    (1.5, True, 0.5)
    """
    if not hasattr(module, _FACTOR):
        if factor == 1.0:
            return
        module.__class__ = _multiplying(type(module))
    setattr(module, _FACTOR, factor)


def _multiplying(base: type[nn.Module]) -> type[nn.Module]:
    """The class that multiplies what `base` puts out; one for each, so that equal modules have equal types."""
    if base not in _CLASSES:
        _CLASSES[base] = _derive(base)
    return _CLASSES[base]


def _derive(base: type[nn.Module]) -> type[nn.Module]:

    @functools.wraps(base.forward)
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        output, factor = base.forward(self, *args, **kwargs), getattr(self, _FACTOR)
        if factor == 1.0:
            return output
        return (output[0] * factor, *output[1:]) if isinstance(output, tuple) else output * factor

    def reduce(self: nn.Module, protocol: Any) -> Any:
        # A class made at run time cannot be found by its name.
        return (_allocate, (base,), *object.__reduce_ex__(self, 4)[2:])

    return type(f"Multiplied{base.__name__}", (base,), {"forward": forward, "__reduce_ex__": reduce})


def _allocate(base: type[nn.Module]) -> nn.Module:
    made = _multiplying(base)
    return made.__new__(made)
