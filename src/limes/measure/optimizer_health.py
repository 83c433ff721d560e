"""Whether gradients are above the optimizer's epsilon and within its memory, and how far a step moves each tensor.

Source: arXiv:2309.14322, section 3.4 (epsilon); arXiv:2304.13013 (surprise); limes, docs/diagnostics.md.
Letters: g gradient, v second moment, b2 its decay, t steps made.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from limes.core.errors import SpecError
from limes.measure.roles import check_roles

# Gradients smaller than this many roundings of the largest tensor's count as zero.
ROUNDING = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class GradientHealth:
    """The gradient of one tensor.

    Attributes:
        rms: Root mean square of its entries, those that are exactly 0 (rows of an embedding without a token) left out.
        denominator: The same of what the optimizer divides by besides epsilon: root of the corrected second moment,
            if it has one, else `rms`.
        eps: Epsilon of the tensor's group; None if the optimizer has none.
        surprise: Root mean square of the gradient over the root of Adam's second moment, entry by entry, the present
            gradient counted in it; None without a second moment. 1 where gradients are what they were, at most
            1 / sqrt(1 - beta2), where all that the moment remembers is small.
    """

    rms: float
    denominator: float
    eps: float | None
    surprise: float | None

    @property
    def over_eps(self) -> float | None:
        """How far the gradient is above epsilon; a steady update is too small by 1 / (1 + this)."""
        if self.eps is None:
            return None
        return self.denominator / self.eps if self.eps > 0 else float("inf")


@dataclass(frozen=True, kw_only=True, slots=True)
class UpdateSize:
    """One step of one tensor, or of all tensors of a role together.

    Attributes:
        update_rms: Root mean square of the change.
        weight_rms: That of the weights before it.
    """

    update_rms: float
    weight_rms: float

    @property
    def ratio(self) -> float:
        """Relative size of the step; infinite for a tensor that was zero."""
        if self.weight_rms > 0:
            return self.update_rms / self.weight_rms
        return float("inf") if self.update_rms > 0 else 0.0


def gradient_health(
    model: nn.Module,
    optimizer: Optimizer | None = None,
    *,
    gradients: Mapping[str, Tensor] | None = None,
    stepped: bool = True,
) -> dict[str, GradientHealth]:
    """Gradient of every trainable tensor against the epsilon that its optimizer adds and the past that it remembers.

    Args:
        model: Any module.
        optimizer: The one that trains it: epsilon from its groups, second moments from its state.
        gradients: By parameter name; None takes those that lie on the parameters.
        stepped: Whether the optimizer has made its step with these gradients, so that they are in its moments.

    Returns:
        By parameter name; tensors without a gradient are left out.

    Source: arXiv:2309.14322, section 3.4; arXiv:2304.13013, section 3 (its RMS_t). **Accuracy**: sums in float64.

    >>> layer = nn.Linear(2, 1, bias=False)
    >>> optimizer = torch.optim.Adam(layer.parameters(), eps=0.5)
    >>> gradient_health(layer, optimizer, gradients={"weight": torch.tensor([[3.0, 0.0]])})["weight"].over_eps
    6.0
    """
    groups = {} if optimizer is None else {id(p): group for group in optimizer.param_groups for p in group["params"]}
    result = {}
    for name, parameter in model.named_parameters():
        gradient = parameter.grad if gradients is None else gradients.get(name)
        if gradient is None or not parameter.requires_grad:
            continue
        group = groups.get(id(parameter), {})
        eps = group.get("eps")
        size = _nonzero_rms(gradient)
        second = None if optimizer is None else second_moment(optimizer, parameter)
        result[name] = GradientHealth(
            rms=size,
            denominator=size if second is None else _nonzero_rms(second.sqrt()),
            eps=None if eps is None else float(eps if not isinstance(eps, tuple) else eps[0]),
            surprise=None if optimizer is None else _surprise(optimizer, group, parameter, gradient, stepped=stepped),
        )
    return result


def gradient_size_signs(
    model: nn.Module,
    optimizer: Optimizer | None,
    gradients: Mapping[str, Tensor] | None = None,
    *,
    stepped: bool = True,
) -> dict[str, float]:
    """Root mean squares of gradients, how far they are above epsilon, and how far beyond what Adam remembers.

    Args:
        model: Any module.
        optimizer: As for `gradient_health`.
        gradients: As for `gradient_health`.
        stepped: As for `gradient_health`.

    Returns:
        "gradient_rms/parameter" and, where the gradient is more than rounding, "gradient_over_eps/parameter" and, of
        matrices, "gradient_surprise/parameter".

    Source: arXiv:2309.14322, section 3.4; arXiv:2304.13013, section 3.

    >>> layer = nn.Linear(1, 1, bias=False)
    >>> gradient_size_signs(layer, None, {"weight": torch.tensor([[2.0]])})
    {'gradient_rms/weight': 2.0}
    """
    signs: dict[str, float] = {}
    matrices = {name for name, parameter in model.named_parameters() if parameter.dim() >= 2}
    health = gradient_health(model, optimizer, gradients=gradients, stepped=stepped)
    largest = max((gradient.denominator for gradient in health.values()), default=0.0)
    rounding = {name: ROUNDING * torch.finfo(parameter.dtype).eps for name, parameter in model.named_parameters()}
    for name, gradient in health.items():
        signs[f"gradient_rms/{name}"] = gradient.rms
        # The bias of a key, or in front of a norm, has a gradient of zero up to rounding: no epsilon is too large.
        if gradient.denominator <= rounding[name] * largest:
            continue
        if gradient.over_eps is not None:
            signs[f"gradient_over_eps/{name}"] = gradient.over_eps
        # The few entries of a gain or a bias make a noisy mean.
        if gradient.surprise is not None and name in matrices:
            signs[f"gradient_surprise/{name}"] = gradient.surprise
    return signs


def second_moment(optimizer: Optimizer, parameter: nn.Parameter) -> Tensor | None:
    """Running mean of squared gradients, corrected for its start; None if the optimizer has made none.

    Source: arXiv:1412.6980, algorithm 1.

    >>> layer = nn.Linear(1, 1, bias=False)
    >>> second_moment(torch.optim.Adam(layer.parameters()), layer.weight) is None
    True
    """
    state = optimizer.state.get(parameter, {})
    second = state.get("exp_avg_sq", state.get("square_avg"))
    if not isinstance(second, Tensor) or second.shape != parameter.shape:
        return None
    group = next(group for group in optimizer.param_groups if any(p is parameter for p in group["params"]))
    if "exp_avg_sq" in state and "betas" in group and float(state.get("step", 0)) > 0:
        return second / (1.0 - float(group["betas"][1]) ** float(state["step"]))
    return second


def _surprise(
    optimizer: Optimizer, group: Mapping[str, Any], parameter: nn.Parameter, gradient: Tensor, *, stepped: bool
) -> float | None:
    state = optimizer.state.get(parameter, {})
    second, steps = state.get("exp_avg_sq"), float(state.get("step", 0))
    if not isinstance(second, Tensor) or second.shape != parameter.shape or "betas" not in group or not steps:
        return None
    beta2, square = float(group["betas"][1]), gradient.detach().square()
    if not stepped:
        second, steps = beta2 * second + (1.0 - beta2) * square, steps + 1.0
    floor = max(float(group["eps"]) ** 2, torch.finfo(second.dtype).tiny)
    return float((square / (second / (1.0 - beta2**steps)).clamp_min(floor)).mean(dtype=torch.float64)) ** 0.5


def update_sizes(
    model: nn.Module, before: Mapping[str, Tensor], *, roles: Mapping[str, str] | None = None
) -> tuple[dict[str, UpdateSize], dict[str, UpdateSize]]:
    """How far the weights moved since `before`, against their size then.

    Args:
        model: After the step.
        before: Copies of parameters before it, by name.
        roles: Role of each tensor; what is missing is guessed (`guess_roles`).

    Returns:
        By parameter name, and by role with all entries of a role pooled. Frozen tensors are left out.

    Raises:
        SpecError: A name or a shape is not the model's.

    Source: limes, docs/diagnostics.md. **Accuracy**: sums in float64.

    >>> layer = nn.Linear(2, 1, bias=False)
    >>> _ = nn.init.constant_(layer.weight, 1.0)
    >>> tensors, by_role = update_sizes(layer, {"weight": torch.full((1, 2), 0.5)})
    >>> tensors["weight"].ratio, round(by_role["readout"].update_rms, 6)
    (1.0, 0.5)
    """
    own = dict(model.named_parameters())
    unknown = [name for name in before if name not in own or own[name].shape != before[name].shape]
    if unknown:
        raise SpecError(f"weights before the step have {unknown[:3]}, which the model has not in that shape")
    named = check_roles(model, roles)
    tensors: dict[str, UpdateSize] = {}
    pooled: dict[str, list[float]] = {}
    for name, old in before.items():
        if not own[name].requires_grad or not old.numel():
            continue
        old = old.detach()
        # A small difference of near numbers is exact, so only the sum needs float64.
        moved = float(torch.linalg.vector_norm(own[name].detach() - old, dtype=torch.float64)) ** 2
        size, count = float(torch.linalg.vector_norm(old, dtype=torch.float64)) ** 2, old.numel()
        tensors[name] = UpdateSize(update_rms=(moved / count) ** 0.5, weight_rms=(size / count) ** 0.5)
        sums = pooled.setdefault(named[name], [0.0, 0.0, 0.0])
        for place, value in enumerate((moved, size, count)):
            sums[place] += value
    by_role = {
        role: UpdateSize(update_rms=(moved / count) ** 0.5, weight_rms=(size / count) ** 0.5)
        for role, (moved, size, count) in pooled.items()
    }
    return tensors, by_role


def _nonzero_rms(tensor: Tensor) -> float:
    count = int(torch.count_nonzero(tensor))
    return float(torch.linalg.vector_norm(tensor.detach(), dtype=torch.float64)) / count**0.5 if count else 0.0
