"""Intervals from backtests: closed forms, robustness, and coverage over tables that took no part in fixing the rule."""

import importlib.util
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import stats

from limes.laws import CHINCHILLA, Backtest, fit_law
from limes.laws.calibrate import RULE, error_scale, half_widths
from support.stats import assert_mean

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def load_benchmark(name: str) -> ModuleType:
    """A script of the benchmarks folder as a module."""
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def make_backtest(errors: list[np.ndarray], *, noise: float = 0.005) -> Backtest:
    """Splits with given errors, all a decade out, of rows with little uncertainty of the parameters."""
    split = np.repeat(np.arange(len(errors)), [len(part) for part in errors])
    joined = np.concatenate(errors)
    counts = np.full(len(errors), 20)
    return Backtest(
        split=split,
        row=np.arange(len(joined)),
        cost_limit=np.ones(len(errors)),
        num_train=counts,
        num_test=counts,
        error=joined,
        spread=np.full(len(joined), 0.002),
        decades=np.ones(len(joined)),
        noise=np.full(len(errors), noise),
        theta=np.zeros((len(errors), 1)),
    )


def widths(backtest: Backtest | None, *, level: float = 0.9) -> np.ndarray:
    """Half widths inside the table, one and two decades out."""
    return half_widths(error_scale(backtest), np.full(3, 0.0054), np.array([0.0, 1.0, 2.0]), level=level)


def test_a_rule_that_leaves_one_scale_possible_gives_the_t_distribution() -> None:
    certain = replace(RULE, rate_spread=1e-12, gain_spread=1e-12)
    base, decades = np.array([0.004, 0.004]), np.array([0.5, 2.0])
    scale = np.hypot(base, certain.rate * decades**certain.power)
    for level in (0.5, 0.9, 0.99):
        expected = stats.t.ppf((1 + level) / 2, certain.freedom) * scale * certain.widen
        assert half_widths(error_scale(None, rule=certain), base, decades, level=level) == pytest.approx(expected)
    density = error_scale(None, rule=certain).log_density(np.array([0.01, -0.02]), base, decades)
    assert density == pytest.approx(stats.t.logpdf(np.array([0.01, -0.02]) / scale, certain.freedom) - np.log(scale))


def test_larger_errors_farther_points_and_higher_levels_widen() -> None:
    rng = np.random.default_rng(0)
    small = [0.005 * rng.standard_normal(20) for _ in range(3)]
    wide = widths(make_backtest([6 * part for part in small]))
    assert (wide > widths(make_backtest(small))).all() and (np.diff(wide) > 0).all()
    assert (widths(None, level=0.99) > widths(None)).all()
    assert (widths(None) > widths(make_backtest(small))).all()  # good backtests narrow what was thought beforehand


def test_a_split_counts_the_same_however_many_rows_it_holds() -> None:
    rng = np.random.default_rng(1)
    errors = [0.01 * rng.standard_normal(10) for _ in range(3)]
    doubled = [np.repeat(part, 7) for part in errors]
    assert widths(make_backtest(doubled)) == pytest.approx(widths(make_backtest(errors)))


def test_one_wild_row_hardly_moves_the_width() -> None:
    rng = np.random.default_rng(2)
    errors = [0.006 * rng.standard_normal(30) for _ in range(3)]
    clean = widths(make_backtest(errors))
    for part in errors:
        part[0] = 0.8
    assert (widths(make_backtest(errors)) < 1.5 * clean).all()
    errors[1][1:] = np.nan  # a refit that went astray everywhere is a large error, not a failure
    assert np.isfinite(widths(make_backtest(errors))).all()


def test_outliers_of_the_table_do_not_widen_its_intervals() -> None:
    rng = np.random.default_rng(3)
    table = {"num_params": 10 ** rng.uniform(7.5, 9.5, 80), "num_tokens": 10 ** rng.uniform(9, 11, 80)}
    clean = CHINCHILLA.value(CHINCHILLA.example, table) * np.exp(0.004 * rng.standard_normal(80))
    spoiled = clean * np.where(np.arange(80) % 27 == 5, 1.4, 1.0)
    point = {"num_params": 1e10, "num_tokens": 1e12}
    half = []
    for loss in (clean, spoiled):
        p = fit_law(CHINCHILLA, {**table, "loss": loss}, num_starts=36).predict(point)
        half.append(np.log(p.high / p.low)[0])
    assert half[1] < 2 * half[0]


@cache
def covered(num: int) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Per table: (errors, half widths) of the held-out rows; the tables are new draws of the benchmark's laws."""
    found = []
    for number, table in enumerate(load_benchmark("laws_tables").synthetic(num, seed=2026)):
        cost = table.cost()
        inside = cost <= cost.max() / (3, 10, 30)[number % 3] * (1 + 1e-9)
        if inside.sum() < max(8, len(table.law.parameters) + 2) or inside.all() or not table.law.terms:
            continue
        fit = fit_law(table.law, {name: column[inside] for name, column in table.columns.items()}, num_starts=36)
        held = {name: column[~inside] for name, column in table.columns.items()}
        p = fit.predict(held, method="calibrated")
        found.append((np.log(held["loss"] / p.value), np.log(p.high / p.value)))
    return tuple(found)


@pytest.mark.sim
def test_ninety_percent_intervals_cover_ninety_percent_of_tables_not_used_to_fix_them() -> None:
    def coverage(shrink: float) -> np.ndarray:
        return np.array([np.mean(np.abs(error) <= shrink * half) for error, half in covered(48)])

    assert_mean(coverage(1.0), 0.9, bias=0.05)
    for mutant in (0.2, 0.4):  # intervals of a fifth, and of two fifths, of the width
        with pytest.raises(AssertionError, match="expected"):
            assert_mean(coverage(mutant), 0.9, bias=0.05)
