"""The coordinate check: do activations, updates and logits scale with the size as the parametrization declares?

Source: arXiv:2203.03466 Appendix D.1 (the idea); limes, docs/coord_check.md (slopes, intervals, verdict, causes).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from limes.compare.coord_cause import find_causes, outer_tensors
from limes.compare.coord_judge import Rule, judge
from limes.compare.coord_plans import Choice, build_model, plans_for
from limes.compare.coord_result import CoordAxis, CoordCheck
from limes.compare.coord_run import Key, Loss, Network, Training, measure_network, own_loss, split_batch
from limes.core.errors import SpecError, first_line
from limes.optim import OPTIMIZERS
from limes.parametrize import Plan
from limes.parametrize.declared import Declaration, declare, width_growth
from limes.parametrize.sizes import Build, build_on_meta, fields_of, shapes_of
from limes.spec.training import OptimizerSpec

Progress = Callable[[int, int], None]
_DECLARES = ("alpha", "gamma0", "overrides", "example_inputs", "attention", "probe")


def coord_check(
    build: Build,
    plan_or_parametrization: Choice,
    *,
    widths: Sequence[Any] | None = None,
    depths: Sequence[Any] | None = None,
    batch: Any,
    loss: Loss = own_loss,
    optimizer: str = "adamw",
    steps: int = 3,
    seeds: int = 5,
    lr: float | None = None,
    weight_decay: float = 0.1,
    eps: float = 1e-8,
    betas: tuple[float, float] = (0.9, 0.95),
    momentum: float = 0.0,
    dtype: torch.dtype | None = None,
    level: float = 0.95,
    tolerance: float = 0.25,
    max_undecided: float = 0.1,
    parametrization: str | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> CoordCheck:
    """Train networks of several sizes for a few steps and judge how everything in them scales.

    Args:
        build: As for `limes.plan`: returns a module for a size.
        plan_or_parametrization: A parametrization; or a plan for the last size; or a callable from a size to its plan.
        widths: At least three sizes that grow in width only, the base first: whatever `build` takes.
        depths: The same for depth.
        batch: A mapping of named inputs for a model that returns its loss, or a pair (inputs, targets). The fewer
            samples times positions, the smaller the finite-width corrections; at most the width of the base is good.
        loss: (output, targets) -> scalar; by default the model's own, else cross-entropy or squared error.
        optimizer: Name in `limes.optim.OPTIMIZERS`.
        steps: Optimizer steps, all on the same batch.
        seeds: Networks per size.
        lr: At the base; 5e-4 by default, 0.1 for SGD. Small is good: what one tensor does wrong then changes what the
            others do less.
        weight_decay: At the base. What it really takes per step is judged too.
        eps: At the base.
        betas: Of the optimizer, where it has them.
        momentum: Of SGD.
        dtype: To train in; the model's own by default.
        level: Of the intervals over seeds.
        tolerance: Half the width of the band around a declared exponent; published rules differ by 1/2 or more.
        max_undecided: Largest share of undecided rows with which an axis passes.
        parametrization: What to hold plans to that a callable makes; by default the one they name.
        progress: Called with (networks done, networks in all).
        options: Further arguments of `limes.plan` (`overrides`, `attention`, `form`, `alpha`, ...).

    Returns:
        Slopes, verdicts and causes.

    Raises:
        SpecError: No axis, too few sizes or seeds, or a malformed batch.
        PlanError: A plan cannot be made.

    Source: arXiv:2203.03466 Appendix D.1, arXiv:2505.22491, arXiv:2505.01618; docs/coord_check.md.

    >>> from torch import nn
    >>> def build(width): return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2))
    >>> batch = torch.eye(4), torch.tensor([0, 1, 1, 0])
    >>> coord_check(build, "mup", widths=[64, 128, 256], batch=batch).row("width", "effective", "2.weight").declared
    0.0
    """
    _check(widths, depths, seeds=seeds, steps=steps, level=level, optimizer=optimizer)
    rate = lr if lr is not None else 0.1 if optimizer == "sgd" else 5e-4
    training = Training(
        steps=steps,
        lr=rate,
        weight_decay=weight_decay,
        eps=eps,
        spec=OptimizerSpec(name="sgd", momentum=momentum) if optimizer == "sgd" else OptimizerSpec(betas=betas),
        dtype=dtype,
    )
    rule = Rule(level=level, tolerance=tolerance, decays=True)
    groups = [list(sizes) for sizes in (widths, depths) if sizes]
    counter = _Counter(progress, seeds * sum(map(len, groups)))
    parts, name = [], ""
    for sizes in groups:
        planned = {**options} if isinstance(plan_or_parametrization, Plan) else {"optimizer": optimizer, **options}
        if sizes == groups[-1] and widths and depths:
            planned.setdefault("probe", widths[-1])  # deeper networks alone would not tell what is hidden
        plans = plans_for(build, plan_or_parametrization, sizes, planned)
        kept = {key: value for key, value in planned.items() if key in _DECLARES}
        chosen = parametrization or plans[-1].parametrization
        given = {**plans[-1].options, **kept} if chosen == plans[-1].parametrization else kept
        declaration = declare(build, base=sizes[0], target=sizes[-1], parametrization=chosen, **given)
        name = chosen
        parts.append(
            _check_axis(
                build, sizes, plans, declaration, batch=_cast(batch, dtype), loss=loss, training=training,
                seeds=seeds, rule=rule, counter=counter, max_undecided=max_undecided,
            )
        )  # fmt: skip
    return CoordCheck(
        parametrization=name,
        optimizer=optimizer,
        axes=tuple(parts),
        seeds=seeds,
        level=level,
        tolerance=tolerance,
        settings={"lr": rate, "steps": steps, "eps": eps, "weight_decay": weight_decay},
    )


class _Counter:
    """Counts networks for whoever watches."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def step(self) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total)


def _check(
    widths: Sequence[Any] | None, depths: Sequence[Any] | None, *, seeds: int, steps: int, level: float, optimizer: str
) -> None:
    if not widths and not depths:
        raise SpecError("neither widths nor depths are given; pass at least three sizes of one of them, the base first")
    for label, sizes in (("widths", widths), ("depths", depths)):
        if sizes and len(sizes) < 3:
            raise SpecError(f"{label} has {len(sizes)} sizes; a slope with a meaning needs three, the base first")
    if seeds < 2 or steps < 1:
        raise SpecError(f"seeds {seeds} and steps {steps}: an interval needs two seeds, a change one step")
    if not 0 < level < 1:
        raise SpecError(f"level {level} must lie between 0 and 1")
    if optimizer not in OPTIMIZERS:
        raise SpecError(f"optimizer {optimizer!r} is unknown; known: {', '.join(OPTIMIZERS)}")


def _cast(value: Any, dtype: torch.dtype | None) -> Any:
    if dtype is None:
        return value
    if isinstance(value, torch.Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, Mapping):
        return {key: _cast(part, dtype) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_cast(part, dtype) for part in value)
    return value


def _measured(network: Network, size: Any, batch: Any, loss: Loss, declaration: Declaration) -> dict[Key, float]:
    """`measure_network`; a batch that does not fit is told as such, with the error of the model's own code."""
    try:
        return measure_network(network, batch, loss, declaration)
    except (RuntimeError, IndexError) as error:
        what = f"a network of size {size!r} fails on the batch or the loss ({first_line(error)})"
        raise SpecError(f"{what}; pass a batch that it takes") from error


def _check_axis(
    build: Build,
    sizes: list[Any],
    plans: list[Plan],
    declaration: Declaration,
    *,
    batch: Any,
    loss: Loss,
    training: Training,
    seeds: int,
    rule: Rule,
    counter: _Counter,
    max_undecided: float,
) -> CoordAxis:
    growth = _growth(build, sizes, plans, declaration)
    values: dict[Key, np.ndarray] = {}
    losses = []
    owners: dict[str, str] = {}
    split_batch(batch)
    for place, (size, made) in enumerate(zip(sizes, plans)):
        rows = []
        for seed in range(seeds):
            network = Network(build_model(build, size, made, seed=seed), made, training, seed=seed)
            for key, value in _measured(network, size, batch, loss, declaration).items():
                table = values.setdefault(key, np.full((len(sizes), seeds), np.nan))
                table[place, seed] = value
            rows.append(tuple(network.losses))
            owners = network.owners
            counter.step()
        losses.append(tuple(rows))
    # Inside the gradient that Adam normalizes, what a decay takes depends on the gradient beside it.
    linear = all(row.rule.gradient_power == 1 or not row.rule.decay_in_gradient for row in plans[-1].entries)
    decays = training.weight_decay > 0 and plans[-1].decay_mode != "coupled" and linear
    found = judge(values, growth, declaration, replace(rule, decays=decays), outer=outer_tensors(owners))
    rules = {row.rule.gradient_power for row in plans[-1].entries}
    causes = find_causes(
        found,
        declaration,
        tolerance=rule.tolerance,
        exponents=_exponents(plans, growth, declaration),
        normalizes=max(rules) == 0.0,
        owners=owners,
    )
    return CoordAxis(
        axis=declaration.axis,
        sizes=tuple(_words(size, sizes) for size in sizes),
        growth=tuple(growth),
        rows=found,
        causes=causes,
        losses=tuple(losses),
        max_undecided=max_undecided,
    )


def _growth(build: Build, sizes: list[Any], plans: list[Plan], declaration: Declaration) -> list[float]:
    if declaration.axis == "depth":
        growth = [made.depth_ratio for made in plans]
    else:
        base = shapes_of(build_on_meta(build, sizes[0]))
        growth = [width_growth(base, shapes_of(build_on_meta(build, size))) for size in sizes]
    if any(later <= earlier for earlier, later in pairwise(growth)):
        raise SpecError(f"the sizes grow by {growth} from the first one; give them in increasing order, each once")
    return growth


def _words(size: Any, sizes: list[Any]) -> str:
    """A size in words: the number, or the first field that changes."""
    fields, last = fields_of(size), fields_of(sizes[-1])
    if fields is None or last is None:
        return str(size)
    first = fields_of(sizes[0]) or {}
    changed = [key for key, value in last.items() if first.get(key) != value and isinstance(value, int)]
    return f"{fields[changed[0]]}" if changed else str(sizes.index(size))


def _exponents(plans: list[Plan], growth: list[float], declaration: Declaration) -> dict[str, dict[str, float]]:
    """Exponents of the settings from the first size to the last, by label."""
    first = {declaration.label(row.name): row for row in plans[0].entries}
    result = {}
    for row in plans[-1].entries:
        label = declaration.label(row.name)
        base = first.get(label)
        if base is None:
            continue
        pairs = {
            key: (getattr(base, key), getattr(row, key)) for key in ("lr_scale", "eps_scale", "init_std", "multiplier")
        }
        result[label] = {
            key: math.log(new / old) / math.log(growth[-1]) for key, (old, new) in pairs.items() if old > 0 and new > 0
        }
    return result
