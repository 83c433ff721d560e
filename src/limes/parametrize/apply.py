"""Apply settings to a model: only a mapping from parameter names to settings is needed, no plan.

Names in the mapping are those of the bare model; wrappers' prefixes are removed before they are compared.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from limes.core.errors import PlanError
from limes.core.rng import stream
from limes.parametrize.multiplier import set_multiplier
from limes.parametrize.names import bare_name, named_tensors
from limes.spec.run import TensorSettings

Settings = Mapping[str, TensorSettings]


def _matched(model: nn.Module, settings: Settings) -> Iterator[tuple[str, Tensor]]:
    """Each tensor once, under its first name; refuses names that differ between model and settings."""
    names = named_tensors(model)
    missing = [name for name in names if name not in settings]
    extra = [name for name in settings if name not in names]
    if missing or extra:
        raise PlanError(
            f"the settings do not fit the model: {len(missing)} of its tensors have none (first: "
            f"{missing[:3]}), {len(extra)} settings have no tensor (first: {extra[:3]}); plan for this model"
        )
    seen: set[int] = set()
    for name, tensor in names.items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            yield name, tensor


def init_tensors_(model: nn.Module, settings: Settings, *, seed: int) -> None:
    """Overwrite every tensor by a fresh draw; each name has its own stream, so order and sharding do not
    matter.

    Args:
        model: Any module; a tensor shared by several names is drawn once, under the first of them. Tensors on
            the meta device are left alone.
        settings: Settings by parameter name; `own` leaves a tensor as its constructor made it.
        seed: Seed of the run.

    Raises:
        PlanError: Names of model and settings differ.

    Source: limes, docs/parametrize.md.

    >>> layer = nn.Linear(2, 2, bias=False)
    >>> entry = TensorSettings(init="constant", init_mean=3, init_std=0, lr=1)
    >>> init_tensors_(layer, {"weight": entry}, seed=0)
    >>> layer.weight.tolist()
    [[3.0, 3.0], [3.0, 3.0]]
    """
    for name, tensor in _matched(model, settings):
        entry = settings[name]
        if entry.init == "own" or tensor.is_meta:
            continue
        with torch.no_grad():
            if entry.init == "constant" or entry.init_std == 0.0:
                tensor.fill_(entry.init_mean)
            else:
                _write(tensor, _draw(tuple(tensor.shape), entry, seed=seed, name=name))


def _draw(shape: tuple[int, ...], entry: TensorSettings, *, seed: int, name: str) -> Tensor:
    """float32 draws for every dtype of the model, so that precisions share one initialization."""
    generator = stream(seed, "init", name)
    if entry.init == "normal":
        unit = torch.randn(shape, generator=generator, dtype=torch.float32)
    else:
        unit = (torch.rand(shape, generator=generator, dtype=torch.float32) * 2 - 1) * 3**0.5
    return unit.double() * entry.init_std + entry.init_mean


def _write(tensor: Tensor, values: Tensor) -> None:
    """Copy global values into a plain or a distributed tensor."""
    if hasattr(tensor, "device_mesh"):
        from torch.distributed.tensor import DTensor, distribute_tensor

        assert isinstance(tensor, DTensor)
        values = values.to(dtype=tensor.dtype, device=tensor.device_mesh.device_type)
        values = distribute_tensor(values, tensor.device_mesh, tensor.placements, src_data_rank=None)
    tensor.copy_(values)


def group_parameters(
    model: nn.Module, settings: Settings, *, optimizer: str | Mapping[str, str], lr: float | None = None
) -> list[dict[str, Any]]:
    """Parameter groups for `torch.optim`: tensors with equal settings share one, in order of first
    appearance.

    Args:
        model: Any module; frozen tensors (requires_grad False) are left out.
        settings: Settings by parameter name.
        optimizer: Name of the optimizer; `sgd` and `lion` groups carry no eps. A mapping by parameter name
            where tensors have different ones: groups then say theirs under `optimizer`.
        lr: Learning rate at the base, to which `lr_scale` refers; the largest of the groups by default.

    Returns:
        Groups with `params`, `lr`, `weight_decay`, `eps` and `lr_scale`; ready for `limes.optim` or torch.

    Raises:
        PlanError: Names of model and settings differ.

    Source: limes, docs/parametrize.md.

    >>> layer = nn.Linear(2, 2)
    >>> entry = TensorSettings(init="normal", init_mean=0, init_std=1, lr=0.5)
    >>> groups = group_parameters(layer, {"weight": entry, "bias": entry}, optimizer="sgd")
    >>> len(groups), len(groups[0]["params"]), groups[0]["lr_scale"]
    (1, 2, 1.0)
    """
    reference = lr if lr is not None else max((entry.lr for entry in settings.values()), default=1.0)
    merged: dict[tuple[float, float, float, str], dict[str, Any]] = {}
    for name, tensor in _matched(model, settings):
        if not tensor.requires_grad:
            continue
        entry = settings[name]
        family = optimizer if isinstance(optimizer, str) else optimizer[name]
        key = (entry.lr, entry.weight_decay, entry.eps, family)
        if key not in merged:
            group = {"params": [], "lr": entry.lr, "weight_decay": entry.weight_decay}
            if not isinstance(optimizer, str):
                group["optimizer"] = family
            if family not in ("sgd", "lion"):
                group["eps"] = entry.eps
            merged[key] = {**group, "lr_scale": entry.lr / reference if reference else 1.0}
        merged[key]["params"].append(tensor)
    return list(merged.values())


def attach_multipliers(model: nn.Module, settings: Settings) -> None:
    """Make the module that owns each tensor multiply its output; calling it again changes nothing.

    Args:
        model: Any module.
        settings: Settings by parameter name; a multiplier of exactly 1 is skipped.

    Raises:
        PlanError: Two tensors of one module ask for different multipliers.

    Source: limes, docs/parametrize.md.

    >>> layer = nn.Linear(1, 1, bias=False)
    >>> entry = TensorSettings(init="constant", init_mean=1, init_std=0, lr=1, multiplier=0.5)
    >>> init_tensors_(layer, {"weight": entry}, seed=0)
    >>> attach_multipliers(layer, {"weight": entry}); attach_multipliers(layer, {"weight": entry})
    >>> layer(torch.ones(1)).item()
    0.5
    """
    factors: dict[str, tuple[str, float]] = {}
    for name, entry in settings.items():
        owner = name.rpartition(".")[0]
        other, factor = factors.setdefault(owner, (name, entry.multiplier))
        if factor != entry.multiplier:
            raise PlanError(
                f"{other} asks for the multiplier {factor:g} and {name} for {entry.multiplier:g}, but both "
                f"act in module {owner!r}; give both the same"
            )
    modules = {bare_name(name): module for name, module in model.named_modules(remove_duplicate=False)}
    for owner, (name, factor) in factors.items():
        if owner not in modules:
            raise PlanError(f"the model has no module {owner!r} to carry the multiplier of {name}")
        set_multiplier(modules[owner], factor)
