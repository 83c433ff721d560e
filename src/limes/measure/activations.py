"""Record what every module of a network takes and returns, and the attention logits, in one forward pass.

Source: limes, docs/coord_check.md.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from limes.measure.attention_calls import AttentionCall, AttentionCalls

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Recording:
    """One forward pass.

    Attributes:
        inputs: For each module path, the (positional, named) arguments of its calls, in order.
        outputs: For each module path, the tensor that each call returned (`main_tensor` of it), in order.
        attention: For each module path, the attention logits of its calls (batch, heads, queries, keys), without mask.
        result: What the model returned.
    """

    inputs: Mapping[str, list[Arguments]]
    outputs: Mapping[str, list[Tensor]]
    attention: Mapping[str, list[Tensor]]
    result: Any


def main_tensor(output: Any) -> Tensor | None:
    """The tensor that a module's output is about: itself, the field `logits`, else the first one that is no scalar.

    Source: limes.

    >>> main_tensor({"loss": torch.zeros(()), "logits": torch.ones(1, 2)}).shape
    torch.Size([1, 2])
    """
    if isinstance(output, Tensor):
        return output if output.is_floating_point() else None
    if isinstance(output, Mapping):
        if isinstance(output.get("logits"), Tensor):
            return main_tensor(output["logits"])
        output = list(output.values())
    if isinstance(output, list | tuple):
        found = [tensor for part in output if (tensor := main_tensor(part)) is not None and tensor.dim() > 0]
        return found[0] if found else None
    return None


class _Copies:
    """Copies of tensors as they are now, one per version: a later op in place must not change what was recorded."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def of(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            key = (id(value), value._version)
            if key not in self._known:
                # The original is kept too, because an id is only unique while its tensor lives.
                self._known[key] = (value, value.detach().clone())
            return self._known[key][1]
        if type(value) in (list, tuple):
            return type(value)(self.of(part) for part in value)
        if type(value) is dict:
            return {key: self.of(part) for key, part in value.items()}
        return value


@dataclass(slots=True, eq=False)
class _Recorder:
    copies: _Copies = field(default_factory=_Copies)
    inputs: dict[str, list[Arguments]] = field(default_factory=dict)
    outputs: dict[str, list[Tensor]] = field(default_factory=dict)
    stack: list[str] = field(default_factory=lambda: [""])

    def watch(self, path: str, module: nn.Module) -> list[Any]:
        def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
            self.stack.append(path)
            self.inputs.setdefault(path, []).append((self.copies.of(tuple(args)), self.copies.of(dict(kwargs))))

        def leave(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            self.stack.pop()
            tensor = main_tensor(output)
            if tensor is not None:
                self.outputs.setdefault(path, []).append(self.copies.of(tensor))

        return [
            module.register_forward_pre_hook(enter, with_kwargs=True),
            module.register_forward_hook(leave, with_kwargs=True),
        ]


def record_forward_pass(model: nn.Module, *args: Any, **kwargs: Any) -> Recording:
    """Run `model(*args, **kwargs)` once without gradients and keep what every module took and returned.

    The model is left as it was: hooks are removed even after an error, buffers (running statistics) and the global
    random state are restored, a cache of keys and values is switched off meanwhile. It runs in the mode it is in.

    Args:
        model: Any module; torch.compile is not seen through.
        args: Positional inputs.
        kwargs: Named inputs.

    Returns:
        Copies of inputs and outputs by module path ("" is the model itself), in their own dtype and units.

    Source: limes, docs/coord_check.md.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    >>> recording = record_forward_pass(net, torch.ones(1, 2))
    >>> list(recording.outputs), recording.outputs["0"][0].shape, len(net[0]._forward_hooks)
    (['0', '1', ''], torch.Size([1, 3]), 0)
    """
    recorder = _Recorder()
    logits: dict[str, list[Tensor]] = {}

    def keep(call: AttentionCall) -> None:
        logits.setdefault(recorder.stack[-1], []).append(call.unmasked.clone())

    handles: list[Any] = []
    with unchanged(model):
        try:
            for path, module in model.named_modules():
                handles += recorder.watch(path, module)
            with torch.no_grad(), AttentionCalls(keep):
                result = model(*args, **kwargs)
        finally:
            for handle in handles:
                handle.remove()
    return Recording(inputs=recorder.inputs, outputs=recorder.outputs, attention=logits, result=result)


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Afterwards buffers, the global random state and the model's configuration are as they were.

    Source: limes.

    >>> norm = nn.BatchNorm1d(1)
    >>> with unchanged(norm):
    ...     _ = norm(torch.tensor([[1.0], [3.0]]))
    >>> norm.running_mean.item(), norm.num_batches_tracked.item()
    (0.0, 0)
    """
    config: Any = getattr(model, "config", None)
    cached = bool(getattr(config, "use_cache", False))
    kept = (
        {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
        if model.training or any(module.training for module in model.modules())
        else {}
    )
    if cached:
        config.use_cache = False
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        if cached:
            config.use_cache = True
        buffers = dict(model.named_buffers())
        with torch.no_grad():
            for name, value in kept.items():
                if not torch.equal(buffers[name], value):
                    buffers[name].copy_(value)
