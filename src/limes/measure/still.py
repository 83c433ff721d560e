"""Hold a model still while it is measured: no dropout, no moving statistics, everything as found afterwards."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def held_still(model: nn.Module, *, batch_statistics: bool = False) -> Iterator[None]:
    """Evaluation mode inside; modes, buffers and the random state as found outside, whatever happened inside.

    Attention takes the math kernel, the one that can be differentiated twice.

    Args:
        model: Any module.
        batch_statistics: Batch-norm layers that were training normalize by the batch, as the training loss does;
            otherwise by their running statistics.
    """
    modes = {module: module.training for module in model.modules()}
    buffers = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
    devices = sorted({tensor.device.index or 0 for tensor in model.parameters() if tensor.is_cuda})
    with torch.random.fork_rng(devices=devices), sdpa_kernel(SDPBackend.MATH):
        try:
            for module, training in modes.items():
                # Set one by one: `eval()` may be overridden, and would descend.
                module.training = training and batch_statistics and isinstance(module, _BatchNorm)
            yield
        finally:
            for module, training in modes.items():
                module.training = training
            with torch.no_grad():
                for name, buffer in model.named_buffers():
                    if name in buffers and not _same(buffer, buffers[name]):
                        buffer.copy_(buffers[name])


def call(model: nn.Module, inputs: Any) -> Any:
    """The model's output for a tensor, a tuple of arguments, or a mapping of named ones."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    # NaN equals NaN here: a buffer that holds one has not changed.
    return torch.equal(one, other) or bool(((one == other) | (one != one) & (other != other)).all())
