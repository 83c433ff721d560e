"""Choose between laws by held-out extrapolation, and stack them.

Every law is refitted on the same rolling origins. The ranking and the weights come from the held-out errors alone; the
in-sample objective stands beside them. Weights minimize the held-out squared error of the combined prediction on the
simplex, with each law pulled toward the inverse of its own squared error, since splits are few.

Source: stacking: Wolpert 1992; Breiman 1996 (weights on the simplex). The pull: limes, docs/laws.md.
Letters: K laws, m held-out rows, q points.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import nnls

from limes.core.errors import SpecError
from limes.laws.backtest import MIN_TRAIN, Backtest, run_backtest
from limes.laws.calibrate import error_scale, half_widths, target_base
from limes.laws.fit import LawFit, fit_law
from limes.laws.form import Array, Index, Law
from limes.laws.interval import Prediction, extrapolation_decades
from limes.laws.table import Table

PULL = 0.3


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Comparison:
    """Laws side by side.

    Args:
        fits: Of every law, on the whole table, best held-out law first.
        backtests: In the same order.
        held_out: (K,) mean over splits of the mean absolute held-out error, in residual units.
        in_sample: (K,) mean absolute residual on the whole table; shown, never used.
        weights: (K,) stacking weights.
        stacked_error: Mean held-out error of the stack, with weights from the other splits.
    """

    fits: tuple[LawFit, ...]
    backtests: tuple[Backtest, ...]
    held_out: Array
    in_sample: Array
    weights: Array
    stacked_error: float

    @property
    def best(self) -> LawFit:
        """The fit whose law extrapolated best on held-out rows."""
        return self.fits[0]

    def to_rows(self) -> list[dict[str, float | str | int]]:
        """One mapping per law: name, both errors with their ranks, weight."""
        ranks = np.argsort(np.argsort(self.in_sample))
        return [
            {
                "law": fit.law.name,
                "held_out_error": float(self.held_out[k]),
                "held_out_rank": k + 1,
                "in_sample_error": float(self.in_sample[k]),
                "in_sample_rank": int(ranks[k]) + 1,
                "weight": float(self.weights[k]),
            }
            for k, fit in enumerate(self.fits)
        ]

    def predict(self, points: Mapping[str, ArrayLike], level: float = 0.9) -> Prediction:
        """Forecast by the stack, with an interval from the stack's own backtest errors."""
        clean = self.fits[0].points(points)
        values = np.array([fit.value({name: clean[name] for name in fit.law.input_names}) for fit in self.fits])
        log = self.fits[0].problem.log_residuals
        joined = np.exp(self.weights @ np.log(values)) if log else self.weights @ values
        bases = [target_base(fit.problem, fit.solution, clean, runs=fit.runs) for fit in self.fits]
        decades = extrapolation_decades(self.fits[0].problem, clean)
        possible = error_scale(_stacked_backtest(self.backtests, self.weights))
        width = half_widths(possible, self.weights @ np.array(bases), decades, level=level)
        scale = self.fits[0].problem.scales[self.fits[0].law.target]
        low, high = (
            (joined * np.exp(-width), joined * np.exp(width))
            if log
            else (joined - scale * width, joined + scale * width)
        )
        return Prediction(
            value=joined,
            low=low,
            high=high,
            level=level,
            decades=decades,
            method="stacked",
            evidence=f"{self.backtests[0].num_splits} held-out splits; weights "
            + ", ".join(f"{fit.law.name} {weight:.2f}" for fit, weight in zip(self.fits, self.weights)),
        )


def compare_laws(
    laws: Sequence[Law],
    table: Table,
    *,
    columns: Mapping[str, str] | None = None,
    objective: str = "huber_log",
    delta: float = 1e-3,
    weights: ArrayLike | None = None,
    runs: str | None = None,
) -> Comparison:
    """Fit several laws and rank them by how they extrapolate.

    Args:
        laws: At least two, with the same inputs and target.
        table, columns, objective, delta, weights, runs: As for `fit_law`.

    Returns:
        A `Comparison`, best first.

    Raises:
        SpecError: fewer than two laws, or laws that read different columns. DataError: as `fit_law`; or too few rows
            for a single split.

    Source: limes, docs/laws.md.

    >>> import numpy as np
    >>> from limes.laws import POWER_LAW, POWER_LAW_FLOOR, compare_laws
    >>> size = np.geomspace(1, 1000, 14)
    >>> compare_laws([POWER_LAW, POWER_LAW_FLOOR], {"size": size, "loss": 1 + size**-0.5}).best.law.name
    'power_law_floor'
    """
    if len(laws) < 2:
        raise SpecError(f"compare_laws got {len(laws)} law; give at least two")
    for law in laws[1:]:
        if set(law.input_names) != set(laws[0].input_names) or law.target != laws[0].target:
            raise SpecError(f"{law.name} reads {law.input_names}, but {laws[0].name} reads {laws[0].input_names}")
    fits = [
        fit_law(law, table, columns=columns, objective=objective, delta=delta, weights=weights, runs=runs)
        for law in laws
    ]
    least = max(MIN_TRAIN, max(len(law.parameters) for law in laws) + 1)
    tests = [run_backtest(fit.problem, extra=fit.solution.minima, runs=fit.runs, min_train=least) for fit in fits]
    if not tests[0].num_splits:
        raise SpecError(
            f"{fits[0].num_rows} rows allow no held-out split with {least} to fit; add runs of smaller cost"
        )
    held_out = np.array([test.mean_error for test in tests])
    order = np.argsort(held_out, kind="stable")
    fits, tests = [fits[k] for k in order], [tests[k] for k in order]
    errors = np.array([np.nan_to_num(test.error, nan=10.0) for test in tests])
    return Comparison(
        fits=tuple(fits),
        backtests=tuple(tests),
        held_out=held_out[order],
        in_sample=np.array([np.abs(fit.residuals).mean() for fit in fits]),
        weights=stacking_weights(errors, tests[0].split),
        stacked_error=_cross_stacked(errors, tests[0]),
    )


def stacking_weights(errors: Array, split: Index) -> Array:
    """Weights on the simplex that minimize the held-out squared error, each split counting the same.

    Args:
        errors: (K, m) held-out errors of each law.
        split: (m,) split number.

    Returns:
        (K,) non-negative, summing to one.

    >>> stacking_weights(np.array([[0.1, -0.1], [0.3, 0.3]]), np.array([0, 1])).round(2).tolist()[0] > 0.8
    True
    """
    size = 1 / np.bincount(split.astype(int))[split.astype(int)]
    scaled = errors * np.sqrt(size)
    single = 1 / np.maximum((scaled**2).sum(1), 1e-30)
    prior = single / single.sum()
    scale = np.sqrt((scaled**2).sum(1).min()) + 1e-15
    count = len(errors)
    # rows: data, pull toward the prior, and the sum constraint as a heavy row
    design = np.concatenate([scaled.T / scale, np.sqrt(PULL) * np.eye(count), 1e4 * np.ones((1, count))])
    aim = np.concatenate([np.zeros(errors.shape[1]), np.sqrt(PULL) * prior, [1e4]])
    weights = nnls(design, aim)[0]
    return weights / weights.sum()


def _cross_stacked(errors: Array, test: Backtest) -> float:
    if test.num_splits < 2:
        return float(np.abs(errors[0]).mean())
    parts = []
    for k in range(test.num_splits):
        mine = test.split == k
        weights = stacking_weights(errors[:, ~mine], np.unique(test.split[~mine], return_inverse=True)[1])
        parts.append(np.abs(weights @ errors[:, mine]).mean())
    return float(np.mean(parts))


def _stacked_backtest(tests: Sequence[Backtest], weights: Array) -> Backtest:
    first = tests[0]
    return Backtest(
        split=first.split,
        row=first.row,
        cost_limit=first.cost_limit,
        num_train=first.num_train,
        num_test=first.num_test,
        error=weights @ np.array([test.error for test in tests]),
        spread=weights @ np.array([test.spread for test in tests]),
        decades=first.decades,
        noise=weights @ np.array([test.noise for test in tests]),
        theta=first.theta,
    )
