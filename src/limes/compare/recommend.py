"""From a plan and a tuned learning rate to the numbers that a training script needs, tensor by tensor."""

from collections.abc import Mapping, Sequence
from typing import Any

from limes.compare.result import PanelResult, Recommendation
from limes.parametrize import Plan
from limes.spec.training import OptimizerSpec


def tuned_value(panels: Sequence[PanelResult], parametrization: str) -> tuple[float, str] | None:
    """log2 of what was tuned (the learning rate, in the base's terms), and where; None when nothing was trained.

    The optimum of the smallest network trained; a best grid point, flagged, if that was not found.
    """
    mine = [panel for panel in panels if panel.parametrization == parametrization]
    for panel in sorted(mine, key=lambda panel: panel.num_params[0]):
        if (optimum := panel.log2_optimal_lr[0]) is not None:
            seeds = sum(curve.size == panel.sizes[0] for curve in panel.curves)
            return optimum, f"mean optimum over {seeds} seed(s) at {panel.axis} {panel.sizes[0]}, the smallest trained"
    points = [
        (loss, log2_lr)
        for panel in mine
        for curve in panel.curves
        if curve.size == panel.sizes[0]
        for loss, log2_lr in zip(curve.loss, curve.log2_lr)
        if loss is not None
    ]
    if not points:
        return None
    name = mine[0].swept[0]
    return min(points)[1], f"best {name} tried at the smallest size: its optimum was NOT resolved, tune it before use"


def recommend(
    plan: Plan,
    optimizer: OptimizerSpec,
    *,
    log2_lr: float,
    lr_note: str,
    base: Mapping[str, Any],
    target: Mapping[str, int],
) -> Recommendation:
    """The settings of every tensor of the target.

    Args:
        plan: From base to target.
        optimizer: Base settings of the optimizer.
        log2_lr: Base learning rate.
        lr_note: Where it comes from.
        base: Base model, as plain data.
        target: Sizes of the target.

    Source: the parametrization's own file (`limes show`).
    """
    settings = plan.settings(lr=2.0**log2_lr, weight_decay=optimizer.weight_decay, eps=optimizer.eps)
    tensors = tuple(
        {"name": row["name"], "template": row["template"], "role": row["role"]}
        | settings[row["name"]].to_dict()
        | {"why": row["why"]}
        for row in plan.rows
    )
    return Recommendation(
        parametrization=plan.parametrization,
        optimizer=optimizer.name,
        base=dict(base),
        target=dict(target),
        log2_lr=log2_lr,
        lr_note=lr_note,
        attention_scale=plan.attention_scale,
        tensors=tensors,
    )
