"""Do the intervals hold, are they narrow, and does the stack extrapolate? Leave-largest-out, all in one run.

    OMP_NUM_THREADS=1 python benchmarks/laws_calibration.py --fix 250         # fixes the rule, on synthetic laws
    OMP_NUM_THREADS=1 python benchmarks/laws_calibration.py --synthetic 100   # scores it, on other synthetic laws
    OMP_NUM_THREADS=1 python benchmarks/laws_calibration.py [TABLES]          # scores it, on published tables
    OMP_NUM_THREADS=1 python benchmarks/laws_calibration.py --stack [TABLES]  # errors of laws, stack, other fitters

Each table is cut at C_max / 3, / 10 and / 30 (a synthetic one at one of them); the rest is predicted. Printed per
split: rows, mean error, coverage and half width of nominal 90 % intervals. At the end, for the intervals of `predict`
and for the usual bootstraps: coverage over tables, each counting once, and over families of data, each counting once;
coverage when every interval is shrunk to a half and to a fifth; geometric means of the half width and of the interval
score (Gneiting and Raftery 2007), which charges for width and, at 20 times the distance, for misses.
"""

import argparse
import os
import pickle
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from itertools import chain
from pathlib import Path

import numpy as np
from laws_errors import print_errors
from laws_tables import RunTable, published, synthetic
from scipy.optimize import minimize

from limes.laws import LawFit, fit_law
from limes.laws.backtest import Backtest
from limes.laws.bootstrap import bootstrap_thetas, residual_std
from limes.laws.calibrate import RULE, Rule, error_scale, half_widths, target_base
from limes.laws.interval import extrapolation_decades

FACTORS = (3, 10, 30)
MIN_TRAIN, MIN_TEST, MAX_ROWS = 8, 1, 6
LEVEL, MISS = 0.9, 20.0
FACTOR_GRID = np.arange(1.0, 2.01, 0.05)
SHRINK = (1.0, 0.5, 0.2)
FIX_SEEDS, SCORE_SEED = (11, 12), 77
KINDS = ("limes", "bootstrap of rows", "rows + residuals", "bootstrap of residuals + residuals", "residuals alone")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One split of one table: what was predicted and what was measured, in residual units."""

    table: RunTable
    factor: int
    num_train: int
    method: str
    error: np.ndarray
    above: dict[str, np.ndarray]  # measured minus median, per kind of interval
    low: dict[str, np.ndarray]  # low end minus median
    high: dict[str, np.ndarray]
    backtest: Backtest
    base: np.ndarray
    decades: np.ndarray

    def coverage(self, kind: str, shrink: float = 1.0) -> float:
        """Share of the held-out rows inside the interval, shrunk about its median."""
        above = self.above[kind]
        return float(np.mean((shrink * self.low[kind] <= above) & (above <= shrink * self.high[kind])))

    def width(self, kind: str) -> float:
        """Median half width."""
        return float(np.median(self.high[kind] - self.low[kind]) / 2)

    def score(self, kind: str) -> float:
        """Mean interval score."""
        above, low, high = self.above[kind], self.low[kind], self.high[kind]
        return float(np.mean(high - low + MISS * (np.maximum(low - above, 0) + np.maximum(above - high, 0))))


def cases(tables: Iterable[RunTable], *, one_factor: bool) -> Iterable[Case]:
    """Every split that leaves enough rows on both sides."""
    for number, table in enumerate(tables):
        cost = table.cost()
        for factor in (FACTORS[number % 3],) if one_factor else FACTORS:
            inside = cost <= cost.max() / factor * (1 + 1e-9)
            if inside.sum() >= max(MIN_TRAIN, len(table.law.parameters) + 2) and (~inside).sum() >= MIN_TEST:
                yield _case(table, factor, inside)


def _case(table: RunTable, factor: int, inside: np.ndarray) -> Case:
    train = {name: column[inside] for name, column in table.columns.items()}
    held = {name: column[~inside] for name, column in table.columns.items()}
    fit = fit_law(table.law, train, num_starts=48)
    backtest = fit.backtest()
    prediction = fit.predict(held, LEVEL, backtest=backtest)
    points, scale = fit.points(held), fit.problem.scales[table.law.target]

    def unit(values: np.ndarray) -> np.ndarray:
        return np.log(np.maximum(values, 1e-12)) if fit.problem.log_residuals else values / scale

    seen, middle = unit(held[table.law.target]), unit(prediction.value)
    fitted = unit(fit.value(held))
    ends = {"limes": (middle, unit(prediction.low), unit(prediction.high))}
    for kind, values in _usual(fit, points, unit).items():
        ends[kind] = (fitted, *np.nanquantile(values, [0.05, 0.95], axis=0))
    noise = 1.645 * residual_std(fit.problem, fit.theta)
    ends["residuals alone"] = (fitted, fitted - noise, fitted + noise)
    return Case(
        table=table,
        factor=factor,
        num_train=fit.num_rows,
        method=prediction.method,
        error=fitted - seen,
        above={kind: seen - end[0] for kind, end in ends.items()},
        low={kind: end[1] - end[0] for kind, end in ends.items()},
        high={kind: end[2] - end[0] for kind, end in ends.items()},
        backtest=backtest,
        base=target_base(fit.problem, fit.solution, points, runs=None),
        decades=extrapolation_decades(fit.problem, points),
    )


def _usual(fit: LawFit, points: dict[str, np.ndarray], unit: object) -> dict[str, np.ndarray]:
    """Forecasts over the usual resamples, in residual units."""
    rng, columns = np.random.default_rng(0), fit.problem.normalize(points)
    noise = residual_std(fit.problem, fit.theta)
    found = {}
    for kind in ("rows", "residual"):
        num = 200 if fit.law.terms else 60
        draws = bootstrap_thetas(
            fit.problem, fit.solution.minima[:1], num=num, generator=rng, kind=kind, max_iterations=60
        )
        values = unit(fit.problem.predict(draws, columns))  # type: ignore[operator]
        found[kind], found[f"{kind} + noise"] = values, values + noise * rng.standard_normal(values.shape)
    return {
        "bootstrap of rows": found["rows"],
        "rows + residuals": found["rows + noise"],
        "bootstrap of residuals + residuals": found["residual + noise"],
    }


def fix_rule(found: list[Case]) -> Rule:
    """The rule of the largest mean log density of held-out errors; `power` and `widen` are left as they are."""
    names = [field.name for field in fields(Rule) if field.name not in ("power", "widen")]

    thin = [_thin(case) for case in found]

    def rule(logs: np.ndarray) -> Rule:
        return replace(RULE, **dict(zip(names, map(float, np.exp(logs)))))

    def loss(logs: np.ndarray) -> float:
        tried = rule(logs)
        return -float(np.mean([_density(case, tried) for case in thin]))

    start = np.log([getattr(RULE, name) for name in names])
    end = minimize(loss, start, method="Nelder-Mead", options={"maxfev": 120, "xatol": 0.02, "fatol": 1e-3})
    print(f"mean log density {-loss(start):.4f} before, {-end.fun:.4f} after {end.nfev} evaluations")
    return rule(end.x)


def _thin(case: Case) -> Case:
    """At most `MAX_ROWS` held-out rows of each split: they share its fit, and more cost time only."""
    test = case.backtest
    rows = [np.flatnonzero(test.split == k) for k in range(test.num_splits)]
    kept = np.concatenate([row[:: -(-len(row) // MAX_ROWS)] for row in rows] or [np.zeros(0, dtype=int)])
    parts = {name: getattr(test, name)[kept] for name in ("split", "row", "error", "spread", "decades")}
    every = slice(None, None, -(-len(case.error) // MAX_ROWS))
    parts_out = {name: getattr(case, name)[every] for name in ("error", "base", "decades")}
    return replace(case, backtest=replace(test, **parts), **parts_out)


def _density(case: Case, rule: Rule) -> float:
    error = np.clip(np.nan_to_num(case.error, nan=5.0), -5, 5)
    return float(error_scale(case.backtest, rule=rule).log_density(error, case.base, case.decades).mean())


def print_scores(found: list[Case]) -> None:
    """Coverage, width and score of every kind of interval."""
    counts = len({case.table.name for case in found}), len({case.table.family for case in found})
    print(f"\n{len(found)} splits of {counts[0]} tables of {counts[1]} families")
    head = "  ".join(f"x {shrink:g}" for shrink in SHRINK)
    print(f"{'90 % intervals':36s} tables: coverage {head}   families   half width   interval score")
    for kind in KINDS:
        shrunk = [_mean_over(found, [case.coverage(kind, shrink) for case in found]) for shrink in SHRINK]
        families = _by_family(found, kind)
        width = np.exp(_mean_over(found, [np.log(max(case.width(kind), 1e-9)) for case in found]))
        score = np.exp(_mean_over(found, [np.log(max(case.score(kind), 1e-9)) for case in found]))
        covers = "  ".join(f"{value:.3f}" for value in shrunk)
        mean = np.mean(list(families.values()))
        print(f"{kind:36s}           {covers}   {mean:8.3f}   {100 * width:8.2f} %   {100 * score:8.2f} %")
    detail = ", ".join(f"{name} {value:.2f}" for name, value in _by_family(found, "limes").items())
    print(f"limes by family: {detail}")
    for method in sorted({case.method for case in found}):
        mine = [case for case in found if case.method == method]
        mean = _mean_over(mine, [case.coverage("limes") for case in mine])
        print(f"limes, {method}: coverage {mean:.3f} over {len(mine)} splits")


def print_transfer(found: list[Case]) -> None:
    """Coverage of each family when the factor of all widths comes from the other families, or is 1."""
    families = list(dict.fromkeys(case.table.family for case in found))
    chosen = {name: _factor([case for case in found if case.table.family != name]) for name in families}
    print(f"factor of widths that makes the mean over tables {LEVEL}: {_factor(found):.2f} of all families; "
          + ", ".join(f"without {name} {factor:.2f}" for name, factor in chosen.items()))  # fmt: skip
    rules = {"rule of synthetic laws alone": dict.fromkeys(families, 1.0), "factor from the other families": chosen}
    for label, factors in rules.items():
        covers = [_widened(case, factors[case.table.family]) for case in found]
        logs = [np.log(max(case.width("limes") * _scale(case, factors[case.table.family]), 1e-9)) for case in found]
        detail = _means(found, covers)
        mean, width = np.mean(list(detail.values())), 100 * np.exp(_mean_over(found, logs))
        print(f"{label}: coverage {_mean_over(found, covers):.3f} over tables, {mean:.3f} over families, half width "
              f"{width:.2f} %; " + ", ".join(f"{name} {value:.2f}" for name, value in detail.items()))  # fmt: skip


def _factor(found: list[Case]) -> float:
    """Smallest factor on a grid at which the mean over tables covers the nominal share."""
    for factor in FACTOR_GRID:
        covers = [_widened(case, factor) for case in found]
        if _mean_over(found, covers) >= LEVEL:
            return float(factor)
    return float(FACTOR_GRID[-1])


def _scale(case: Case, factor: float) -> float:
    """What a factor does to the intervals of a case as they are; those for few rows know no factor."""
    return factor / RULE.widen if case.method == "calibrated" else 1.0


def _widened(case: Case, factor: float) -> float:
    return case.coverage("limes", _scale(case, factor))


def _means(found: list[Case], values: list[float]) -> dict[str, float]:
    families: dict[str, tuple[list[Case], list[float]]] = {}
    for case, value in zip(found, values):
        mine = families.setdefault(case.table.family, ([], []))
        mine[0].append(case)
        mine[1].append(value)
    return {name: _mean_over(*mine) for name, mine in families.items()}


def _by_family(found: list[Case], kind: str) -> dict[str, float]:
    return _means(found, [case.coverage(kind) for case in found])


def _mean_over(found: list[Case], values: list[float]) -> float:
    """Mean over tables of the means over their splits."""
    tables: dict[str, list[float]] = {}
    for case, value in zip(found, values):
        tables.setdefault(case.table.name, []).append(value)
    return float(np.mean([np.mean(part) for part in tables.values()]))


def main() -> None:
    """Parse the arguments, go through the tables, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("LIMES_DATA", Path(__file__).parents[2] / "shared" / "data"))
    parser.add_argument("tables", nargs="?", type=Path, default=default)
    parser.add_argument("--synthetic", type=int, default=0, help="score this many synthetic tables")
    parser.add_argument("--fix", type=int, default=0, help="fix the rule on this many synthetic tables")
    parser.add_argument("--stack", action="store_true", help="errors of laws, of their stack and of other fitters")
    parser.add_argument("--keep", type=Path, help="pickle the splits here as they come")
    parser.add_argument("--kept", type=Path, help="splits that --keep wrote, instead of computing them again")
    arguments = parser.parse_args()
    if arguments.stack:
        print_errors(published(arguments.tables))
        return
    num = arguments.fix or arguments.synthetic
    if arguments.fix:
        tables = chain.from_iterable(synthetic(num // 2, seed=seed) for seed in FIX_SEEDS)
    else:
        tables = synthetic(num, seed=SCORE_SEED) if num else published(arguments.tables)
    found = [refreshed(case) for case in pickle.loads(arguments.kept.read_bytes())] if arguments.kept else []
    print(f"{'split':56s} rows  error %  width %  covers")
    for case in cases(() if arguments.kept else tables, one_factor=bool(num)):
        found.append(case)
        name, error = f"{case.table.name} /{case.factor}", 100 * np.abs(case.error).mean()
        print(f"{name:56s} {case.num_train:4d} {error:8.2f} {100 * case.width('limes'):8.2f}"
              f" {case.coverage('limes'):7.2f}  {case.method}", flush=True)  # fmt: skip
        if arguments.keep:
            arguments.keep.write_bytes(pickle.dumps([replace_table(kept) for kept in found]))
    if arguments.fix:
        print(fix_rule(found))
    else:
        print_scores(found)
        if not num:
            print_transfer(found)


def refreshed(case: Case) -> Case:
    """A kept case with its calibrated interval by the rule of today."""
    if case.method != "calibrated":
        return case
    half = half_widths(error_scale(case.backtest), case.base, case.decades, level=LEVEL)
    above = {**case.above, "limes": -case.error}
    return replace(case, above=above, low={**case.low, "limes": -half}, high={**case.high, "limes": half})


def replace_table(case: Case) -> Case:
    """The case without the law, which cannot be pickled."""
    return replace(case, table=replace(case.table, law=None))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
