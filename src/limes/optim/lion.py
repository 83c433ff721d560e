"""Lion: the sign of an interpolated momentum, with decoupled weight decay."""

from collections.abc import Callable
from typing import Any

import torch

from limes.core.source import Source
from limes.optim.rule import Groups, OptimizerFamily, UpdateRule
from limes.spec.training import OptimizerSpec


class LionOptimizer(torch.optim.Optimizer):
    """Lion as published: w <- (1 - lr wd) w - lr sign(b1 m + (1 - b1) g), then m <- b2 m + (1 - b2) g.

    Source: arXiv:2302.06675, Algorithm 2.

    >>> weight = torch.nn.Parameter(torch.ones(2))
    >>> optimizer = LionOptimizer([weight], lr=0.5)
    >>> weight.sum().backward(); _ = optimizer.step(); weight.tolist()
    [0.5, 0.5]
    """

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; returns what `closure` returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                momentum = state["momentum"]
                update = momentum.lerp(weight.grad, 1.0 - beta1).sign_()
                weight.mul_(1.0 - group["lr"] * group["weight_decay"]).sub_(update, alpha=group["lr"])
                momentum.lerp_(weight.grad, 1.0 - beta2)
        return loss


def build(groups: Groups, spec: OptimizerSpec) -> torch.optim.Optimizer:
    """Lion on groups that carry lr and weight_decay; an eps in a group is left unused.

    Source: arXiv:2302.06675.

    >>> weight = torch.nn.Parameter(torch.ones(2))
    >>> groups = [{"params": [weight], "lr": 0.5, "weight_decay": 0.1}]
    >>> type(build(groups, OptimizerSpec())).__name__
    'LionOptimizer'
    """
    return LionOptimizer(groups, betas=spec.betas)


LION = OptimizerFamily(
    name="lion",
    rule=UpdateRule(eps_power=0.0),
    build=build,
    source=Source(title="Lion", arxiv="2302.06675", where="Algorithm 2; scaling as Adam"),
    variants={},
)
