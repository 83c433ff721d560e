"""What the update of each tensor does to the network: effective (dW x) and propagating (W dx) parts, block by block.

A module's output moves because its parameters moved and because its input did: with parameters p and input x before
(0) and after (1) training,

    f(p1, x1) - f(p0, x0) = [f(p1, x1) - f(p0, x1)] + [f(p0, x1) - f(p0, x0)],

the effective part, which is split further by tensor, and the propagating part.

Source: arXiv:2505.22491 (effective and propagating updates); arXiv:2505.01618 Section 4 (complete feature learning:
a block is lazy if its change is that of its linearization).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from limes.measure.activations import Arguments, Recording, main_tensor, unchanged

State = Mapping[str, Tensor]


def root_mean_square(tensors: Iterable[Tensor]) -> float:
    """Root of the mean square of all entries together, summed in float64; 0 for no entries.

    Source: limes.

    >>> root_mean_square([torch.tensor([3.0]), torch.tensor([3.0, 3.0])])
    3.0
    """
    total, count = 0.0, 0
    for tensor in tensors:
        total += float(tensor.double().square().sum())
        count += tensor.numel()
    return (total / count) ** 0.5 if count else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorUpdate:
    """One tensor's part in the change of the module that uses it. Root mean squares, in units of that module's output.

    Attributes:
        module: Path of the innermost module that was called and holds the tensor.
        effective: f(p1, x1) - f(p1 but this tensor from p0, x1).
        propagating: f(p0, x1) - f(p0, x0): of the whole module, the same for each of its tensors.
        output: f(p0, x0), the output before training.
        inputs_before: x0; None where the module takes no floating-point tensor (a lookup).
        inputs_after: x1.
    """

    module: str
    effective: float
    propagating: float
    output: float
    inputs_before: float | None
    inputs_after: float | None


def owner_of(name: str, called: Mapping[str, object]) -> str:
    """Path of the innermost called module that holds the parameter `name`.

    Source: limes.

    >>> owner_of("block.attn.out_proj.weight", {"": 0, "block.attn": 0})
    'block.attn'
    """
    path = name.rpartition(".")[0]
    while path and path not in called:
        path = path.rpartition(".")[0]
    return path


def split_updates(model: nn.Module, before: State, first: Recording, last: Recording) -> dict[str, TensorUpdate]:
    """Effective and propagating parts of the change, tensor by tensor.

    Args:
        model: After training, in the mode in which both passes were recorded; it is left as it is.
        before: Parameters before training, by the names of `model.named_parameters()`.
        first: The pass before training.
        last: The pass after it, on the same batch.

    Returns:
        For each parameter name; tensors of modules that made no call in one of the passes are left out.

    Source: arXiv:2505.22491. **Accuracy**: differences in the dtype of the model, sums in float64.

    >>> net = nn.Sequential(nn.Linear(1, 1, bias=False))
    >>> _ = nn.init.constant_(net[0].weight, 2.0)
    >>> from limes.measure.activations import record_forward_pass
    >>> before, passes = {"0.weight": torch.tensor([[1.0]])}, record_forward_pass(net, torch.ones(1, 1))
    >>> split_updates(net, before, passes, passes)["0.weight"].effective
    1.0
    """
    modules = dict(model.named_modules())
    called = {path: None for path in last.outputs if path in first.outputs}
    result = {}
    with unchanged(model), torch.no_grad():
        for path, mine in _by_owner(before, called).items():
            cut = len(path) + 1 if path else 0
            old = {name[cut:]: before[name] for name in mine}
            module = modules[path]
            after_old = _call(module, old, last.inputs[path])
            moved = _difference(after_old, first.outputs[path])
            for name in mine:
                swapped = _call(module, {name[cut:]: before[name]}, last.inputs[path])
                result[name] = TensorUpdate(
                    module=path,
                    effective=root_mean_square(_difference(last.outputs[path], swapped)),
                    propagating=root_mean_square(moved),
                    output=root_mean_square(first.outputs[path]),
                    inputs_before=_input_size(first.inputs[path]),
                    inputs_after=_input_size(last.inputs[path]),
                )
    return result


def own_effects(model: nn.Module, before: State, first: Recording) -> dict[str, float]:
    """What the update of one tensor alone does to the output of its module, at the inputs before training.

    Unlike the effective part, it does not see what the other tensors did meanwhile.

    Args:
        model: After training; it is left as it is.
        before: Parameters before training.
        first: The pass before training.

    Returns:
        For each parameter name the root mean square of f(p0 but this tensor from p1, x0) - f(p0, x0).

    Source: limes, docs/coord_check.md.

    >>> net = nn.Sequential(nn.Linear(1, 1, bias=False))
    >>> from limes.measure.activations import record_forward_pass
    >>> _ = nn.init.constant_(net[0].weight, 1.0)
    >>> first = record_forward_pass(net, torch.ones(1, 1))
    >>> _ = nn.init.constant_(net[0].weight, 3.0)
    >>> own_effects(net, {"0.weight": torch.tensor([[1.0]])}, first)
    {'0.weight': 2.0}
    """
    modules, after = dict(model.named_modules()), dict(model.named_parameters())
    result = {}
    with unchanged(model), torch.no_grad():
        for path, mine in _by_owner(before, first.outputs).items():
            cut = len(path) + 1 if path else 0
            old = {name[cut:]: before[name] for name in mine}
            for name in mine:
                state = old | {name[cut:]: after[name].detach()}
                moved = _difference(_call(modules[path], state, first.inputs[path]), first.outputs[path])
                result[name] = root_mean_square(moved)
    return result


def _by_owner(names: Iterable[str], called: Mapping[str, object]) -> dict[str, list[str]]:
    """Parameters by the innermost called module that holds them; those of no called module are left out."""
    result: dict[str, list[str]] = {}
    for name in names:
        path = owner_of(name, called)
        if path in called:
            result.setdefault(path, []).append(name)
    return result


def _difference(first: Iterable[Tensor], second: Iterable[Tensor]) -> list[Tensor]:
    return [a - b for a, b in zip(first, second)]


def _call(module: nn.Module, state: State, calls: list[Arguments]) -> list[Tensor]:
    """The module's outputs on recorded inputs, with some of its parameters replaced."""
    outputs = []
    for args, kwargs in calls:
        output = main_tensor(functional_call(module, dict(state), args, kwargs))
        assert output is not None, "a module that returned a tensor returns one again"
        outputs.append(output.detach())
    return outputs


def _input_size(calls: list[Arguments]) -> float | None:
    found = [tensor for args, kwargs in calls if (tensor := main_tensor([*args, *kwargs.values()])) is not None]
    return root_mean_square(found) if found else None


def second_order_ratios(
    model: nn.Module, path: str, before: State, recording: Recording, subsets: Mapping[str, Iterable[str]]
) -> dict[str, float]:
    """Second-order over first-order change of a block's output when some of its parameters move.

    The parameters are moved by +d and -d from where they were, d being what training did, at the inputs that the
    block had after training: half the difference is the change of first order, half the sum (less the output) that of
    second, each up to terms two orders higher.

    Args:
        model: After training.
        path: Path of the block.
        before: Parameters before training.
        recording: The pass after training.
        subsets: By any label, the parameters that move together, all inside the block.

    Returns:
        Ratios of root mean squares by label; those not above rounding, as for one tensor that acts linearly, left out.

    Source: arXiv:2505.01618 Section 4; limes, docs/coord_check.md. **Accuracy**: ratios below 1e-4 (float32) or 1e-9
    (float64) count as rounding.

    >>> net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    >>> for layer in net: _ = nn.init.constant_(layer.weight, 1.5)
    >>> from limes.measure.activations import record_forward_pass
    >>> before = {"0.weight": torch.ones(1, 1), "1.weight": torch.ones(1, 1)}
    >>> recording = record_forward_pass(net, torch.ones(1, 1))
    >>> second_order_ratios(net, "", before, recording, {"both": before, "one": ["0.weight"]})   # (1 + d)^2: d^2 / 2 d
    {'both': 0.25}
    """
    module, inputs = model.get_submodule(path), recording.inputs[path]
    cut = len(path) + 1 if path else 0
    own = {name: before[name] for name in before if not path or name.startswith(f"{path}.")}
    moves = {name: tensor.detach() - own[name] for name, tensor in model.named_parameters() if name in own}
    result = {}
    with unchanged(model), torch.no_grad():
        middle = _call(module, {name[cut:]: value for name, value in own.items()}, inputs)
        scale = root_mean_square(middle)
        for label, names in subsets.items():
            chosen = set(names)
            plus, minus = (
                _call(module, {n[cut:]: p + sign * moves[n] if n in chosen else p for n, p in own.items()}, inputs)
                for sign in (1.0, -1.0)
            )
            first = root_mean_square([(a - b) / 2 for a, b in zip(plus, minus)])
            second = root_mean_square([(a + b) / 2 - c for a, b, c in zip(plus, minus, middle)])
            floor = 1e-9 if plus and plus[0].dtype == torch.float64 else 1e-4
            if first > scale * floor * 1e-2 and second / first > floor:
                result[label] = second / first
    return result
