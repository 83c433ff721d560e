"""Does the tuned learning rate survive when the network grows? The verdict of each panel, from the store's rows."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from limes.compare.optimum import Cliff, SizeOptimum, Spread, loss_at, lr_curves, pooled_spread, size_optimum
from limes.compare.result import DriftClaim, FixedLrRow, LrCurve, PanelResult, Verdict
from limes.spec.study import PanelSpec, StudySpec
from limes.spec.swept import swept_names
from limes.store import SweepRow


def analyse_panels(study: StudySpec, rows: Sequence[SweepRow]) -> tuple[PanelResult, ...]:
    """The result of every panel of the study, from whatever has been recorded so far.

    Args:
        study: The frozen study.
        rows: The store's result table.
    """
    return tuple(
        _panel(study, panel, choice.label, mine)
        for panel in study.panels
        for choice in panel.parametrizations
        if (mine := [row for row in rows if (row.axis, row.parametrization) == (panel.axis, choice.label)])
    )


def verdict_of(interval: tuple[float, float] | None, tolerance: float) -> Verdict:
    """The rule: all inside +-tolerance `transfers`, all outside `moves`, else `undecided`.

    >>> verdict_of((-0.5, 0.9), 1.0), verdict_of((-3.1, -2.0), 1.0), verdict_of((0.2, 1.4), 1.0)
    ('transfers', 'moves', 'undecided')
    """
    if interval is None:
        return "undecided"
    low, high = interval
    if -tolerance <= low and high <= tolerance:
        return "transfers"
    return "moves" if low > tolerance or high < -tolerance else "undecided"


def drift_claims(panels: Sequence[PanelResult], *, level: float) -> tuple[DriftClaim, ...]:
    """For each axis: does the parametrization of the smallest mean drift drift less than each other one?

    The winner is chosen by looking at the drifts, so the intervals hold jointly over all pairs (Bonferroni). A
    parametrization whose runs are the winner's own is not compared with it.
    """
    claims = []
    for axis in dict.fromkeys(panel.axis for panel in panels):
        known = [panel for panel in panels if panel.axis == axis and panel.drift_octaves is not None]
        known.sort(key=lambda panel: abs(panel.drift_octaves or 0.0))
        distinct = len({_keys(panel) for panel in known})
        pairs = max(distinct * (distinct - 1) // 2, 1)
        others = [other for other in known[1:] if _keys(other) != _keys(known[0])]
        claims += [_claim(known[0], other, 1 - (1 - level) / pairs) for other in others]
    return tuple(claims)


def _keys(panel: PanelResult) -> frozenset[str]:
    return frozenset(key for curve in panel.curves for key in curve.keys)


def _panel(study: StudySpec, panel: PanelSpec, label: str, rows: list[SweepRow]) -> PanelResult:
    curves = lr_curves(rows, step=panel.grid.step)
    sizes = tuple(sorted({curve.size for curve in curves}))
    by_size = [[curve for curve in curves if curve.size == size] for size in sizes]
    optima = [size_optimum(group) for group in by_size]
    spread = pooled_spread(optima, curves, prior=study.prior_octaves, level=study.level)
    names = swept_names(study.swept)
    if (sizes[0], sizes[-1]) == (panel.sizes[0], panel.sizes[-1]):
        drift, interval = _drift(optima[0], optima[-1], spread)
        regret, note = _regret(optima[0].mean, by_size[-1], values=names[1])
    else:
        drift, interval, regret = None, None, None
        note = f"The store has no runs of {panel.axis} {panel.sizes[0]} or of {panel.axis} {panel.sizes[-1]}."
    fixed = _fixed_lr(by_size)
    return PanelResult(
        axis=panel.axis,
        parametrization=label,
        sizes=sizes,
        curves=curves,
        log2_optimal_lr=tuple(optimum.mean for optimum in optima),
        intervals=tuple(_interval(optimum, spread) for optimum in optima),
        not_found=tuple(optimum.not_found for optimum in optima),
        best_loss=tuple(_best_loss(group) for group in by_size),
        num_params=tuple(next(row.num_params for row in rows if row.size == size) for size in sizes),
        seed_deviation=spread.deviation,
        degrees_of_freedom=spread.degrees_of_freedom,
        drift_octaves=drift,
        drift_interval=interval,
        verdict=verdict_of(interval, study.tolerance_octaves),
        transfer_regret=regret,
        regret_note=note,
        seed_drifts=_seed_drifts(optima[0], optima[-1]),
        fixed_lr=fixed,
        improves_with_size=_improves(fixed, optima[0].mean),
        swept=names,
    )


def _interval(optimum: SizeOptimum, spread: Spread) -> tuple[float, float] | None:
    if optimum.mean is None:
        return None
    half = spread.half_width([optimum])
    return optimum.mean - half, optimum.mean + half


def _drift(first: SizeOptimum, last: SizeOptimum, spread: Spread) -> tuple[float | None, tuple[float, float] | None]:
    if first.mean is None or last.mean is None or first.size == last.size:
        return None, None
    drift = last.mean - first.mean
    half = spread.half_width([first, last])
    return drift, (drift - half, drift + half)


def _seed_drifts(first: SizeOptimum, last: SizeOptimum) -> tuple[tuple[int, float], ...]:
    small, large = dict(zip(first.seeds, first.optima)), dict(zip(last.seeds, last.optima))
    return tuple((seed, large[seed] - small[seed]) for seed in sorted(small.keys() & large.keys()))


def _best_loss(group: Sequence[LrCurve]) -> float | None:
    best = [curve.vertex.best_y for curve in group]
    return None if None in best else float(np.mean([value for value in best if value is not None]))


def _regret(small_optimum: float | None, largest: Sequence[LrCurve], *, values: str) -> tuple[float | None, str]:
    """Loss of the largest size at the small size's optimum, less its best; mean over the seeds that were run there."""
    if small_optimum is None:
        return None, "The smallest size's optimum is not known."
    regrets, note = [], f"The smallest size's optimum lies outside the {values} tried at the largest size."
    for curve in largest:
        loss = loss_at(curve, small_optimum)
        if isinstance(loss, Cliff):
            return None, (
                f"At the smallest size's optimum, 2^{small_optimum:.2f}, the largest size loses an unknown amount: it "
                f"diverges at 2^{loss.lost:g}, and at 2^{loss.nearest:g} it loses {loss.excess:.4f}."
            )
        if loss is not None:
            regrets.append(loss - min(value for value in curve.loss if value is not None))
    if not regrets:
        return None, note
    bound = any(curve.vertex.x is None for curve in largest)
    note = "The largest size's own optimum was not found: the loss given up is at least this." if bound else ""
    return max(float(np.mean(regrets)), 0.0), note


def _fixed_lr(by_size: Sequence[Sequence[LrCurve]]) -> tuple[FixedLrRow, ...]:
    """Losses over size at each learning rate, over the seeds that all sizes have: a seed favours all sizes alike."""
    seeds = set.intersection(*({curve.seed for curve in group} for group in by_size))
    tables = [_loss_by_lr([curve for curve in group if curve.seed in seeds]) for group in by_size]
    shared = sorted(set.intersection(*(set(table) for table in tables)))
    rows = []
    for log2_lr in shared:
        losses = tuple(table[log2_lr] for table in tables)
        finite = [loss for loss in losses if loss is not None]
        falls = bool(np.all(np.diff(finite) < 0)) if len(finite) == len(losses) else None
        rows.append(FixedLrRow(log2_lr=log2_lr, loss=losses, improves=falls))
    return tuple(rows)


def _loss_by_lr(group: Sequence[LrCurve]) -> dict[float, float | None]:
    """Mean over seeds at each learning rate that every seed tried; None where one of them diverged."""
    shared = set.intersection(*(set(curve.log2_lr) for curve in group)) if group else set()
    table: dict[float, float | None] = {}
    for log2_lr in shared:
        losses = [curve.loss[curve.log2_lr.index(log2_lr)] for curve in group]
        finite = [loss for loss in losses if loss is not None]
        table[log2_lr] = float(np.mean(finite)) if len(finite) == len(losses) else None
    return table


def _improves(rows: Sequence[FixedLrRow], optimum: float | None) -> bool | None:
    if optimum is None or not rows:
        return None
    return min(rows, key=lambda row: abs(row.log2_lr - optimum)).improves


def _claim(winner: PanelResult, other: PanelResult, level: float) -> DriftClaim:
    mine, theirs = dict(winner.seed_drifts), dict(other.seed_drifts)
    seeds = sorted(mine.keys() & theirs.keys())
    differences = np.array([abs(theirs[seed]) - abs(mine[seed]) for seed in seeds])
    difference, interval = None, None
    if len(seeds) > 1:
        difference = float(differences.mean())
        error = float(differences.std(ddof=1)) / np.sqrt(len(seeds))
        half = float(stats.t.ppf(0.5 + level / 2, len(seeds) - 1) * error)
        interval = (difference - half, difference + half)
    return DriftClaim(
        axis=winner.axis,
        winner=winner.parametrization,
        other=other.parametrization,
        num_seeds=len(seeds),
        difference=difference,
        interval=interval,
        holds=interval is not None and interval[0] > 0,
    )
