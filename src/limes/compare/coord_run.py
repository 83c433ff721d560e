"""Train one network for a few steps and measure how each tensor and each activation moved: the points of a slope.

Source: limes, docs/coord_check.md.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from limes.core.errors import SpecError
from limes.measure import Recording, effective_shrinkage, main_tensor, record_forward_pass, second_order_ratios
from limes.measure.updates import own_effects, root_mean_square, split_updates
from limes.optim import OPTIMIZERS
from limes.parametrize import Plan
from limes.parametrize.declared import Declaration
from limes.spec.training import OptimizerSpec

Loss = Callable[..., Tensor]
Key = tuple[str, str]
LOGITS = "output"


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """How each network is trained.

    Attributes:
        steps: Optimizer steps, all on the same batch.
        lr: Learning rate at the base.
        weight_decay: At the base, as the optimizer takes it. It does not act in the training, where it would cover what
            the gradients do; what it takes per step is measured after it.
        eps: At the base.
        spec: Betas and momentum.
        dtype: Of model and batch; None leaves the model's own.
    """

    steps: int
    lr: float
    weight_decay: float
    eps: float
    spec: OptimizerSpec
    dtype: torch.dtype | None


def split_batch(batch: Any) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
    """(positional inputs, named inputs, targets) of a batch: a mapping is all named inputs, a pair (inputs, targets).

    Source: limes.

    >>> split_batch((1, 2)), split_batch({"input_ids": 3})
    (((1,), {}, 2), ((), {'input_ids': 3}, None))
    """
    if isinstance(batch, Mapping):
        return (), dict(batch), None
    if isinstance(batch, tuple | list) and len(batch) == 2:
        inputs, targets = batch
        if isinstance(inputs, Mapping):
            return (), dict(inputs), targets
        return (tuple(inputs) if isinstance(inputs, tuple) else (inputs,)), {}, targets
    raise SpecError(
        f"batch is a {type(batch).__name__}; expected a mapping of named inputs (with labels, for a model that returns "
        "its loss) or a pair (inputs, targets)"
    )


def own_loss(output: Any, targets: Any) -> Tensor:
    """The default loss: the model's own where it returns one, else cross-entropy for classes and squared error."""
    found = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    if isinstance(found, Tensor):
        return found
    logits = main_tensor(output)
    if logits is None or not isinstance(targets, Tensor):
        raise SpecError(
            "the model returns no loss and the batch holds no tensor of targets; pass batch=(inputs, targets) with "
            "loss=, or labels in the mapping"
        )
    if targets.is_floating_point():
        if targets.numel() != logits.numel():
            raise SpecError(
                f"targets of shape {tuple(targets.shape)} for outputs of shape {tuple(logits.shape)}: give as many, or "
                "pass loss="
            )
        # (n,) beside (n, 1) would be subtracted as (n, n).
        targets = targets.view_as(logits)
        return 0.5 * (logits - targets).square().mean()
    return torch.nn.functional.cross_entropy(logits.flatten(0, -2), targets.flatten())


class Network:
    """One network under a plan: built, drawn anew, trained in place."""

    def __init__(self, model: nn.Module, plan: Plan, training: Training, *, seed: int) -> None:
        self.model = model if training.dtype is None else model.to(training.dtype)
        self.plan = plan
        self.training = training
        plan.init_(self.model, seed=seed)
        plan.apply_multipliers(self.model)
        _measuring_mode(self.model)
        groups = plan.param_groups(self.model, lr=training.lr, weight_decay=training.weight_decay, eps=training.eps)
        self.optimizers = _optimizers(groups, plan, training)
        self.decays = [[group["weight_decay"] for group in each.param_groups] for each in self.optimizers]
        self._set_decays(on=False)
        self.before = {name: tensor.detach().clone() for name, tensor in self.model.named_parameters()}
        self.gradients: dict[str, float] = {}
        self.losses: list[float] = []
        self.owners: dict[str, str] = {}
        self.own: dict[str, float] = {}
        self.moved: dict[str, float] = {}

    def train(self, batch: Any, loss: Loss, first: Recording) -> None:
        """The steps, all on one batch; what the first one does with each tensor alone is kept for the causes."""
        args, kwargs, targets = split_batch(batch)
        for step in range(self.training.steps):
            output = self.model(*args, **kwargs)
            value = loss(output, targets)
            self.model.zero_grad()
            value.backward()
            self.losses.append(float(value.detach()))
            if step == 0:
                self.gradients = {
                    name: root_mean_square([tensor.grad])
                    for name, tensor in self.model.named_parameters()
                    if tensor.grad is not None
                }
            for optimizer in self.optimizers:
                optimizer.step()
            if step == 0:
                self.own = own_effects(self.model, self.before, first)
                self.moved = {
                    name: root_mean_square([tensor.detach() - self.before[name]])
                    for name, tensor in self.model.named_parameters()
                }

    def shrinkage(self) -> dict[str, float]:
        """Share of each tensor that weight decay takes per step."""
        self._set_decays(on=True)
        found: dict[str, float] = {}
        for optimizer in self.optimizers:
            found.update(effective_shrinkage(self.model, optimizer))
        self._set_decays(on=False)
        return found

    def _set_decays(self, *, on: bool) -> None:
        for optimizer, decays in zip(self.optimizers, self.decays):
            for group, decay in zip(optimizer.param_groups, decays):
                group["weight_decay"] = decay if on else 0.0

    def record(self, batch: Any) -> Recording:
        """One forward pass with everything kept."""
        args, kwargs, _ = split_batch(batch)
        return record_forward_pass(self.model, *args, **kwargs)


def _measuring_mode(model: nn.Module) -> None:
    """No dropout; batch normalization by the batch, because its running averages are not filled yet."""
    model.eval()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.train()


def _optimizers(groups: list[dict[str, Any]], plan: Plan, training: Training) -> list[torch.optim.Optimizer]:
    families: dict[str, list[dict[str, Any]]] = {}
    for group in groups:
        families.setdefault(group.pop("optimizer", plan.entries[0].optimizer), []).append(group)
    made = []
    for name, mine in families.items():
        build = OPTIMIZERS[name].build
        if build is None:
            raise SpecError(f"limes knows how {name} scales but does not ship it; check with one of those it ships")
        made.append(build(mine, training.spec))
    return made


def measure_network(network: Network, batch: Any, loss: Loss, declaration: Declaration) -> dict[Key, float]:
    """Train and measure; root mean squares over entries and over the layers of a template.

    Args:
        network: Before training.
        batch: As for `coord_check`.
        loss: (output, targets) -> scalar.
        declaration: What is declared: it names tensors and modules, and the blocks along the depth.

    Returns:
        By (quantity, template of the module or tensor).
    """
    first = network.record(batch)
    network.train(batch, loss, first)
    last = network.record(batch)
    blocks = declaration.blocks if declaration.axis == "depth" else ()
    result = _activations(first, last, declaration, blocks)
    result.update(_attention(first, last, declaration))
    result.update(_tensors(network, first, last, declaration))
    for template in blocks:
        result.update(_block(network, template, last, declaration))
    if network.training.weight_decay:
        result.update(_shrinkage(network, declaration))
    return {key: value if math.isfinite(value) else math.inf for key, value in result.items()}


def _pooled(parts: Mapping[str, list[float]], quantity: str, *, halfway: bool = False) -> dict[Key, float]:
    """Root mean square over the layers of each template, or the value of the layer halfway.

    Along the depth, changes build up from layer to layer; their mean would depend on how finely layers divide the
    depth. Half of the layers lie before the layer halfway at every (even) depth.
    """
    if halfway:
        return {(quantity, template): values[len(values) // 2] for template, values in parts.items()}
    return {
        (quantity, template): (sum(value**2 for value in values) / len(values)) ** 0.5
        for template, values in parts.items()
    }


def _activations(
    first: Recording, last: Recording, declaration: Declaration, blocks: tuple[str, ...]
) -> dict[Key, float]:
    """Sizes at initialization and changes; a module that only hands on what another one returned is left out.

    Of the blocks along the depth the last one counts.
    """
    sizes: dict[str, list[float]] = {}
    changes: dict[str, list[float]] = {}
    seen: set[int] = set()
    final = main_tensor(first.result)
    root = LOGITS if final is not None else ""
    for path, outputs in first.outputs.items():
        fresh = id(outputs[-1]) not in seen
        seen.update(id(tensor) for tensor in outputs)
        moved = [b - a for a, b in zip(outputs, last.outputs.get(path, []))]
        if not moved or not (fresh or path == ""):
            continue
        name = declaration.label(path) if path else root
        if name in blocks:
            sizes[name], changes[name] = [], []
        sizes.setdefault(name, []).append(root_mean_square(outputs))
        changes.setdefault(name, []).append(root_mean_square(moved))
    deep = declaration.axis == "depth"
    return _pooled(sizes, "init", halfway=deep) | _pooled(changes, "change", halfway=deep)


def _attention(first: Recording, last: Recording, declaration: Declaration) -> dict[Key, float]:
    sizes: dict[str, list[float]] = {}
    changes: dict[str, list[float]] = {}
    for path, logits in first.attention.items():
        moved = [b - a for a, b in zip(logits, last.attention[path])]
        sizes.setdefault(declaration.label(path), []).append(root_mean_square(logits))
        changes.setdefault(declaration.label(path), []).append(root_mean_square(moved))
    deep = declaration.axis == "depth"
    return _pooled(sizes, "attention init", halfway=deep) | _pooled(changes, "attention change", halfway=deep)


def _tensors(network: Network, first: Recording, last: Recording, declaration: Declaration) -> dict[Key, float]:
    updates = split_updates(network.model, network.before, first, last)
    rows = {row.name: row for row in network.plan.entries}
    parts: dict[str, dict[str, list[float]]] = {}

    def add(quantity: str, name: str, value: float) -> None:
        parts.setdefault(quantity, {}).setdefault(declaration.label(name), []).append(value)

    for name, update in updates.items():
        network.owners[declaration.label(name)] = declaration.label(update.module)
        add("effective", name, update.effective)
        add("propagating", name, update.propagating)
        add("own change", name, network.own[name])
        if name in network.gradients:
            add("gradient", name, network.gradients[name])
        if update.inputs_before and update.inputs_after:
            add("map init", name, update.output / update.inputs_before)
            add("map change", name, network.own[name] / update.inputs_before)
        rate = network.training.lr * rows[name].lr_scale
        if rate:
            add("step", name, network.moved[name] / rate)
    result: dict[Key, float] = {}
    for quantity, values in parts.items():
        halfway = declaration.axis == "depth" and quantity == "propagating"
        result.update(_pooled(values, quantity, halfway=halfway))
    return result


def _block(network: Network, template: str, last: Recording, declaration: Declaration) -> dict[Key, float]:
    """Ratios of second to first order: all tensors of the block, those of each part, and each alone."""
    parts: dict[str, list[float]] = {}
    for path in (path for path in last.outputs if declaration.label(path) == template):
        names = [name for name in network.before if name.startswith(f"{path}.")]
        subsets = {"all": names}
        for name in names:
            inside = name[len(path) + 1 :]
            subsets.setdefault(inside.partition(".")[0], []).append(name)
            subsets.setdefault(inside, []).append(name)
        for label, ratio in second_order_ratios(network.model, path, network.before, last, subsets).items():
            parts.setdefault(f"{template}: {label}", []).append(ratio)
    return _pooled(parts, "second order")


def _shrinkage(network: Network, declaration: Declaration) -> dict[Key, float]:
    parts: dict[str, list[float]] = {}
    for name, share in network.shrinkage().items():
        parts.setdefault(declaration.label(name), []).append(share)
    return _pooled(parts, "shrinkage")
