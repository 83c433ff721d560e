"""Learning-rate sensitivity of every size of a sweep, on the learning rates that all its sizes have in common.

Source: arXiv:2309.14322, section 2.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from limes.core.errors import SpecError
from limes.measure.lr_sensitivity import LrSensitivity, lr_sensitivity
from limes.store import SweepRow

MIN_RATES = 3


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SizeSensitivity:
    """One size of one panel.

    Attributes:
        axis: What grows.
        parametrization: Of the panel.
        size: On the axis.
        by_seed: One per seed, all on the same grid as those of the other sizes.
    """

    axis: str
    parametrization: str
    size: int
    by_seed: tuple[LrSensitivity, ...]

    @property
    def value(self) -> float:
        """Mean over seeds, in units of the loss; NaN if one of them did not train at any rate."""
        return float(np.mean([one.value for one in self.by_seed]))

    @property
    def num_diverged(self) -> int:
        """Runs without a finite loss, over all seeds; each counts as the loss at initialization."""
        return sum(one.num_diverged for one in self.by_seed)


def sweep_sensitivity(rows: Sequence[SweepRow]) -> list[SizeSensitivity]:
    """The sensitivity of each size to its learning rate, so that sizes compare.

    Args:
        rows: Of a store; runs that are not finished are left out.

    Returns:
        By panel and size. Panels whose sizes have fewer than three evenly spaced learning rates in common are left out:
        values from different grids do not compare.

    Source: arXiv:2309.14322, section 2.2.
    """
    finished = [row for row in rows if row.status.finished and (row.loss is not None or row.diverged_step is not None)]
    found = []
    for axis, label in dict.fromkeys((row.axis, row.parametrization) for row in finished):
        panel = [row for row in finished if (row.axis, row.parametrization) == (axis, label)]
        found += _panel(axis, label, panel)
    return found


def _panel(axis: str, label: str, rows: Sequence[SweepRow]) -> list[SizeSensitivity]:
    curves: dict[tuple[int, int], dict[float, SweepRow]] = {}
    for row in rows:
        curves.setdefault((row.size, row.seed), {})[row.log2_lr] = row
    common = sorted(set.intersection(*(set(curve) for curve in curves.values())))
    starts = [row.initial_loss for row in rows if row.initial_loss is not None]
    if len(common) < MIN_RATES or not starts:
        return []
    by_size: dict[int, list[LrSensitivity]] = {}
    for (size, _), curve in sorted(curves.items()):
        own = [row.initial_loss for row in curve.values() if row.initial_loss is not None]
        try:
            one = lr_sensitivity(
                [2.0**rate for rate in common],
                [curve[rate].loss for rate in common],
                initial_loss=float(np.mean(own or starts)),
            )
        except SpecError:
            # What they have in common is no even grid.
            return []
        by_size.setdefault(size, []).append(one)
    return [
        SizeSensitivity(axis=axis, parametrization=label, size=size, by_seed=tuple(seeds))
        for size, seeds in by_size.items()
    ]
