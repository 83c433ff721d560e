"""How close an optimizer is to the edge of stability: sharpness in its own units against its own limit.

With learning rates eta_i and preconditioner P_i of parameter i, Lambda = diag(eta_i / P_i), a step on a quadratic is
stable while the largest eigenvalue of Lambda^1/2 H Lambda^1/2 stays below a number that only momentum decides.

Source: arXiv:2103.00065 (gradient descent), arXiv:2207.14484 (Adam). Letters: b momentum or beta1, d lr times
decoupled weight decay.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from limes.core.errors import SpecError
from limes.measure.hessian import LossFn
from limes.measure.sharpness import Sharpness, sharpness


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EdgeOfStability:
    """Where training stands against its stability limit.

    Attributes:
        sharpness: Of Lambda^1/2 H Lambda^1/2, dimensionless.
        limit: What it may reach: 2 for gradient descent, 38 for Adam with beta1 = 0.9 and no weight decay.
    """

    sharpness: Sharpness
    limit: float

    @property
    def ratio(self) -> float:
        """Sharpness over limit: 1 at the edge of stability."""
        return self.sharpness.value / self.limit


def edge_of_stability(
    model: nn.Module,
    loss_fn: LossFn,
    batch: Any,
    optimizer: Optimizer,
    *,
    start: Sharpness | None = None,
    tolerance: float = 1e-3,
    max_products: int = 500,
    batch_statistics: bool = False,
    seed: int = 0,
) -> EdgeOfStability:
    """Sharpness in units of the optimizer's current steps, and the limit beyond which those steps oscillate.

    Args:
        model: Being trained by `optimizer`.
        loss_fn: From (model, batch) to the loss that is being trained, without weight decay.
        batch: Fixed.
        optimizer: torch's SGD, Adam, AdamW or RMSprop, with its learning rates of this moment. Adaptive ones need a
            step first: their second moments are the preconditioner.
        start: The `.sharpness` of an earlier measurement, to save products.
        tolerance: As for `sharpness`.
        max_products: As for `sharpness`.
        batch_statistics: As for `sharpness`.
        seed: As for `sharpness`.

    Raises:
        SpecError: Another optimizer, one that has made no step, or one that does not hold the model's parameters.

    **Source**: arXiv:2103.00065; arXiv:2207.14484; limes, docs/diagnostics.md (per-tensor rates and weight decay).
    **Accuracy**: exact for a quadratic and second moments at rest; with differing decoupled decays the largest counts.

    >>> import torch
    >>> net = nn.Linear(1, 1, bias=False)
    >>> step = SGD(net.parameters(), lr=0.5, momentum=0.5)
    >>> found = edge_of_stability(net, lambda m, x: 0.5 * m(x).square().sum(), torch.ones(1, 1), step)
    >>> round(found.sharpness.value, 6), found.limit
    (0.5, 3.0)
    """
    names = {id(tensor): name for name, tensor in model.named_parameters() if tensor.requires_grad}
    scaling: dict[str, Tensor | float] = {}
    decay: dict[str, float] = {}
    limits = []
    for group in optimizer.param_groups:
        limits.append(_limit(optimizer, group))
        for parameter in group["params"]:
            if (name := names.get(id(parameter))) is None:
                continue
            scaling[name] = _step_size(optimizer, group, parameter, name)
            decay[name] = 0.0 if _decoupled(optimizer, group) else group["weight_decay"]
    if not scaling:
        raise SpecError("the optimizer holds no trainable parameter of this model: give the one that trains it")
    for name in set(names.values()) - scaling.keys():
        # What the optimizer does not move takes no part in its stability.
        scaling[name] = 0.0

    def decayed_loss(module: nn.Module, data: Any) -> Tensor:
        parameters = dict(module.named_parameters())
        terms = [0.5 * factor * parameters[name].square().sum() for name, factor in decay.items() if factor]
        return loss_fn(module, data) + sum(terms)

    found = sharpness(
        model,
        decayed_loss if any(decay.values()) else loss_fn,
        batch,
        scaling=scaling,
        start=start,
        tolerance=tolerance,
        max_products=max_products,
        batch_statistics=batch_statistics,
        seed=seed,
    )
    return EdgeOfStability(sharpness=found, limit=min(limits))


def has_stability_limit(optimizer: Optimizer) -> bool:
    """Whether `edge_of_stability` knows the optimizer's limit, and it has made the step that this needs.

    Source: limes, docs/diagnostics.md.

    >>> has_stability_limit(Adam(nn.Linear(1, 1).parameters()))
    False
    """
    if isinstance(optimizer, SGD):
        return True
    known = isinstance(optimizer, Adam) or (isinstance(optimizer, RMSprop) and not optimizer.defaults["centered"])
    held = [parameter for group in optimizer.param_groups for parameter in group["params"] if parameter.requires_grad]
    return known and all(optimizer.state.get(parameter) for parameter in held)


def _decoupled(optimizer: Optimizer, group: dict[str, Any]) -> bool:
    return isinstance(optimizer, AdamW) or bool(group.get("decoupled_weight_decay", False))


def _limit(optimizer: Optimizer, group: dict[str, Any]) -> float:
    """The largest stable eigenvalue: where an eigenvalue of the update of (parameter, momentum) reaches -1."""
    if isinstance(optimizer, SGD):
        b = group["momentum"]
        if not b:
            # torch dampens the momentum only.
            return 2.0
        if group["nesterov"]:
            return 2.0 * (1.0 + b) / (1.0 + 2.0 * b)
        if not group["dampening"] < 1.0:
            raise SpecError(f"dampening {group['dampening']:g}: expected below 1, or no gradient ever enters a step")
        return 2.0 * (1.0 + b) / (1.0 - group["dampening"])
    if isinstance(optimizer, Adam):
        b = float(group["betas"][0])
        d = float(group["lr"]) * group["weight_decay"] if _decoupled(optimizer, group) else 0.0
        return (2.0 - d) * (1.0 + b) / (1.0 - b)
    if isinstance(optimizer, RMSprop) and not group["centered"]:
        return 2.0 * (1.0 + group["momentum"])
    raise SpecError(f"{type(optimizer).__name__}: expected torch's SGD, Adam, AdamW or RMSprop (not centered)")


def _step_size(optimizer: Optimizer, group: dict[str, Any], parameter: nn.Parameter, name: str) -> Tensor | float:
    """Diagonal of Lambda for one tensor."""
    lr = float(group["lr"])
    if isinstance(optimizer, SGD):
        return lr
    state = optimizer.state.get(parameter, {})
    if isinstance(optimizer, RMSprop):
        return lr / (_moment(state, "square_avg", name).sqrt() + group["eps"])
    second = _moment(state, "max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq", name)
    steps = float(state["step"])
    beta1, beta2 = (float(beta) for beta in group["betas"])
    root = (second / (1.0 - beta2**steps)).sqrt() + group["eps"]
    return lr / ((1.0 - beta1**steps) * root)


def _moment(state: dict[str, Any], key: str, name: str) -> Tensor:
    if key not in state:
        raise SpecError(f"the optimizer has made no step on {name!r}: its second moments are needed, so train a step")
    return state[key].detach()
