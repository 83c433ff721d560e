"""Does a model and its optimizer still belong to a plan?"""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from limes.core.errors import PlanError
from limes.parametrize.multiplier import multiplier_of
from limes.parametrize.names import bare_name, named_tensors
from limes.parametrize.row import NO_EPS, PlanRow

RELATIVE = 1e-9


@dataclass(frozen=True, slots=True)
class PlanProblems:
    """What was found, each in a sentence."""

    sentences: list[str]

    def raise_if_any(self) -> None:
        """Raise a PlanError that lists the first ones."""
        if self.sentences:
            more = f" (and {len(self.sentences) - 3} more)" if len(self.sentences) > 3 else ""
            raise PlanError("; ".join(self.sentences[:3]) + more)


def find_problems(
    rows: Iterable[PlanRow], model: nn.Module, optimizers: Any, *, max_grad_norm: float | None
) -> list[str]:
    """Sentences about everything that differs; a warning where a trainer clips by itself.

    Source: limes, docs/parametrize.md.
    """
    table = {row.name: row for row in rows}
    problems = _names_and_shapes(table, model) + _multipliers(table, model)
    if optimizers is not None:
        listed = [optimizers] if isinstance(optimizers, torch.optim.Optimizer) else list(optimizers)
        problems += _groups(table, model, [group for each in listed for group in each.param_groups])
    if max_grad_norm:
        warnings.warn(
            f"the trainer clips the gradient at {max_grad_norm:g} by its plain norm, which depends on the form of the "
            "plan; switch that off and call plan.clip_grad_norm_ instead",
            stacklevel=3,
        )
    return problems


def _names_and_shapes(table: dict[str, PlanRow], model: nn.Module) -> list[str]:
    tensors = named_tensors(model)
    problems = [f"the plan has no tensor {name}" for name in tensors if name not in table]
    problems += [f"the model has no tensor {name}" for name in table if name not in tensors]
    for name, tensor in tensors.items():
        if name in table and tuple(tensor.shape) != table[name].shape:
            problems.append(f"{name} has shape {tuple(tensor.shape)}, the plan was made for {table[name].shape}")
    return problems


def _multipliers(table: dict[str, PlanRow], model: nn.Module) -> list[str]:
    wanted = {row.name.rpartition(".")[0]: row.multiplier for row in table.values()}
    problems = []
    for path, module in model.named_modules(remove_duplicate=False):
        want, have = wanted.get(bare_name(path), 1.0), multiplier_of(module)
        if have != want:
            problems.append(f"module {path!r} multiplies by {have:g}, the plan says {want:g}; call apply_multipliers")
    return problems


def _groups(table: dict[str, PlanRow], model: nn.Module, groups: list[dict[str, Any]]) -> list[str]:
    """Ratios between groups must be the plan's, at any point of a schedule."""
    names = {id(tensor): name for name, tensor in reversed(list(named_tensors(model).items()))}
    bases: dict[tuple[str, str], tuple[float, str]] = {}
    seen: set[str] = set()
    problems = []
    for group in groups:
        for tensor in group["params"]:
            name = names.get(id(tensor))
            if name is None or name not in table:
                problems.append(f"the optimizer holds a tensor of shape {tuple(tensor.shape)} that is not the model's")
                continue
            seen.add(name)
            problems += _ratios(table[name], group, bases)
    trained = [name for name, tensor in named_tensors(model).items() if tensor.requires_grad]
    missing = [name for name in trained if name not in seen and table.get(name) and not table[name].tied_to]
    return problems + [f"the optimizer does not train {name}" for name in missing]


def _ratios(row: PlanRow, group: dict[str, Any], bases: dict[tuple[str, str], tuple[float, str]]) -> list[str]:
    problems = []
    checks = [("lr", row.lr_scale), ("weight_decay", row.weight_decay_scale)]
    if row.optimizer not in NO_EPS:
        checks.append(("eps", row.eps_scale))
    for key, scale in checks:
        if key not in group or not scale:
            continue
        value = float(group[key]) / scale
        first, other = bases.setdefault((row.optimizer, key), (value, row.name))
        if abs(value - first) > RELATIVE * max(abs(value), abs(first)):
            problems.append(
                f"{key} of {row.name} is {float(group[key]):g}; by the plan's ratio to {other} it would be "
                f"{first * scale:g}: a scheduler or trainer overwrote it"
            )
    return problems
