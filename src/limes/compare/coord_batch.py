"""A batch for a network about which nothing is known: random inputs of the shape it takes, random targets.

Source: limes, docs/coord_check.md.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from limes.core.errors import SpecError
from limes.core.rng import stream
from limes.measure import main_tensor
from limes.measure.activations import unchanged
from limes.parametrize.initial import build_real
from limes.parametrize.inputs import guesses
from limes.parametrize.sizes import Build

NUM_VECTORS = 4


def random_batch(build: Build, size: Any, *, seed: int = 0) -> tuple[Any, Tensor]:
    """(inputs, targets) for `coord_check`: small on purpose, because few positions mean small corrections.

    Tokens are drawn below the smallest vocabulary, other inputs from a normal law. Targets are classes where the output
    has several entries along its last axis, else normal numbers.

    Args:
        build: As for `limes.plan`.
        size: The base.
        seed: Of the draws.

    Raises:
        SpecError: No plausible input works; the message says what to pass.

    >>> inputs, targets = random_batch(lambda width: nn.Sequential(nn.Linear(8, width), nn.Linear(width, 3)), 16)
    >>> inputs[0].shape, targets.shape
    (torch.Size([4, 8]), torch.Size([4]))
    """
    model = build_real(build, size, seed=seed)[0].eval()
    generator = stream(seed, "data", "coord_check")
    failure = "no plausible input was found"
    for args, kwargs in guesses(model):
        inputs = _drawn(args, model, generator), _drawn(kwargs, model, generator)
        try:
            with torch.no_grad(), unchanged(model):
                output = main_tensor(model(*inputs[0], **inputs[1]))
        except Exception as error:
            failure = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            continue
        if output is None:
            raise SpecError(f"{type(model).__name__} returns no tensor of floats; pass a batch and a loss")
        return (inputs[1] if inputs[1] else inputs[0]), _targets(output, generator)
    raise SpecError(f"no batch could be made for {type(model).__name__} ({failure}); pass one: (inputs, targets)")


def _drawn(value: Any, model: nn.Module, generator: torch.Generator) -> Any:
    if isinstance(value, Mapping):
        return {key: _drawn(part, model, generator) for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(_drawn(part, model, generator) for part in value)
    if not isinstance(value, Tensor):
        return value
    count = NUM_VECTORS if value.dim() == 2 else len(value)
    shape = (count, *value.shape[1:])
    if value.is_floating_point():
        return torch.randn(shape, generator=generator)
    tables = [module.num_embeddings for module in model.modules() if isinstance(module, nn.Embedding)]
    vocabulary = getattr(getattr(model, "config", None), "vocab_size", None) or min(tables, default=2)
    return torch.randint(0, int(vocabulary), shape, generator=generator)


def _targets(output: Tensor, generator: torch.Generator) -> Tensor:
    if output.shape[-1] > 1 and output.dim() in (2, 3):
        return torch.randint(0, output.shape[-1], output.shape[:-1], generator=generator)
    return torch.randn(output.shape, generator=generator)
