"""The three ways to find how the optimal size grows with compute, side by side.

1. Envelope: the lower envelope of training curves; 2. IsoFLOP: a parabola (or Akima curve) per budget and a line
through the minima; 3. the fitted law. The second is biased even without noise (arXiv:2603.22339), the first wherever
the schedule was not annealed at the point that is read off.

Source: Hoffmann et al., arXiv:2203.15556, Sections 3.1-3.3; Akima: Porian et al., arXiv:2406.19146.
Letters: q budgets, a = d ln N* / d ln C.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.interpolate import Akima1DInterpolator

from limes.core.errors import DataError, SpecError
from limes.laws.draw import as_numpy
from limes.laws.fit import LawFit
from limes.laws.form import Array, Index
from limes.laws.optimal import TRAINING_FLOPS, Cost, frontier
from limes.laws.table import Table, numeric_column

MIN_POINTS = 4
MIN_LINES = 20


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Optima:
    """Optimal sizes by one approach.

    Args:
        approach: "envelope", "isoflop" or "parametric".
        budget: (q,) compute at which an optimum was found.
        num_params: (q,) optimum there.
        loss: (q,) there.
        exponent: a, slope of ln num_params in ln budget by least squares.
        intercept: Of that line.
        low, high: Interval of the exponent.
        level: Its nominal probability.
        lines: (B, 2) exponent and intercept of the line through each resample's optima.
    """

    approach: str
    budget: Array
    num_params: Array
    loss: Array
    exponent: float
    intercept: float
    low: float
    high: float
    level: float
    lines: Array

    def num_params_at(self, budget: float) -> float:
        """The line through the optima, extrapolated."""
        return float(np.exp(self.intercept + self.exponent * np.log(budget)))

    def interval_at(self, budget: float) -> tuple[float, float]:
        """Interval of the line at a budget, at `level`; infinite where too few resamples had a line."""
        if len(self.lines) < MIN_LINES:
            return 0.0, np.inf
        ends = np.quantile(self.lines @ np.array([np.log(budget), 1.0]), [(1 - self.level) / 2, (1 + self.level) / 2])
        return float(np.exp(ends[0])), float(np.exp(ends[1]))


def isoflop_optima(
    table: Table,
    *,
    columns: Mapping[str, str] | None = None,
    method: Literal["parabola", "akima"] = "parabola",
    level: float = 0.9,
    generator: Any = None,
    num_resamples: int = 400,
) -> Optima:
    """Approach 2: the minimum of the loss over ln size at each budget, then a line.

    Args:
        table: With `num_params`, `compute` and `loss`; budgets within 1 % of each other belong together.
        columns: Those names to the table's.
        method: Least-squares parabola, or Akima interpolation of ln loss.
        level: Of the interval of the exponent.
        generator: numpy or torch generator; by default numpy's with seed 0.
        num_resamples: Resamples of runs within budgets.

    Returns:
        `Optima`; budgets whose minimum lies at the edge of their sizes are left out.

    Raises:
        DataError: fewer than two budgets have an inner minimum.

    Source: arXiv:2203.15556, Section 3.2; arXiv:2406.19146 (Akima, edges left out).
    Accuracy: biased by the parabola's truncation: 1 % in N* when sizes span a factor 16, 5 % at 256.
    """
    names = {name: (columns or {}).get(name, name) for name in ("num_params", "compute", "loss")}
    size, compute, loss = (numeric_column(table, names[name], needed_by="approach 2") for name in names)
    kept = np.isfinite(size * compute * loss) & (size > 0) & (compute > 0) & (loss > 0)
    groups = _budget_groups(compute[kept])
    size, compute, loss = np.log(size[kept]), compute[kept], loss[kept]
    found = [_minimum(size[rows], loss[rows], method) for rows in groups]
    inside = [k for k, point in enumerate(found) if point is not None]
    if len(inside) < 2:
        raise DataError(
            f"{len(inside)} of {len(groups)} budgets have their minimum inside their sizes; give at least two, each "
            f"with {MIN_POINTS} sizes on both sides of the best"
        )
    budgets = np.array([np.exp(np.log(compute[groups[k]]).mean()) for k in inside])
    best = np.array([found[k] for k in inside], dtype=float)
    slope, intercept = np.polyfit(np.log(budgets), best[:, 0], 1)
    rng = np.random.default_rng(0) if generator is None else as_numpy(generator)
    lines = []
    for _ in range(num_resamples):
        points = [(np.log(budgets[j]), _resampled(size, loss, groups[k], method, rng)) for j, k in enumerate(inside)]
        good = np.array([(x, point[0]) for x, point in points if point is not None])
        if len(good) >= 2:
            lines.append(np.polyfit(good[:, 0], good[:, 1], 1))
    low, high = _slope_interval(lines, level)
    return Optima(
        approach="isoflop",
        budget=budgets,
        num_params=np.exp(best[:, 0]),
        loss=best[:, 1],
        exponent=float(slope),
        intercept=float(intercept),
        low=low,
        high=high,
        level=level,
        lines=np.array(lines).reshape(-1, 2),
    )


def envelope_optima(
    table: Table,
    *,
    run: str,
    columns: Mapping[str, str] | None = None,
    num_budgets: int = 40,
    level: float = 0.9,
    generator: Any = None,
    num_resamples: int = 200,
) -> Optima:
    """Approach 1: which run has the lowest loss at each compute, along its training curve.

    Args:
        table: With `num_params`, `compute`, `loss` and a column that names the run; checkpoints as rows.
        run: Name of that column.
        columns: The other names to the table's.
        num_budgets: Points of the envelope, evenly in ln compute.
        level, generator, num_resamples: Interval of the exponent, by resampling whole runs.

    Raises:
        DataError: fewer than three runs with at least two checkpoints.

    Source: arXiv:2203.15556, Section 3.1.
    """
    names = {name: (columns or {}).get(name, name) for name in ("num_params", "compute", "loss")}
    size, compute, loss = (numeric_column(table, names[name], needed_by="approach 1") for name in names)
    labels = np.asarray(table[run]).astype(str)
    curves = []
    for label in np.unique(labels):
        rows = np.flatnonzero((labels == label) & np.isfinite(size * compute * loss))
        if len(rows) >= 2:
            rows = rows[np.argsort(compute[rows])]
            curves.append((np.log(size[rows[0]]), np.log(compute[rows]), loss[rows]))
    if len(curves) < 3:
        raise DataError(f"{len(curves)} runs have two or more checkpoints; an envelope needs at least three")
    budgets = np.linspace(min(c[1][0] for c in curves), max(c[1][-1] for c in curves), num_budgets)
    values = np.array([np.interp(budgets, c, y, left=np.inf, right=np.inf) for _, c, y in curves])
    sizes = np.array([curve[0] for curve in curves])
    budget, best, low_loss, slope, intercept = _envelope(budgets, sizes, values)
    rng = np.random.default_rng(0) if generator is None else as_numpy(generator)
    lines = []
    for _ in range(num_resamples):
        picks = rng.integers(len(curves), size=len(curves))
        line = _envelope(budgets, sizes[picks], values[picks])[3:] if len(np.unique(picks)) >= 3 else (np.nan, np.nan)
        if np.isfinite(line).all():
            lines.append(np.array(line))
    low, high = _slope_interval(lines, level)
    return Optima(
        approach="envelope",
        budget=np.exp(budget),
        num_params=np.exp(best),
        loss=low_loss,
        exponent=slope,
        intercept=intercept,
        low=low,
        high=high,
        level=level,
        lines=np.array(lines).reshape(-1, 2),
    )


def parametric_optima(fit: LawFit, budget: Array, *, cost: Cost = TRAINING_FLOPS, level: float = 0.9) -> Optima:
    """Approach 3: the fitted law's optimum at each budget.

    Raises:
        SpecError: fewer than two budgets.

    Source: arXiv:2203.15556, Section 3.3.
    """
    if len(np.atleast_1d(budget)) < 2:
        raise SpecError("parametric_optima needs at least two budgets for an exponent")
    best = frontier(fit, budget, cost=cost, level=level)
    slope, intercept = np.polyfit(np.log(best.budget), np.log(best.first), 1)
    lines = np.polyfit(np.log(best.budget), np.log(best.draws["first"]).T, 1).T
    return Optima(
        approach="parametric",
        budget=best.budget,
        num_params=best.first,
        loss=best.loss,
        exponent=float(slope),
        intercept=float(intercept),
        low=float(best.low["exponent"]),
        high=float(best.high["exponent"]),
        level=level,
        lines=lines,
    )


def disagreements(optima: Sequence[Optima], *, budget: float | None = None, warn: bool = True) -> list[str]:
    """One sentence per pair of approaches whose intervals do not meet; also as warnings.

    Args:
        optima: Results of different approaches.
        budget: Compare N* there besides the exponents.
        warn: Emit a `UserWarning` per sentence.

    Source: limes, docs/laws.md.
    """
    sentences = []
    for k, first in enumerate(optima):
        for second in optima[k + 1 :]:
            if first.low > second.high or second.low > first.high:
                sentences.append(
                    f"{first.approach} finds a = {first.exponent:.3f} ({first.low:.3f} to {first.high:.3f}), "
                    f"{second.approach} a = {second.exponent:.3f} ({second.low:.3f} to {second.high:.3f}): they "
                    "disagree beyond their intervals, so the data or the law mislead one of them."
                )
            if budget is not None and (sentence := _size_disagreement(first, second, budget)):
                sentences.append(sentence)
    if warn:
        for sentence in sentences:
            warnings.warn(sentence, UserWarning, stacklevel=2)
    return sentences


def _size_disagreement(first: Optima, second: Optima, budget: float) -> str:
    one, other = first.interval_at(budget), second.interval_at(budget)
    if one[0] <= other[1] and other[0] <= one[1]:
        return ""
    return (
        f"At {budget:.3g} {first.approach} wants {first.num_params_at(budget):.3g} parameters ({one[0]:.3g} to "
        f"{one[1]:.3g}), {second.approach} {second.num_params_at(budget):.3g} ({other[0]:.3g} to {other[1]:.3g}): "
        "they disagree beyond their intervals."
    )


def _slope_interval(lines: list[Array], level: float) -> tuple[float, float]:
    if len(lines) < MIN_LINES:
        return -np.inf, np.inf
    low, high = np.quantile(np.array(lines)[:, 0], [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _budget_groups(compute: Array) -> list[Index]:
    order = np.argsort(compute, kind="stable")
    jumps = np.flatnonzero(np.diff(np.log(compute[order])) > 0.01) + 1
    return [rows for rows in np.split(order, jumps) if len(rows) >= MIN_POINTS]


def _minimum(size: Array, loss: Array, method: str) -> tuple[float, float] | None:
    order = np.argsort(size, kind="stable")
    size, loss = size[order], loss[order]
    if len(np.unique(size)) < MIN_POINTS:
        return None
    if method == "parabola":
        center = size.mean()
        square, slope, constant = np.polyfit(size - center, loss, 2)
        best = center - slope / (2 * square) if square > 0 else np.inf
        return (float(best), float(constant - slope**2 / (4 * square))) if size[0] < best < size[-1] else None
    keep = np.concatenate([[True], np.diff(size) > 0])
    curve = Akima1DInterpolator(size[keep], np.log(loss[keep]))
    fine = np.linspace(size[0], size[-1], 2001)
    values = curve(fine)
    k = int(np.argmin(values))
    return None if k in (0, len(fine) - 1) else (float(fine[k]), float(np.exp(values[k])))


def _resampled(
    size: Array, loss: Array, rows: Index, method: str, rng: np.random.Generator
) -> tuple[float, float] | None:
    picks = rows[rng.integers(len(rows), size=len(rows))]
    return _minimum(size[picks], loss[picks], method)


def _envelope(budgets: Array, sizes: Array, values: Array) -> tuple[Array, Array, Array, float, float]:
    lowest = np.argmin(values, axis=0)
    # the smallest and the largest run win at the ends for want of rivals, not because they are optimal
    inner = np.isfinite(values.min(0)) & (sizes[lowest] > sizes.min()) & (sizes[lowest] < sizes.max())
    if inner.sum() < 2 or len(np.unique(sizes[lowest[inner]])) < 2:
        return budgets[inner], sizes[lowest[inner]], values.min(0)[inner], np.nan, np.nan
    slope, intercept = np.polyfit(budgets[inner], sizes[lowest[inner]], 1)
    return budgets[inner], sizes[lowest[inner]], values.min(0)[inner], float(slope), float(intercept)
