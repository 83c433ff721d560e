"""What `limes inspect` is given: a function that builds the model, a checkpoint, a batch, and the loss that fits."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from limes.cli.inputs import parse_value
from limes.cli.reference import load_object
from limes.core.errors import DataError, SpecError, first_line
from limes.measure.activations import main_tensor
from limes.measure.still import held_still
from limes.train.loss import LOSSES

INPUTS = ("inputs", "input_ids", "tokens", "x", "images")
TARGETS = ("targets", "labels", "y")
IGNORED = -100
"""The class that torch's cross-entropy leaves out."""
_NESTED = ("model", "state_dict", "model_state_dict")
_PREFIXES = ("module.", "_orig_mod.")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batch:
    """One batch.

    Attributes:
        inputs: A tensor, samples first, or named tensors.
        targets: None if the batch has none.
    """

    inputs: Tensor | Mapping[str, Tensor]
    targets: Tensor | None

    @property
    def first(self) -> Tensor:
        """The input tensor, or the first of several."""
        return self.inputs if isinstance(self.inputs, Tensor) else next(iter(self.inputs.values()))

    def part(self, start: int, stop: int) -> "Batch":
        """Some of its samples."""
        size = len(self.first)
        cut = (
            self.inputs[start:stop]
            if isinstance(self.inputs, Tensor)
            else {
                name: tensor[start:stop] if tensor.dim() and len(tensor) == size else tensor
                for name, tensor in self.inputs.items()
            }
        )
        return Batch(inputs=cut, targets=None if self.targets is None else self.targets[start:stop])

    def run(self, model: nn.Module) -> Any:
        """The model's output."""
        return model(self.inputs) if isinstance(self.inputs, Tensor) else model(**self.inputs)


def build_target(target: str, arguments: Sequence[str]) -> nn.Module:
    """Call `file.py:function` or `package.module:function` with `name=value` arguments.

    Raises:
        SpecError: There is no such function, it fails, or it returns no module.
    """
    place, _, name = target.rpartition(":")
    if not place or not name:
        raise SpecError(f"{target!r}: expected file.py:function, package.module:function, a folder or .jsonl files")
    function = load_object(target, flag="TARGET")
    if not callable(function):
        raise SpecError(f"{target!r}: {name!r} is a {type(function).__name__}, expected a function")
    given = _arguments(arguments)
    try:
        model = function(**given)
    except Exception as error:
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise SpecError(f"{target!r} failed: {reason}; give arguments with --arg") from error
    if not isinstance(model, nn.Module):
        raise SpecError(f"{target!r} returned {type(model).__name__}, expected a torch.nn.Module")
    return model


def _arguments(texts: Sequence[str]) -> dict[str, Any]:
    """`width=128` -> number, `name="a"` or `name=a` -> text."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise SpecError(f"--arg {text!r}: expected name=value")
        found[name] = parse_value(value)
    return found


def read_tensors(path: Path, *, flag: str) -> Any:
    """What a .pt, .safetensors or .npz file holds; nothing in it is executed.

    Raises:
        DataError: It cannot be read.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        if path.suffix == ".npz":
            import numpy as np

            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError(f"{flag} {path}: there is no such file") from None
    except Exception as error:
        # The advice of torch that follows the first sentence is to execute what the file says.
        reason = first_line(error).partition(". ")[0]
        raise DataError(f"{flag} {path} cannot be read as .pt (tensors only), .safetensors or .npz: {reason}") from None


def read_weights(path: Path, *, flag: str) -> dict[str, Tensor]:
    """A state dict, also from inside a training checkpoint, with the prefixes of wrappers removed.

    Raises:
        DataError: There is none.
    """
    found = read_tensors(path, flag=flag)
    for name in _NESTED:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
    if not isinstance(found, Mapping) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise DataError(f"{flag} {path}: expected a state dict (tensors by name), or one under {', '.join(_NESTED)}")
    weights = dict(found)
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): value for name, value in weights.items()}
    return weights


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], *, flag: str, path: Path) -> None:
    """Fill the model; tied tensors may stand under one of their names.

    Raises:
        DataError: A tensor is missing, has another shape, or belongs to no place.
    """
    own = model.state_dict()
    groups: dict[int, list[str]] = {}
    for name, tensor in model.named_parameters(remove_duplicate=False):
        groups.setdefault(id(tensor), []).append(name)
    given = {alias for names in groups.values() if any(name in weights for name in names) for alias in names}
    missing = [name for name in own if name not in weights and name not in given]
    unknown = [name for name in weights if name not in own]
    wrong = [name for name in weights if name in own and own[name].shape != weights[name].shape]
    if missing or unknown or wrong:
        raise DataError(
            f"{flag} {path} is of another network: {len(missing)} tensors missing {missing[:2]}, {len(unknown)} "
            f"unknown {unknown[:2]}, {len(wrong)} of another shape {wrong[:2]}; build the one that was trained (--arg)"
        )
    model.load_state_dict(dict(weights), strict=False)


def read_batch(path: Path) -> Batch:
    """Inputs and targets from a file: named tensors, or a tensor, or a pair.

    Raises:
        DataError: Nothing in it is an input, or it has no samples, or another number of targets.
    """
    batch = _read_batch(path)
    num_samples = len(batch.first) if batch.first.dim() else 0
    if not num_samples:
        raise DataError(f"--batch {path}: its inputs have shape {tuple(batch.first.shape)}: expected samples first")
    if batch.targets is not None and tuple(batch.targets.shape[:1]) != (num_samples,):
        raise DataError(
            f"--batch {path}: inputs of shape {tuple(batch.first.shape)} with targets of shape "
            f"{tuple(batch.targets.shape)}: expected as many targets as samples"
        )
    return batch


def _read_batch(path: Path) -> Batch:
    found = read_tensors(path, flag="--batch")
    if isinstance(found, Tensor):
        return Batch(inputs=found, targets=None)
    if isinstance(found, list | tuple) and len(found) == 2 and all(isinstance(part, Tensor) for part in found):
        return Batch(inputs=found[0], targets=found[1])
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise DataError(f"--batch {path}: expected a tensor, a pair of tensors, or tensors by name")
    targets = next((found[name] for name in TARGETS if name in found), None)
    rest = {name: value for name, value in found.items() if name not in TARGETS}
    if len(rest) == 1 and next(iter(rest)) in INPUTS and next(iter(rest)) != "input_ids":
        return Batch(inputs=next(iter(rest.values())), targets=targets)
    if not any(name in rest for name in INPUTS):
        raise DataError(f"--batch {path} has {', '.join(found)}: expected inputs under one of {', '.join(INPUTS)}")
    # Named as the model's own arguments are, which is how Hugging Face's models are called.
    return Batch(inputs=rest, targets=targets)


def choose_task(model: nn.Module, batch: Batch, task: str | None) -> str | None:
    """The task whose loss fits output and targets; None if the batch has no targets and none can be made.

    Raises:
        SpecError: The task is unknown, or nothing fits.
    """
    if task is not None and task not in LOSSES:
        raise SpecError(f"--task {task!r}: expected one of {', '.join(LOSSES)}")
    with held_still(model), torch.no_grad():
        output = main_tensor(batch.part(0, 1).run(model))
    if output is None:
        raise SpecError("the model returned no tensor of real numbers for this batch")
    if batch.targets is None and task in (None, "next_token"):
        tokens = not batch.first.is_floating_point() and batch.first.dim() == 2
        if tokens and output.dim() == 3 and output.shape[1] == batch.first.shape[1]:
            return "next_token"
        if task is None:
            return None
    if batch.targets is None:
        raise SpecError(f"--task {task} needs targets in the batch, under one of {', '.join(TARGETS)}")
    if task is None:
        task = _guess(batch.targets, output)
    _check_fit(task, batch.targets, output)
    return task


def _guess(targets: Tensor, output: Tensor) -> str:
    if targets.is_floating_point():
        return "regression"
    return "next_token" if output.dim() == 3 else "classification"


def _check_fit(task: str, targets: Tensor, output: Tensor) -> None:
    """Torch would broadcast what does not fit, or take numbers for probabilities, and give some other loss."""
    real = targets.is_floating_point()
    if task == "regression":
        fits, expected = real and targets.shape[1:] == output.shape[1:], "real targets of the shape of the output"
    else:
        axes = 3 if task == "next_token" else 2
        fits = not real and output.dim() == axes and targets.shape[1:] == output.shape[1:-1]
        expected = f"an output of {axes} axes and one class per position of the output, as whole numbers"
    if not fits:
        raise SpecError(
            f"{'real' if real else 'whole'} targets of shape {tuple(targets.shape)} do not fit an output of shape "
            f"{tuple(output.shape)} (of one sample): {task} expects {expected}; change the batch, or --task"
        )


def loss_function(task: str) -> Callable[[nn.Module, Batch], Tensor]:
    """The loss of a task on a `Batch`; tokens without targets of their own are shifted by one.

    Targets that repeat the tokens, as Hugging Face's labels do, are shifted too; -100 marks those that do not count.
    """

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        output = main_tensor(batch.run(model))
        assert output is not None, "looked at before"
        targets = batch.targets
        if task == "next_token" and (targets is None or _repeats(targets, batch.first)):
            output, targets = output[:, :-1], (batch.first if targets is None else targets)[:, 1:]
        assert targets is not None, "looked at before"
        return LOSSES[task](output, targets)

    return loss


def _repeats(targets: Tensor, tokens: Tensor) -> bool:
    return targets.shape == tokens.shape and bool(((targets == tokens) | (targets == IGNORED)).all())
