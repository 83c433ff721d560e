"""Clipping by the global norm, computed in one fixed form so that all forms train alike."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from limes.core.errors import PlanError
from limes.parametrize.names import named_tensors
from limes.parametrize.row import PlanRow


def clip_in_multiplier_form_(model: nn.Module, rows: Iterable[PlanRow], *, max_norm: float) -> Tensor:
    """Scale all gradients by one factor so that their norm in the multiplier form is at most `max_norm`.

    Args:
        model: Any module; gradients of a shared tensor count once.
        rows: Rows of the plan; a gradient scales with the multiplier of its map.
        max_norm: Bound on the norm.

    Returns:
        The norm before clipping, a scalar tensor.

    Source: limes, docs/parametrize.md.
    """
    if not max_norm > 0:
        raise PlanError(f"max_norm {max_norm} must be positive")
    factors = {row.name: row.own_multiplier / row.multiplier for row in rows if row.carrier is not None}
    seen: set[int] = set()
    gradients, norms = [], []
    for name, tensor in named_tensors(model).items():
        if tensor.grad is None or id(tensor) in seen:
            continue
        seen.add(id(tensor))
        gradients.append(tensor.grad)
        norm = torch.linalg.vector_norm(tensor.grad)
        norms.append((norm.full_tensor() if hasattr(norm, "full_tensor") else norm) * factors.get(name, 1.0))
    if not norms:
        return torch.zeros(())
    total = torch.linalg.vector_norm(torch.stack(norms))
    scale = (max_norm / (total + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scale.to(gradient.device))
    return total
