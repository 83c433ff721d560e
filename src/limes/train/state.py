"""Everything that a run needs to go on exactly where it stopped, as the bytes of a checked safetensors file.

There is no random state in it: batches are pure functions of seed and step, and nothing else draws.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.optim import Optimizer

from limes.core.errors import StoreError

FORMAT = 1
_RECORD = "record"


@dataclass(kw_only=True, slots=True, eq=False)
class History:
    """The losses and measurements so far.

    Args:
        train_loss: One per step.
        evals: (updates made, validation loss).
        probes: "probe/number" -> list of (step, value).
        cpu_seconds: CPU time spent so far.
        wall_seconds: Clock time spent so far.
    """

    train_loss: list[float] = field(default_factory=list)
    evals: list[tuple[int, float]] = field(default_factory=list)
    probes: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TrainState:
    """State after `step` updates.

    Attributes:
        step: Number of updates made.
        tensors: "model/...", "optimizer/...", and "initial/..." where the initial function is subtracted. They are the
            live tensors, not copies: use `to_bytes` before training goes on.
        scalars: Entries of the optimizer's state that are not tensors, by the same names.
        history: Losses so far.
    """

    step: int
    tensors: Mapping[str, Tensor]
    scalars: Mapping[str, Any]
    history: History

    @classmethod
    def capture(
        cls, step: int, model: nn.Module, optimizer: Optimizer, *, history: History, initial: nn.Module | None = None
    ) -> "TrainState":
        """The state of a run in memory."""
        tensors = _module_tensors(model, "model")
        if initial is not None:
            tensors |= _module_tensors(initial, "initial")
        scalars: dict[str, Any] = {}
        for name, parameter in model.named_parameters():
            for entry, value in optimizer.state.get(parameter, {}).items():
                place = tensors if isinstance(value, Tensor) else scalars
                place[f"optimizer/{name}/{entry}"] = value
        return cls(step=step, tensors=tensors, scalars=scalars, history=history)

    def restore(self, model: nn.Module, optimizer: Optimizer, *, initial: nn.Module | None = None) -> None:
        """Put the state back into a model and an optimizer that were built as they were for the first step.

        Learning rates and other settings of the groups stay those of `optimizer`.

        Raises:
            StoreError: The state belongs to another network.
        """
        _load_module(model, self.tensors, "model")
        if initial is not None:
            _load_module(initial, self.tensors, "initial")
        entries = {**self.tensors, **self.scalars}
        for name, parameter in model.named_parameters():
            prefix = f"optimizer/{name}/"
            found = {key.removeprefix(prefix): entries[key] for key in entries if key.startswith(prefix)}
            if found:
                optimizer.state[parameter] = {
                    key: value.clone() if isinstance(value, Tensor) else value for key, value in found.items()
                }

    def to_bytes(self) -> bytes:
        """A safetensors file whose metadata carries the rest and a checksum over everything."""
        history = self.history
        record = {
            "format": FORMAT,
            "step": self.step,
            "scalars": dict(self.scalars),
            "train_loss": [value.hex() for value in history.train_loss],
            "evals": [(step, value.hex()) for step, value in history.evals],
            "probes": {name: [(step, value.hex()) for step, value in rows] for name, rows in history.probes.items()},
            "cpu_seconds": history.cpu_seconds,
            "wall_seconds": history.wall_seconds,
        }
        text = json.dumps(record, allow_nan=False)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        return save(
            tensors | {_RECORD: _as_tensor(text.encode()), "checksum": _as_tensor(_digest(text, tensors))},
            metadata={"format": "pt"},
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> "TrainState":
        """The inverse of `to_bytes`.

        Raises:
            StoreError: `data` is damaged, or of another version.
        """
        try:
            tensors = load(data)
            checksum, text = tensors.pop("checksum"), bytes(tensors.pop(_RECORD).numpy()).decode()
            intact = bytes(checksum.numpy()) == _digest(text, tensors)
        except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError, OverflowError, MemoryError) as error:
            raise StoreError(f"a checkpoint of {len(data)} bytes is damaged: {error}") from error
        if not intact:
            raise StoreError(f"a checkpoint of {len(data)} bytes is damaged: its checksum is wrong")
        record = json.loads(text)
        if record["format"] != FORMAT:
            raise StoreError(f"a checkpoint of format {record['format']}, expected {FORMAT}: start the run anew")
        history = History(
            train_loss=[float.fromhex(value) for value in record["train_loss"]],
            evals=[(step, float.fromhex(value)) for step, value in record["evals"]],
            probes={
                name: [(step, float.fromhex(value)) for step, value in rows] for name, rows in record["probes"].items()
            },
            cpu_seconds=record["cpu_seconds"],
            wall_seconds=record["wall_seconds"],
        )
        return cls(step=record["step"], tensors=tensors, scalars=record["scalars"], history=history)


def _module_tensors(module: nn.Module, prefix: str) -> dict[str, Tensor]:
    # Shared parameters appear once, under their first name: the file format has no aliases.
    named = [*module.named_parameters(), *module.named_buffers()]
    return {f"{prefix}/{name}": tensor.detach() for name, tensor in named}


def _load_module(module: nn.Module, tensors: Mapping[str, Tensor], prefix: str) -> None:
    wanted = _module_tensors(module, prefix)
    for name, tensor in wanted.items():
        found = tensors.get(name)
        if found is None or found.shape != tensor.shape or found.dtype != tensor.dtype:
            got = "nothing" if found is None else f"{tuple(found.shape)} {found.dtype}"
            raise StoreError(f"checkpoint: {name} is {got}, expected {tuple(tensor.shape)} {tensor.dtype}")
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(tensors[name])


def _as_tensor(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def _digest(text: str, tensors: Mapping[str, Tensor]) -> bytes:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"|{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.digest()
