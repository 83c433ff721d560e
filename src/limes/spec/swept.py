"""Which hyperparameter a study sweeps, and what a point of its grid means for the training.

Points are log2 of the swept quantity, so that one rule (grid, vertex, drift in octaves) serves all of them.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from limes.spec.base import Spec
from limes.spec.training import TrainingSpec

NAMES: Mapping[str, tuple[str, str]] = {
    "lr": ("learning rate", "learning rates"),
    "weight_decay": ("weight decay", "weight decays"),
    "momentum": ("distance of momentum from 1", "distances of momentum from 1"),
    "warmup": ("number of warm-up steps", "numbers of warm-up steps"),
    "decay": ("fraction of final decay", "fractions of final decay"),
    "steps": ("number of training steps", "numbers of training steps"),
}
"""What each field is called, one and many."""

_COUNTS = frozenset({"warmup", "steps"})


class SweptSpec(Spec):
    """The hyperparameter on the grid instead of the learning rate, which stays where it was tuned before.

    Args:
        field: `weight_decay`; `momentum` (1 - momentum of sgd, 1 - beta1 of the others); `warmup` (steps); `decay`
            (the fraction of the steps over which the schedule `wsd` falls); `steps` (the length of the training).
        log2_lr: log2 of the learning rate at the base.
    """

    field: Literal["weight_decay", "momentum", "warmup", "decay", "steps"]
    log2_lr: Annotated[float, Field(ge=-40, le=10)]


def swept_names(swept: SweptSpec | None) -> tuple[str, str]:
    """How sentences call what is swept, one and many.

    >>> swept_names(None)
    ('learning rate', 'learning rates')
    """
    return NAMES[swept.field if swept else "lr"]


def resolve_point(training: TrainingSpec, swept: SweptSpec | None, point: float) -> tuple[TrainingSpec, float]:
    """Training and log2 of the base learning rate at a point of a grid.

    >>> resolve_point(TrainingSpec(), None, -6.0)[1]
    -6.0
    >>> resolve_point(TrainingSpec(), SweptSpec(field="warmup", log2_lr=-6.0), 4.0)[0].warmup_steps
    16
    """
    if swept is None:
        return training, point
    value, optimizer = 2.0**point, training.optimizer
    update: dict[str, Any]
    if swept.field == "weight_decay":
        update = {"optimizer": optimizer.model_copy(update={"weight_decay": value})}
    elif swept.field == "momentum":
        new = {"momentum": 1.0 - value} if optimizer.name == "sgd" else {"betas": (1.0 - value, optimizer.betas[1])}
        update = {"optimizer": optimizer.model_copy(update=new)}
    elif swept.field == "decay":
        update = {"decay_fraction": value}
    else:
        update = {"warmup_steps" if swept.field == "warmup" else "steps": round(value)}
    return training.model_copy(update=update), swept.log2_lr


def swept_problem(training: TrainingSpec, swept: SweptSpec, points: tuple[float, ...]) -> str | None:
    """Why a grid with these points (its first ones and its bounds) cannot be trained; None if it can."""
    low, high = min(points), max(points)
    if swept.field in ("momentum", "decay") and high > 0:
        return f"2^{high:g} is above 1, which no {NAMES[swept.field][0]} can be; set center and high to 0 at most"
    if swept.field == "decay" and training.schedule != "wsd":
        return f"the schedule {training.schedule!r} has no final decay to sweep; set training.schedule to 'wsd'"
    if swept.field in _COUNTS and not all(point >= 0 and point == math.floor(point) for point in points):
        return f"a {NAMES[swept.field][0]} is whole: all points (center, step, low, high) must be whole and at least 0"
    if swept.field == "warmup" and 2.0**high >= training.steps:
        return f"2^{high:g} warm-up steps do not fit in {training.steps} steps; lower grid.high"
    if swept.field == "steps" and 2.0**low <= training.warmup_steps:
        return f"2^{low:g} steps are not more than {training.warmup_steps} warm-up steps; raise grid.low"
    return None
