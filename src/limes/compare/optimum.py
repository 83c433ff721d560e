"""From sweep rows to optima: one curve per size and seed, one optimum per size, their spread over seeds.

Source: the rule is ours; `result.rule_sentence` states it in words.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.interpolate import PchipInterpolator

from limes.compare.result import LrCurve
from limes.core.status import RunStatus
from limes.numerics.vertex import VertexStatus, fit_vertex
from limes.store import SweepRow


def lr_curves(rows: Iterable[SweepRow], *, step: float) -> tuple[LrCurve, ...]:
    """Group the rows of one panel into curves, ordered by size and seed.

    Args:
        rows: Rows of one axis and one parametrization.
        step: Spacing of the learning-rate grid, octaves.
    """
    groups: dict[tuple[int, int], list[SweepRow]] = {}
    for row in rows:
        groups.setdefault((row.size, row.seed), []).append(row)
    return tuple(_curve(size, seed, groups[size, seed], step) for size, seed in sorted(groups))


def _curve(size: int, seed: int, rows: list[SweepRow], step: float) -> LrCurve:
    rows = sorted(rows, key=lambda row: row.log2_lr)
    done = [row for row in rows if row.status in (RunStatus.DONE, RunStatus.DIVERGED)]
    values = [np.inf if row.loss is None else row.loss for row in done]
    return LrCurve(
        size=size,
        seed=seed,
        log2_lr=tuple(row.log2_lr for row in rows),
        loss=tuple(row.loss for row in rows),
        diverged=tuple(row.status is RunStatus.DIVERGED for row in rows),
        keys=tuple(row.key for row in rows),
        vertex=fit_vertex([row.log2_lr for row in done], values, step=step),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Cliff:
    """What is known of a loss beside a run that diverged, in log2 of the learning rate.

    Attributes:
        lost: Where a run diverged.
        nearest: The nearest learning rate with a loss.
        excess: That loss less the best one.
    """

    lost: float
    nearest: float
    excess: float


def loss_at(curve: LrCurve, log2_lr: float) -> float | Cliff | None:
    """The loss of one size and seed between the learning rates tried.

    Returns:
        The loss by monotone interpolation, which never invents a minimum below the measured points; a `Cliff` where a
        neighbour diverged; None outside what was tried.
    """
    tried = [
        (x, y)
        for x, y, diverged in zip(curve.log2_lr, curve.loss, curve.diverged, strict=True)
        if y is not None or diverged
    ]
    finite = [(x, y) for x, y in tried if y is not None]
    if len(finite) < 2 or not tried[0][0] <= log2_lr <= tried[-1][0]:
        return None
    around = max(p for p in tried if p[0] <= log2_lr), min(p for p in tried if p[0] >= log2_lr)
    x, y = np.array(finite).T
    if lost := [place for place, loss in around if loss is None]:
        nearest = min(finite, key=lambda point: abs(point[0] - log2_lr))
        return Cliff(lost=lost[0], nearest=nearest[0], excess=float(nearest[1] - y.min()))
    return float(PchipInterpolator(x, y)(log2_lr))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SizeOptimum:
    """The optimum of one size over its seeds; `mean` is None unless every seed's optimum was found.

    Attributes:
        shape: Mean over seeds of what the choice of points does to the vertex, octaves: seeds cannot show it.
        gain: Mean over seeds of the optimum's variance for losses of unit variance.
    """

    size: int
    seeds: tuple[int, ...]
    optima: tuple[float, ...]
    mean: float | None
    not_found: tuple[str, ...]
    shape: float = 0.0
    gain: float = 0.0


def size_optimum(curves: Sequence[LrCurve]) -> SizeOptimum:
    """Join the seeds of one size. One seed without an optimum leaves the size without: the others are a biased pick."""
    missing = tuple(
        f"seed {curve.seed}: {_reason(curve)}" for curve in curves if curve.vertex.status is not VertexStatus.FOUND
    )
    found = [curve.vertex for curve in curves if curve.vertex.x is not None]
    optima = tuple(vertex.x for vertex in found if vertex.x is not None)
    return SizeOptimum(
        size=curves[0].size,
        seeds=tuple(curve.seed for curve in curves if curve.vertex.x is not None),
        optima=optima,
        mean=float(np.mean(optima)) if optima and not missing else None,
        not_found=missing,
        shape=float(np.mean([vertex.shape for vertex in found])) if found else 0.0,
        gain=float(np.mean([vertex.gain for vertex in found])) if found else 0.0,
    )


def _reason(curve: LrCurve) -> str:
    waiting = sum(loss is None and not lost for loss, lost in zip(curve.loss, curve.diverged, strict=True))
    return f"{waiting} of its runs have no result yet." if waiting else curve.vertex.status.sentence


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Spread:
    """Deviation of an optimum between seeds, pooled over the sizes of a panel.

    Attributes:
        pooled: Octaves; None where no size has two seeds.
        degrees_of_freedom: Of `pooled`: sum over sizes of (seeds - 1).
        prior: Octaves, the least that is assumed for a size with one seed.
        misfit: Variance of the losses about their parabolas, pooled over the curves of the panel.
        level: Of the intervals.
    """

    pooled: float | None
    degrees_of_freedom: int
    prior: float
    level: float
    misfit: float = 0.0

    @property
    def deviation(self) -> float:
        """What the intervals rest on: pooled, else the prior."""
        return self.prior if self.pooled is None else self.pooled

    def half_width(self, optima: Sequence[SizeOptimum]) -> float:
        """Half-width of the interval of the optimum of one size, or of the difference of two.

        A size with several seeds adds pooled^2 / count. One with a single seed adds the largest of prior^2, pooled^2
        and what the misfit of the parabolas makes of its optimum, and counts as known: the degrees of freedom are those
        of Welch and Satterthwaite with the pooled part alone uncertain. What the choice of points does to the optimum
        (`shape`) is added on top, as it is the same for all seeds.
        """
        estimated = assumed = 0.0
        for optimum in optima:
            if len(optimum.optima) > 1 and self.pooled is not None:
                estimated += self.pooled**2 / len(optimum.optima)
            else:
                assumed += max(self.prior**2, (self.pooled or 0.0) ** 2, self.misfit * optimum.gain)
        total = estimated + assumed
        if estimated == 0:
            quantile = stats.norm.ppf(0.5 + self.level / 2)
        else:
            quantile = stats.t.ppf(0.5 + self.level / 2, self.degrees_of_freedom * (total / estimated) ** 2)
        return float(quantile * np.sqrt(total)) + abs(_shape(optima))


def _shape(optima: Sequence[SizeOptimum]) -> float:
    return optima[-1].shape - (optima[0].shape if len(optima) > 1 else 0.0)


def pooled_spread(optima: Sequence[SizeOptimum], curves: Sequence[LrCurve], *, prior: float, level: float) -> Spread:
    """Pool the deviations between seeds over the sizes that have several, and the misfits over all curves."""
    groups = [np.array(optimum.optima) for optimum in optima if len(optimum.optima) > 1]
    freedom = sum(len(group) - 1 for group in groups)
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
    misfits = [curve.vertex.misfit for curve in curves if curve.vertex.misfit is not None]
    return Spread(
        pooled=float(np.sqrt(squares / freedom)) if freedom else None,
        degrees_of_freedom=freedom,
        prior=prior,
        level=level,
        misfit=float(np.mean(misfits)) if misfits else 0.0,
    )
