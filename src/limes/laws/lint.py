"""Look at a table before believing a fit to it: a checklist, each line passed, failed, or not answerable.

Source: limes, docs/laws.md; the pitfalls are those of Porian et al., arXiv:2406.19146, and Besiroglu et al.,
arXiv:2404.10102.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from limes.laws.fit import LawFit
from limes.laws.form import Array
from limes.laws.interval import extrapolation_decades
from limes.laws.table import Table

FEW_SIZES, FEW_DECADES, FAR_DECADES = 4, 1.0, 1.5


class Answer(StrEnum):
    """Outcome of one check."""

    OK = "ok"
    WARN = "warn"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One line of the checklist."""

    code: str
    answer: Answer
    sentence: str


def lint_table(table: Table, *, columns: Mapping[str, str] | None = None) -> tuple[Check, ...]:
    """Checks of a table of runs that do not need a fit.

    Args:
        table: Mapping or DataFrame. Columns looked at where present (or where `columns` says so): num_params,
            num_params_non_embedding, num_tokens, compute, loss, unique_tokens, run, schedule_steps, steps,
            warmup_steps, lr, peak_lr, status.
        columns: Those names to the table's.

    Returns:
        A `Check` per question, in a fixed order.

    Source: limes, docs/laws.md.

    >>> lint_table({"num_params": [1e6, 1e6], "loss": [3.0, 3.0]})[4].code
    'duplicated_runs'
    """
    found = _Columns(table, columns or {})
    return tuple(check(found) for check in _CHECKS)


def checklist(
    fit: LawFit, table: Table | None = None, *, points: Mapping[str, ArrayLike] | None = None
) -> tuple[Check, ...]:
    """The checklist printed with a fit: the table's checks, the fit's flags and certificate, and how far points reach.

    Args:
        fit: A fit.
        table: What it was fitted to, for columns that the law does not read.
        points: Points of a forecast.

    Source: limes, docs/laws.md.
    """
    source: Table = {**_law_columns(fit)} if table is None else table
    checks = list(lint_table(source, columns=fit.columns if table is not None else None))
    checks.append(
        _answer(
            "optimum",
            fit.status == "converged" and fit.certificate.agreement >= 0.05,
            f"{fit.certificate.agreement:.0%} of {fit.certificate.num_starts} starts reach the best objective; "
            f"relative gradient {fit.certificate.gradient_norm:.1e}; condition {fit.certificate.condition:.1e}.",
        )
    )
    checks += [Check(code=flag.code, answer=Answer.WARN, sentence=flag.sentence) for flag in fit.flags]
    if points is not None:
        decades = extrapolation_decades(fit.problem, fit.points(points)).max()
        checks.append(
            _answer(
                "extrapolation",
                decades <= FAR_DECADES,
                f"The farthest point lies {decades:.1f} decades beyond the runs; up to {FAR_DECADES} is customary.",
            )
        )
    return tuple(checks)


class _Columns:
    """The table's columns by their standard names, as float64 where numeric."""

    def __init__(self, table: Table, columns: Mapping[str, str]) -> None:
        present = {str(name): name for name in table.keys()}  # noqa: SIM118
        aliases = {standard: name for standard, name in columns.items() if name in present}
        self.raw = {name: np.asarray(table[key]) for name, key in present.items()}
        self.raw.update({standard: np.asarray(table[name]) for standard, name in aliases.items()})

    def number(self, name: str) -> Array | None:
        if name not in self.raw:
            return None
        try:
            return np.asarray(self.raw[name], dtype=float)
        except (TypeError, ValueError):
            return None

    def numbers(self, *names: str) -> list[Array] | None:
        found = [self.number(name) for name in names]
        return None if any(column is None for column in found) else [column for column in found if column is not None]


def _answer(code: str, good: bool, sentence: str) -> Check:
    return Check(code=code, answer=Answer.OK if good else Answer.WARN, sentence=sentence)


def _unknown(code: str, sentence: str) -> Check:
    return Check(code=code, answer=Answer.UNKNOWN, sentence=sentence)


def _overflow(found: _Columns) -> Check:
    bad = []
    for name, column in found.raw.items():
        if np.issubdtype(column.dtype, np.number) and name in ("compute", "num_tokens", "num_params", "flops"):
            values = np.asarray(column, dtype=float)
            if (values[np.isfinite(values)] <= 0).any():
                bad.append(name)
    compute, sizes = found.number("compute"), found.numbers("num_params", "num_tokens")
    if compute is not None and sizes is not None:
        true = 6 * sizes[0] * sizes[1]
        wrapped = (true > 2**63) & (compute < 0.01 * true)
        if wrapped.any():
            bad.append("compute")
    if bad:
        return _answer(
            "integer_overflow",
            False,
            f"{', '.join(sorted(set(bad)))} looks overflowed (negative or far below 6 N D); compute it in float64.",
        )
    return _answer("integer_overflow", True, "No sign of integer overflow.")


def _conventions(found: _Columns) -> Check:
    code = "parameter_convention"
    sizes = found.numbers("num_params", "num_tokens", "compute")
    if sizes is not None:
        ratio = sizes[2] / (6 * sizes[0] * sizes[1])
        ratio = ratio[np.isfinite(ratio) & (ratio > 0)]
        if len(ratio):
            low, high = np.quantile(ratio, [0.05, 0.95])
            return _answer(
                code,
                high / low < 1.1 and low > 0.8 and high < 1.25,
                f"compute / (6 N D) lies between {low:.2f} and {high:.2f}; 1 throughout means one convention "
                "(embeddings and head counted the same way in N and in compute).",
            )
    both = found.numbers("num_params", "num_params_non_embedding")
    if both is not None:
        share = 1 - both[1] / both[0]
        return _answer(
            code,
            bool(np.nanmax(share) < 0.1),
            f"Embeddings are up to {np.nanmax(share):.0%} of the parameters; "
            "above 10 % the exponents depend on whether they count.",
        )
    return _unknown(
        code, "Say whether num_params counts embeddings; give compute or num_params_non_embedding to check it."
    )


def _schedules(found: _Columns) -> Check:
    code = "unfinished_schedule"
    steps = found.numbers("steps", "schedule_steps")
    if steps is not None:
        early = np.flatnonzero(steps[0] < 0.98 * steps[1])
        return _answer(
            code, not len(early), f"{len(early)} rows stop before their schedule ends; their loss is too high."
        )
    rates = found.numbers("lr", "peak_lr")
    if rates is not None:
        high = np.flatnonzero(rates[0] > 0.3 * rates[1])
        return _answer(code, not len(high), f"{len(high)} rows are read at more than 30 % of the peak learning rate.")
    return _unknown(code, "Give steps and schedule_steps, or lr and peak_lr, to see whether each run was annealed.")


def _warmup(found: _Columns) -> Check:
    code = "warmup_checkpoints"
    steps = found.numbers("steps", "warmup_steps")
    if steps is None:
        return _unknown(code, "Give steps and warmup_steps to see whether rows come from the warm-up or shortly after.")
    early = np.flatnonzero(steps[0] < 3 * steps[1])
    return _answer(code, not len(early), f"{len(early)} rows lie within three warm-ups of the start; leave them out.")


def _duplicates(found: _Columns) -> Check:
    names = [
        name for name in ("num_params", "num_tokens", "compute", "width", "depth", "size", "loss") if name in found.raw
    ]
    columns = [column for column in (found.number(name) for name in names) if column is not None]
    if not columns or "loss" not in names:
        return _unknown("duplicated_runs", "Give the loss and sizes to look for duplicated runs.")
    rows = np.stack(columns, 1)
    again = len(rows) - len(np.unique(rows.round(12), axis=0))
    return _answer("duplicated_runs", again == 0, f"{again} rows repeat another row exactly.")


def _checkpoints(found: _Columns) -> Check:
    code = "checkpoints_as_runs"
    if "run" not in found.raw:
        return _unknown(code, "Give a run column, so that checkpoints of one run are not taken for independent runs.")
    labels = found.raw["run"].astype(str)
    count = len(labels) - len(np.unique(labels))
    return _answer(
        code, count == 0, f"{count} rows are further checkpoints of a run; fit with runs=, resample with kind='runs'."
    )


def _range(found: _Columns) -> Check:
    short = []
    seen = 0
    for name in ("num_params", "num_tokens", "compute", "size", "width", "depth"):
        column = found.number(name)
        if column is None:
            continue
        column = column[np.isfinite(column) & (column > 0)]
        if not len(column):
            continue
        seen += 1
        decades, sizes = np.log10(column.max() / column.min()), len(np.unique(column))
        if decades < FEW_DECADES or sizes < FEW_SIZES:
            short.append(f"{name} has {sizes} values over {decades:.1f} decades")
    if not seen:
        return _unknown("range", "No size column by a standard name.")
    sentence = (
        "; ".join(short) + " (want 4 over 1 decade)." if short else "Every size has 4 values over 1 decade or more."
    )
    return _answer("range", not short, sentence)


def _epochs(found: _Columns) -> Check:
    sizes = found.numbers("num_tokens", "unique_tokens")
    if sizes is None:
        return _unknown("repeated_data", "Give unique_tokens to see whether data were repeated.")
    most = float(np.nanmax(sizes[0] / sizes[1]))
    return _answer("repeated_data", most <= 1.01, f"Up to {most:.1f} epochs; above one use data_constrained.")


def _losses(found: _Columns) -> Check:
    loss = found.number("loss")
    if loss is None:
        return _unknown("loss_column", "No column named loss.")
    good = loss[np.isfinite(loss)]
    problems = []
    if len(good) < len(loss):
        problems.append(f"{len(loss) - len(good)} rows miss the loss")
    if len(good) >= 8 and np.allclose(good, good.round(2), atol=1e-9):
        problems.append("losses are rounded to two decimals, which moves exponents")
    if len(good) >= 8:
        spread = np.median(np.abs(good - np.median(good))) / 0.6745
        far = int((good > np.median(good) + 8 * max(spread, 1e-12)).sum())
        if far:
            problems.append(f"{far} losses lie far above the rest: diverged or untrained runs")
    return _answer("loss_column", not problems, ("; ".join(problems) or "No missing, rounded or outlying losses") + ".")


def _outlying_units(found: _Columns) -> Check:
    odd = []
    for name in ("num_params", "num_tokens", "compute"):
        column = found.number(name)
        if column is None:
            continue
        logs = np.log10(column[np.isfinite(column) & (column > 0)])
        if len(logs) >= 8:
            gap = np.abs(logs - np.median(logs))
            # a thousand times beyond the middle half is a unit, not a size
            limit = 2.0 + np.quantile(gap, 0.75)
            if (gap > limit).any() and (gap > limit).mean() < 0.1:
                odd.append(f"{name} = {10 ** logs[np.argmax(gap)]:.3g}")
    return _answer(
        "unit_outlier",
        not odd,
        f"Likely another unit: {', '.join(odd)}." if odd else "No entry looks like another unit.",
    )


_CHECKS: tuple[Callable[[_Columns], Check], ...] = (
    _overflow,
    _conventions,
    _schedules,
    _warmup,
    _duplicates,
    _checkpoints,
    _range,
    _epochs,
    _losses,
    _outlying_units,
)


def _law_columns(fit: LawFit) -> dict[str, Any]:
    columns: dict[str, Any] = {name: column * fit.problem.scales[name] for name, column in fit.problem.columns.items()}
    columns[fit.law.target] = fit.problem.target * fit.problem.scales[fit.law.target]
    return columns
