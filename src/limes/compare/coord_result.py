"""What a coordinate check found: slopes with intervals, verdicts, causes; plain data for JSON, tables and the page."""

import io
import json
from dataclasses import dataclass
from typing import Any, Literal

RowVerdict = Literal["passes", "fails", "undecided", "shown"]
Bound = Literal["equals", "at most"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CoordRow:
    """One quantity along one axis.

    Attributes:
        quantity: init, change, effective, propagating, attention init, attention change, second order, shrinkage (root
            mean squares of what the name says), or map init, map change, own change, step, gradient
            (of tensors, for the causes).
        name: Template of a module or a tensor.
        values: (num_sizes, num_seeds).
        slope: Mean over seeds of the slope of log(value) in log(growth); None where a value is zero or not finite.
        low: Lower end of its interval.
        high: Upper end.
        declared: Exponent that the parametrization declares; None where it declares none.
        bound: Whether the slope must equal it, or be at most it.
        verdict: passes, fails, undecided, or shown (not judged).
    """

    axis: str
    quantity: str
    name: str
    values: tuple[tuple[float, ...], ...]
    slope: float | None
    low: float | None
    high: float | None
    declared: float | None
    bound: Bound
    verdict: RowVerdict

    @property
    def excess(self) -> float:
        """How far the slope lies from what is declared; 0 where either is unknown."""
        return 0.0 if self.slope is None or self.declared is None else self.slope - self.declared

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; None for what is not finite."""
        entry: dict[str, Any] = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "values"}
        entry["values"] = [[value if abs(value) < float("inf") else None for value in seeds] for seeds in self.values]
        return entry


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Cause:
    """The likely cause of failures.

    Attributes:
        setting: hidden learning rate, embedding learning rate, readout learning rate, learning rate, readout
            multiplier, residual multiplier, attention scale, multiplier, init std, epsilon, or weight decay.
        name: Template of the tensor or module.
        sentence: In words, with the numbers.
    """

    axis: str
    setting: str
    name: str
    sentence: str

    def to_dict(self) -> dict[str, str]:
        """Plain JSON."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CoordAxis:
    """Everything along one axis.

    Attributes:
        axis: width or depth.
        sizes: What was built, in words.
        growth: Of the width or of the number of residual branches, from the first size.
        rows: Judged rows first, in the order of the forward pass.
        causes: Likely causes of the failures.
        losses: (num_sizes, num_seeds, steps), before each step.
        max_undecided: Largest share of undecided rows with which the axis still passes.
    """

    axis: str
    sizes: tuple[str, ...]
    growth: tuple[float, ...]
    rows: tuple[CoordRow, ...]
    causes: tuple[Cause, ...]
    losses: tuple[tuple[tuple[float, ...], ...], ...]
    max_undecided: float

    def judged(self, verdict: RowVerdict) -> tuple[CoordRow, ...]:
        """The rows with a verdict."""
        return tuple(row for row in self.rows if row.verdict == verdict)

    @property
    def verdict(self) -> str:
        """fails if a row fails; passes if (nearly) all others pass; else undecided."""
        if self.judged("fails"):
            return "fails"
        passed, undecided = len(self.judged("passes")), len(self.judged("undecided"))
        return "passes" if passed and undecided <= self.max_undecided * (passed + undecided) else "undecided"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "axis": self.axis,
            "verdict": self.verdict,
            "sizes": self.sizes,
            "growth": self.growth,
            "causes": [cause.to_dict() for cause in self.causes],
            "rows": [row.to_dict() for row in self.rows],
        }


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CoordCheck:
    """The result of `limes.coord_check`.

    Attributes:
        parametrization: Its name.
        optimizer: Its name.
        axes: One entry for width, one for depth, whichever was checked.
        seeds: Number of seeds.
        level: Of the intervals.
        tolerance: A slope passes if its whole interval lies within this of the declared exponent.
        settings: Learning rate, steps, eps, weight decay.
    """

    parametrization: str
    optimizer: str
    axes: tuple[CoordAxis, ...]
    seeds: int
    level: float
    tolerance: float
    settings: dict[str, float]

    @property
    def verdict(self) -> str:
        """passes, fails or undecided: the worst of the axes."""
        found = {axis.verdict for axis in self.axes}
        return next(word for word in ("fails", "undecided", "passes") if word in found)

    @property
    def passed(self) -> bool:
        """Every axis passes."""
        return self.verdict == "passes"

    @property
    def failures(self) -> tuple[CoordRow, ...]:
        """All rows that fail."""
        return tuple(row for axis in self.axes for row in axis.judged("fails"))

    @property
    def causes(self) -> tuple[Cause, ...]:
        """Likely causes, over all axes."""
        return tuple(cause for axis in self.axes for cause in axis.causes)

    def row(self, axis: str, quantity: str, name: str) -> CoordRow:
        """One row.

        Raises:
            KeyError: There is none.
        """
        for part in self.axes:
            for row in part.rows:
                if (row.axis, row.quantity, row.name) == (axis, quantity, name):
                    return row
        raise KeyError(f"no row {quantity!r} of {name!r} along {axis}")

    def to_rows(self) -> list[dict[str, Any]]:
        """One plain dictionary per row."""
        return [row.to_dict() for axis in self.axes for row in axis.rows]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        names = ("parametrization", "optimizer", "verdict", "seeds", "level", "tolerance", "settings")
        return {**{name: getattr(self, name) for name in names}, "axes": [axis.to_dict() for axis in self.axes]}

    def to_json(self) -> str:
        """The same as text."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    def explain(self, *, all_rows: bool = False) -> str:
        """A table for people: verdict, causes, and every judged row (or those that do not pass, if many pass)."""
        from rich.console import Console
        from rich.table import Table

        console = Console(file=io.StringIO(), width=120)
        for axis in self.axes:
            console.print(summary(self, axis), highlight=False, markup=False)
            for cause in axis.causes:
                console.print(f"  cause: {cause.sentence}", highlight=False, markup=False)
            table = Table()
            for heading in ("quantity", "tensor or module", "slope", "interval", "declared", "verdict"):
                table.add_column(heading, overflow="fold")
            for row in axis.rows:
                if row.verdict != "shown" and (all_rows or row.verdict != "passes"):
                    table.add_row(*row_cells(row))
            if table.row_count:
                console.print(table)
        file = console.file
        assert isinstance(file, io.StringIO)
        return file.getvalue()


def summary(check: CoordCheck, axis: CoordAxis) -> str:
    """The verdict of one axis in one sentence."""
    counts = ", ".join(
        f"{number} {word}"
        for word, number in (
            ("pass", len(axis.judged("passes"))),
            ("fail", len(axis.judged("fails"))),
            ("undecided", len(axis.judged("undecided"))),
        )
        if number
    )
    return (
        f"{axis.axis} {axis.sizes[0]} to {axis.sizes[-1]}: {check.parametrization} with {check.optimizer} "
        f"{axis.verdict} ({counts}; slopes within {check.tolerance:g} of the declared exponents, {check.level:.0%} "
        f"intervals over {check.seeds} seeds)"
    )


def row_cells(row: CoordRow) -> tuple[str, ...]:
    """A row as words: quantity, name, slope, interval, declared exponent, verdict."""
    slope = "not finite" if row.slope is None else f"{row.slope:+.2f}"
    interval = "" if row.low is None or row.high is None else f"{row.low:+.2f} to {row.high:+.2f}"
    declared = "" if row.declared is None else f"{'<= ' if row.bound == 'at most' else ''}{row.declared:+.2f}"
    return row.quantity, row.name, slope, interval, declared, row.verdict
