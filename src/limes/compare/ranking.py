"""Which parametrization scales better on the same budget, the compute of tuning included.

A family is a parametrization under one policy of tuning: "each size" (the whole grid of learning rates at every size)
or "smallest size" (the grid at the smallest size only; every larger network trains once, at that optimum). Its losses
against the compute of one run give a law; what a budget buys follows from the law and from what the tuning costs.

Source: limes, docs/ranking.md. The law is averaged over what the sizes cannot decide (`limes.laws`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from limes.compare.forecast import DEFAULT_NOISE, MIN_SIZES, SizeLosses, losses_by_size
from limes.compare.optimum import Cliff, loss_at
from limes.compare.result import PanelResult, Verdict
from limes.core.errors import LimesError, SpecError
from limes.laws import POWER_LAW_FLOOR, fit_law
from limes.laws.form import Array
from limes.laws.posterior import posterior_laws
from limes.store import SweepRow

Policy = Literal["each size", "smallest size"]
POLICIES: tuple[Policy, ...] = ("each size", "smallest size")
NUM_DRAWS = 4000
# Fewer effective draws than this, and no falling power law describes the losses.
MIN_EFFECTIVE = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """Median and interval; infinite where that much is never enough."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RankedFamily:
    """One parametrization under one policy of tuning.

    Attributes:
        policy: Where the learning rate was tuned.
        sizes: Along the axis, those with a loss.
        run_flops: (n,) training FLOPs of one run.
        total_flops: (n,) of reaching that size by the policy, tuning included.
        loss: (n,) mean over seeds.
        floor, exponent: Of loss = floor + A / run_flops^exponent; None where no law could be fitted.
        loss_at_budget: The law's loss at the budget of the ranking.
        flops_to_loss: What the loss of the ranking costs, tuning included.
        saved: Share of the reference family's FLOPs for that loss that this one saves.
        drift_octaves, verdict, regret: Of the best learning rate, as `limes transfer` has them.
        improves_with_size: Whether larger networks are better at one fixed rate near the smallest one's optimum.
        why_not: One sentence where there is no law.
        curve: Total FLOPs, median, low and high of the law's loss, for drawing.
    """

    parametrization: str
    policy: Policy
    sizes: tuple[int, ...]
    run_flops: tuple[float, ...]
    total_flops: tuple[float, ...]
    loss: tuple[float, ...]
    drift_octaves: float | None
    verdict: Verdict
    regret: float | None
    improves_with_size: bool | None
    why_not: str = ""
    floor: Interval | None = None
    exponent: Interval | None = None
    loss_at_budget: Interval | None = None
    flops_to_loss: Interval | None = None
    saved: Interval | None = None
    curve: tuple[tuple[float, ...], ...] = ()

    @property
    def label(self) -> str:
        """Parametrization and policy, for legends."""
        return f"{self.parametrization}, tuned at {'each size' if self.policy == 'each size' else 'the smallest'}"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Lead:
    """How far the first family is ahead of another at the budget: loss of the other less its own."""

    other: str
    difference: Interval

    @property
    def holds(self) -> bool:
        """The interval lies above zero."""
        return self.difference.low > 0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Ranking:
    """The families of one axis, best first.

    Attributes:
        budget_flops: At which they are ranked, tuning included.
        target_loss: Whose cost is compared.
        reference: Label of the family whose compute the others save.
        leads: Of the first family over each other one, jointly at `level` over all pairs.
        level: Of all intervals.
    """

    axis: str
    families: tuple[RankedFamily, ...]
    budget_flops: float
    target_loss: float
    reference: str
    leads: tuple[Lead, ...]
    level: float

    @property
    def extrapolation(self) -> str:
        """A sentence where the budget lies outside what the first family has spent, so that its law alone speaks."""
        spent = self.families[0].total_flops
        if self.budget_flops > 1.01 * spent[-1]:
            return (
                f"the budget is {self.budget_flops / spent[-1]:.2g} times the most that {self.families[0].label}, spent"
            )
        if self.budget_flops < 0.99 * spent[0]:
            return f"the budget pays for no run of {self.families[0].label}: the cheapest needs {spent[0]:.2g} FLOPs"
        return ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; what is not finite is None."""
        return {
            "axis": self.axis,
            "budget_flops": self.budget_flops,
            "extrapolation": self.extrapolation,
            "target_loss": self.target_loss,
            "reference": self.reference,
            "level": self.level,
            "families": [
                {name: _plain(getattr(family, name)) for name in RankedFamily.__dataclass_fields__}
                for family in self.families
            ],
            "leads": [
                {"other": lead.other, "difference": _plain(lead.difference), "holds": lead.holds} for lead in self.leads
            ],
        }


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Measured:
    """A family and what tuning costs it: total FLOPs = `repeats` * FLOPs of one run + `once`.

    `losses` say how well each size is known; `draws` are (NUM_DRAWS,) of the law's parameters in FLOPs and loss.
    """

    family: RankedFamily
    losses: SizeLosses
    repeats: float
    once: float
    draws: Mapping[str, Array] | None = None

    def loss(self, budget: ArrayLike) -> Array:
        """(NUM_DRAWS, q) the law's loss for total FLOPs (q,); infinite where they do not pay for the tuning."""
        assert self.draws is not None
        run = (np.atleast_1d(budget) - self.once) / self.repeats
        floor, front, power = (self.draws[name][:, None] for name in ("E", "A", "alpha"))
        return np.where(run > 0, floor + front * np.maximum(run, 1.0) ** -power, np.inf)

    def flops_to(self, target: float) -> Array:
        """(NUM_DRAWS,) total FLOPs at which the law reaches the target; infinite where its floor lies above."""
        assert self.draws is not None
        floor, front, power = (self.draws[name] for name in ("E", "A", "alpha"))
        with np.errstate(divide="ignore", over="ignore"):
            run = np.where(target > floor, (front / np.maximum(target - floor, 0.0)) ** (1 / power), np.inf)
        return self.repeats * run + self.once


def rank_parametrizations(
    panels: Sequence[PanelResult],
    rows: Sequence[SweepRow],
    *,
    axis: str,
    level: float = 0.9,
    budget_flops: float | None = None,
    target_loss: float | None = None,
) -> Ranking:
    """Rank every parametrization of one axis, tuned at each size and tuned at the smallest.

    Args:
        panels: Results of a learning-rate study (`analyse_panels`).
        rows: The store's rows behind them.
        axis: "width", "depth" or another axis of the study.
        level: Of the intervals.
        budget_flops: To rank at, tuning included. By default the most that all families with a law have spent.
        target_loss: To reach. By default the lowest that all families with a law have reached.

    Raises:
        SpecError: No panel has the axis, none has a law, or a number is not positive.
    """
    mine = [panel for panel in panels if panel.axis == axis]
    if not mine:
        raise SpecError(f"axis {axis!r} is in no panel; the study has {', '.join(sorted({p.axis for p in panels}))}")
    for name, given in (("budget", budget_flops), ("loss", target_loss)):
        if given is not None and not 0 < given < np.inf:
            raise SpecError(f"{name} {given:g}: expected a positive, finite number")
    families = [_measure(panel, rows, policy) for panel in _distinct(mine) for policy in POLICIES]
    noise = _noise(families)
    measured = [_fit(family, noise, seed) for seed, family in enumerate(families)]
    fitted = [each for each in measured if each.draws is not None]
    if not fitted:
        raise SpecError(f"{axis}: no family has a law. {measured[0].family.why_not}")
    budget = budget_flops or min(each.family.total_flops[-1] for each in fitted)
    target = target_loss or max(min(each.family.loss) for each in fitted)
    reference = fitted[0]
    base = reference.flops_to(target)
    judged = [_judge(each, budget=budget, target=target, base=base, level=level) for each in fitted]
    order = np.argsort([family.loss_at_budget.value for family in judged if family.loss_at_budget], kind="stable")
    # Of each parametrization the better policy: its other one has the same runs behind it.
    ahead = list({fitted[k].family.parametrization: fitted[k] for k in order[::-1]}.values())[::-1]
    pairs = max(len(ahead) * (len(ahead) - 1) // 2, 1)
    leads = tuple(_lead(ahead[0], other, budget, level=1 - (1 - level) / pairs) for other in ahead[1:])
    unfitted = [each.family for each in measured if each.draws is None]
    return Ranking(
        axis=axis,
        families=(*(judged[k] for k in order), *unfitted),
        budget_flops=float(budget),
        target_loss=float(target),
        reference=reference.family.label,
        leads=leads,
        level=level,
    )


def _distinct(panels: Sequence[PanelResult]) -> list[PanelResult]:
    """Parametrizations that prescribe the same runs along this axis are one family under both names."""
    groups: dict[frozenset[str], list[PanelResult]] = {}
    for panel in panels:
        groups.setdefault(frozenset(key for curve in panel.curves for key in curve.keys), []).append(panel)
    return [
        replace(group[0], parametrization=" = ".join(p.parametrization for p in group)) for group in groups.values()
    ]


def _noise(families: Sequence[_Measured]) -> float:
    """Deviation of a loss about size and seed, pooled over families: a seed favours all families alike."""
    freedom = sum(each.losses.freedom for each in families)
    return float(np.sqrt(sum(each.losses.squares for each in families) / freedom)) if freedom else DEFAULT_NOISE


def _measure(panel: PanelResult, rows: Sequence[SweepRow], policy: Policy) -> _Measured:
    keys = {key for curve in panel.curves for key in curve.keys}
    mine = list({row.key: row for row in rows if row.axis == panel.axis and row.key in keys}.values())
    run = {row.size: row.flops for row in mine}
    seeds = {size: len({row.seed for row in mine if row.size == size}) for size in run}
    grid = {size: sum(row.flops for row in mine if row.size == size) / seeds[size] for size in run}
    losses, why_not = _losses(panel, policy)
    sizes = tuple(losses.by_size)
    if policy == "each size":
        # grids differ by the points that resolved an optimum
        repeats, once = float(np.exp(np.mean([np.log(grid[size] / run[size]) for size in panel.sizes]))), 0.0
        total = [grid[size] for size in sizes]
    else:
        repeats, once = 1.0, grid[panel.sizes[0]]
        # the smallest size is a point of its own grid
        total = [once + (run[size] if size != panel.sizes[0] else 0.0) for size in sizes]
    if not why_not and len(sizes) < MIN_SIZES:
        why_not = f"A law needs a loss at {MIN_SIZES} sizes; there are {len(sizes)}."
    family = RankedFamily(
        parametrization=panel.parametrization,
        policy=policy,
        sizes=sizes,
        run_flops=tuple(run[size] for size in sizes),
        total_flops=tuple(total),
        loss=tuple(losses.by_size.values()),
        drift_octaves=panel.drift_octaves,
        verdict=panel.verdict,
        regret=panel.transfer_regret,
        improves_with_size=panel.improves_with_size,
        why_not=why_not,
    )
    return _Measured(family=family, losses=losses, repeats=repeats, once=once)


def _losses(panel: PanelResult, policy: Policy) -> tuple[SizeLosses, str]:
    """Size to loss by the policy, and why a law would not be one of all sizes."""
    if policy == "each size":
        best = {(c.size, c.seed): c.vertex.best_y for c in panel.curves if c.vertex.best_y is not None}
        return losses_by_size(best), ""
    optimum = panel.log2_optimal_lr[0]
    if optimum is None:
        return losses_by_size(
            {}
        ), f"The optimum of {panel.axis} {panel.sizes[0]} was not found, so there is nothing to keep."
    known: dict[tuple[int, int], float] = {}
    why_not = ""
    for curve in panel.curves:
        loss = loss_at(curve, optimum)
        if isinstance(loss, Cliff):
            why_not = (
                why_not or f"It diverges at {panel.axis} {curve.size}: the optimum of the smallest is too high there."
            )
        elif loss is not None:
            known[curve.size, curve.seed] = loss
    missing = [size for size in panel.sizes if not any(size == key[0] for key in known)]
    if missing and not why_not:
        why_not = f"The smallest size's optimum was not tried at {panel.axis} {missing[0]}."
    return losses_by_size(known), why_not


def _fit(measured: _Measured, noise: float, seed: int) -> _Measured:
    """With draws of the law, where there is one; other seeds, so that families are independent."""
    family = measured.family
    if family.why_not:
        return measured
    if family.loss[-1] >= family.loss[0]:
        return replace(measured, family=replace(family, why_not=_no_law(family)))
    table = {"size": list(family.run_flops), "loss": list(family.loss)}
    try:
        fit = fit_law(POWER_LAW_FLOOR, table, weights=list(measured.losses.num_seeds.values()))
    except LimesError as error:
        return replace(measured, family=replace(family, why_not=f"No law could be fitted: {error}"))
    # Where the law misses by more than the seeds scatter, what it cannot say is noise too.
    scatter = max(noise, float(np.sqrt(np.mean((np.array(family.loss) - fit.value({"size": family.run_flops})) ** 2))))
    laws = posterior_laws(fit.problem, noise_std=scatter, theta=fit.theta)
    if laws.effective < MIN_EFFECTIVE:
        return replace(measured, family=replace(family, why_not=_no_law(family)))
    # Equal weights by systematic resampling: families are then compared draw by draw.
    ladder = (np.arange(NUM_DRAWS) + 0.5) / NUM_DRAWS
    chosen = np.minimum(np.searchsorted(np.cumsum(laws.weights), ladder), len(laws.weights) - 1)
    chosen = np.random.default_rng(seed).permutation(chosen)
    draws = {name: drawn.values[chosen, 0] for name, drawn in laws.parameters().items()}
    return replace(measured, draws=draws)


def _no_law(family: RankedFamily) -> str:
    first, last = (f"{family.loss[k]:.3f} at size {family.sizes[k]}" for k in (0, -1))
    verdict = "Larger is worse" if family.loss[-1] > family.loss[0] else "Its losses follow no falling power law"
    return f"{verdict}: {first}, {last}."


def _judge(measured: _Measured, *, budget: float, target: float, base: Array, level: float) -> RankedFamily:
    assert measured.draws is not None
    needed = measured.flops_to(target)
    with np.errstate(invalid="ignore", divide="ignore"):
        saved = np.where(np.isinf(needed), -np.inf, np.where(np.isinf(base), 1.0, 1 - needed / base))
    family = measured.family
    longest = max(family.run_flops[-1], (budget - measured.once) / measured.repeats)
    grid = measured.once + measured.repeats * np.geomspace(family.run_flops[0], longest, 40)
    curve = _quantiles(measured.loss(grid), level)
    return replace(
        family,
        floor=_interval(measured.draws["E"], level),
        exponent=_interval(measured.draws["alpha"], level),
        loss_at_budget=_interval(measured.loss(budget)[:, 0], level),
        flops_to_loss=_interval(needed, level),
        saved=_interval(saved, level),
        curve=tuple((float(x), *map(float, y)) for x, y in zip(grid, curve.T, strict=True) if np.isfinite(y).all()),
    )


def _lead(best: _Measured, other: _Measured, budget: float, *, level: float) -> Lead:
    difference = other.loss(budget)[:, 0] - best.loss(budget)[:, 0]
    return Lead(other=other.family.label, difference=_interval(difference, level))


def _quantiles(draws: Array, level: float) -> Array:
    """Median, low and high along the first axis, by position: infinite draws are answers too."""
    ordered = np.sort(draws, axis=0)
    return ordered[[round(share * (len(ordered) - 1)) for share in (0.5, (1 - level) / 2, (1 + level) / 2)]]


def _interval(draws: Array, level: float) -> Interval:
    value, low, high = map(float, _quantiles(draws, level))
    return Interval(value=value, low=low, high=high)


def _plain(value: Any) -> Any:
    if isinstance(value, Interval):
        return {name: _plain(getattr(value, name)) for name in Interval.__dataclass_fields__}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
