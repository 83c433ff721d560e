"""The optimizer of a training checkpoint: its rates, epsilons and second moments say more than the weights alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from limes.cli.inspect_inputs import read_tensors
from limes.core.errors import DataError

_NAMES = ("optimizer", "optimizer_state_dict", "optim")


def read_optimizer(path: Path, model: nn.Module) -> Optimizer | None:
    """What `torch.save({"model": ..., "optimizer": optimizer.state_dict()}, path)` has kept, made anew for this model.

    Args:
        path: The checkpoint.
        model: With the parameters in the order in which the optimizer took them.

    Returns:
        SGD, Adam, AdamW or RMSprop by the settings of its groups; None if there is none, or another.

    Raises:
        DataError: It is of other parameters.
    """
    found = read_tensors(path, flag="--checkpoint") if path.suffix not in (".safetensors", ".npz") else {}
    state = next((found[name] for name in _NAMES if isinstance(found, Mapping) and name in found), None)
    if not isinstance(state, Mapping) or not {"state", "param_groups"} <= state.keys():
        return None
    kind = _kind(state["param_groups"][0])
    if kind is None:
        return None
    moving = [parameter for parameter in model.parameters() if parameter.requires_grad]
    indices = [index for group in state["param_groups"] for index in group["params"]]
    every = list(model.parameters()) if len(indices) > len(moving) else moving
    if sorted(indices) != list(range(len(every))) or not _fits(state["state"], every):
        raise DataError(
            f"--checkpoint {path}: its optimizer has {len(indices)} tensors, not the model's {len(moving)} in "
            "their order; build the model that was trained, or leave the optimizer out of the file"
        )
    optimizer = kind([{"params": [every[index] for index in group["params"]]} for group in state["param_groups"]])
    optimizer.load_state_dict(dict(state))
    return optimizer


def _kind(group: Mapping[str, Any]) -> Any:
    if "betas" in group and "amsgrad" in group:
        return AdamW if group.get("decoupled_weight_decay") else Adam
    if "nesterov" in group:
        return SGD
    return RMSprop if {"alpha", "centered"} <= group.keys() else None


def _fits(state: Mapping[Any, Any], parameters: list[nn.Parameter]) -> bool:
    return all(
        value.shape == parameters[index].shape
        for index, entries in state.items()
        for value in entries.values()
        if isinstance(value, Tensor) and value.dim() > 0
    )
