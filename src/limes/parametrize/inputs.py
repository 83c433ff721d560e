"""An example input for the recorded forward pass, where the user gave none."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from limes.core.errors import PlanError
from limes.parametrize.trace import Graph, record_forward

Example = tuple[tuple[Any, ...], dict[str, Any]]


def as_example(value: Any) -> Example:
    """(positional, named) from what a user passes: a tensor, a tuple, or a mapping of named inputs.

    Source: limes.

    >>> as_example({"input_ids": 1}), as_example((1, 2))
    (((), {'input_ids': 1}), ((1, 2), {}))
    """
    if isinstance(value, Mapping):
        return (), dict(value)
    return (tuple(value) if isinstance(value, tuple | list) else (value,)), {}


def _image_size(model: nn.Module) -> tuple[int, int]:
    config = getattr(model, "config", None)
    size = getattr(config, "image_size", 32)
    channels = getattr(config, "num_channels", 3)
    return int(channels), int(size[0] if isinstance(size, list | tuple) else size)


def guesses(model: nn.Module) -> Iterator[Example]:
    """Plausible inputs, the likeliest first: by argument names, then by the first layer."""
    signature = inspect.signature(model.forward).parameters
    tokens = torch.zeros(2, 4, dtype=torch.long)
    if "input_ids" in signature:
        yield (), {"input_ids": tokens, **({"use_cache": False} if "use_cache" in signature else {})}
    if "pixel_values" in signature:
        channels, size = _image_size(model)
        yield (), {"pixel_values": torch.zeros(2, channels, size, size)}
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            yield (tokens,), {}
        elif isinstance(module, nn.Conv2d):
            for size in (32, 224, 8):
                yield (torch.zeros(2, module.in_channels, size, size),), {}
        elif isinstance(module, nn.Conv1d):
            yield (torch.zeros(2, module.in_channels, 16),), {}
        elif isinstance(module, nn.Linear):
            yield (torch.zeros(2, module.in_features),), {}
            yield (torch.zeros(2, 4, module.in_features),), {}
        elif isinstance(module, nn.RNNBase):
            yield (torch.zeros(2, 4, module.input_size),), {}
        elif isinstance(module, nn.MultiheadAttention):
            yield (torch.zeros(2, 4, module.embed_dim),) * 3, {}
            yield (torch.zeros(2, 4, module.embed_dim),), {}
        else:
            continue
        return


def to_device(value: Any, device: str) -> Any:
    """Move every tensor in nested containers."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {key: to_device(part, device) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(to_device(part, device) for part in value)
    return value


def trace_model(meta: nn.Module, real: nn.Module | None, example: Any) -> Graph:
    """Record the forward pass on the meta device, or on the real model where that fails.

    Args:
        meta: The model on the meta device.
        real: The same on the CPU; None where it is not at hand.
        example: What the user gave as `example_inputs`; None to guess.

    Raises:
        PlanError: No example input works; the message says why and what to pass.

    Source: limes, docs/parametrize.md.

    >>> with torch.device("meta"): model = nn.Linear(2, 1)
    >>> trace_model(model, None, None).nodes[-1].op
    'linear'
    """
    failures = []
    examples = [as_example(example)] if example is not None else list(guesses(meta))
    # Values first where there are any; assumed ones only where the model asks for what a meta tensor lacks.
    for model, device, assume in ((meta, "meta", False), (real, "cpu", False), (meta, "meta", True)):
        if model is None:
            continue
        for inputs, keywords in examples:
            try:
                given = to_device(inputs, device), to_device(keywords, device)
                with _for_recording(model):
                    return record_forward(model, *given, assume_true=assume)
            except Exception as error:
                failures.append(f"{device}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
    tried = failures[-1] if failures else "no plausible input was found"
    raise PlanError(
        f"the forward pass of {type(meta).__name__} could not be recorded ({tried}); pass example_inputs= "
        "(a tensor, a tuple, or a dict of named inputs)"
    )


@contextmanager
def _for_recording(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without a cache; afterwards everything is as it was: a model may share its user's config."""
    config: Any = getattr(model, "config", None)
    cached = bool(getattr(config, "use_cache", False))
    training = [module for module in model.modules() if module.training]
    model.eval()
    if cached:
        config.use_cache = False
    try:
        yield
    finally:
        if cached:
            config.use_cache = True
        for module in training:
            module.training = True
