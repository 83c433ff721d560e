"""Measured runs beside the theory: what limits the loss in each direction, and whether its exponent is the theory's.

The loss of runs over time, width and samples is fitted by the power laws that a task of exponents (a, b) has, one term
for each resource that the table varies,

    loss = E + [(A_t t^-r_t)^m + (A_n N^-r_n)^m + (A_p P^-r_p)^m]^(1/m)

where m says how sharply one limit takes over from another (1 is their sum), and each exponent is held to
r_t = (a - 1) / b (times 2 / (1 + beta) where features move), r_n = min(a - 1, b) and r_p = min(a - 1, 2 b), with the
uncertainty of both.

Source: arXiv:2402.01092, section 4; arXiv:2409.17858; docs/theory/scaling_exponents.md; the test is ours,
docs/theory/laws_meet_theory.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from limes.compare.law_terms import Floor, exponent_name, resource_terms, theory_law
from limes.core.errors import DataError, SpecError
from limes.laws import LawFit, fit_law
from limes.theory.scaling import resource_exponents, task_of
from limes.theory.scaling.terms import RESOURCES

Array = NDArray[np.float64]
Verdict = Literal["agree", "disagree", "undecided", "not limited"]
NUM_DRAWS = 20_000
NUM_STARTS = 32
# A term without which the runs are fitted as well, by an F test at this level, says nothing about its exponent.
NEEDED = 0.01
# Draws of (a, b) that have to lie where the theory has power laws.
SMALLEST_MASS = 0.9
# Scatter of ln loss that is always allowed for: losses are written to so many digits, and fits end there.
RESOLUTION = 1e-6
# Smaller exponents are the bound of the fit, where its linearized error means nothing.
NO_FALL = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A number with its interval at a level that the context gives."""

    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not (np.isfinite([self.value, self.low, self.high]).all() and self.low <= self.value <= self.high):
            raise SpecError(
                f"{self.value:g} ({self.low:g} to {self.high:g}): expected low <= value <= high, all finite"
            )

    def at_level(self, level: float, *, given: float) -> "Measured":
        """The interval of another level, in the ratio that a normal law has for the two."""
        ratio = float(stats.norm.ppf(0.5 + level / 2) / stats.norm.ppf(0.5 + given / 2))
        low, high = (self.value + ratio * (end - self.value) for end in (self.low, self.high))
        return Measured(value=self.value, low=low, high=high)

    def words(self) -> str:
        """As people write it."""
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Direction:
    """One resource.

    Attributes:
        resource: "time", "width" or "samples".
        column: Of the table.
        fitted: Exponent of its term.
        predicted: By the theory; None where (a, b) reach to where it has no power law.
        difference: Fitted less predicted, with the uncertainty of both.
        leads: Share of the runs in which its term is the largest.
        largest_share: Of what can be reduced, over runs.
        verdict: "agree", "disagree", "undecided" (the intervals hold the law and none at all, or no fall is found) or
            "not limited".
    """

    resource: str
    column: str
    fitted: Measured
    predicted: Measured | None
    difference: Measured | None
    leads: float
    largest_share: float
    verdict: Verdict


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RegimeStudy:
    """A table of runs beside a task's theory.

    Attributes:
        directions: One for each resource.
        fit: Of all of them together.
        num_given: Rows of the table, those that miss a number too.
        a: Decay of the target's power by mode.
        b: Decay of the eigenvalues.
        rich: Whether the theory is that of moving features.
        level: Of all intervals.
        task: "hard", "easy" or "super-easy" at the middle of a and b; None where that is no power law.
        residual: Standard deviation of ln loss about the fit.
    """

    directions: tuple[Direction, ...]
    fit: LawFit
    num_given: int
    a: Measured
    b: Measured
    rich: bool
    level: float
    task: str | None
    residual: float

    @property
    def runs_used(self) -> str:
        """How many runs were fitted, and of how many where some miss a number."""
        if self.fit.num_rows == self.num_given:
            return f"{self.num_given} runs"
        return f"{self.fit.num_rows} of {self.num_given} runs (the others miss a number)"

    @property
    def sentences(self) -> tuple[str, ...]:
        """What limits the runs, and a verdict for each resource."""
        kind = "no power law" if self.task is None else f"a {self.task} task"
        regime = "features that move" if self.rich else "a lazy network"
        lead = ", ".join(f"{one.resource} in {one.leads:.0%}" for one in self.directions)
        return (
            f"a = {self.a.words()}, b = {self.b.words()}: {kind}, {regime}.",
            f"What limits the loss, of {self.runs_used}: {lead}.",
            *(_sentence(one, self.level) for one in self.directions),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "a": _plain(self.a),
            "b": _plain(self.b),
            "rich": self.rich,
            "level": self.level,
            "task": self.task,
            "num_runs": self.fit.num_rows,
            "num_given": self.num_given,
            "formula": self.fit.law.formula,
            "params": dict(self.fit.params),
            "residual": self.residual,
            "flags": [flag.code for flag in self.fit.flags],
            "directions": [
                {
                    "resource": one.resource,
                    "column": one.column,
                    "fitted": _plain(one.fitted),
                    "predicted": _plain(one.predicted),
                    "difference": _plain(one.difference),
                    "leads": one.leads,
                    "largest_share": one.largest_share,
                    "verdict": one.verdict,
                }
                for one in self.directions
            ],
        }


def _plain(one: Measured | None) -> dict[str, float] | None:
    return None if one is None else {"value": one.value, "low": one.low, "high": one.high}


def _sentence(one: Direction, level: float) -> str:
    head = f"{one.resource.capitalize()}: the runs fall as {one.column}^-r with r = {one.fitted.words()}"
    if one.verdict == "not limited":
        return (
            f"{one.resource.capitalize()} limits none of these runs: without its term they are fitted as well, and "
            "they say nothing about its exponent."
        )
    if one.fitted.value < NO_FALL:
        return f"{one.resource.capitalize()}: no fall along {one.column} is found, so there is no exponent: undecided."
    if one.predicted is None or one.difference is None:
        return f"{head}; a and b reach to 1 and below, where the theory has no power law: no verdict."
    end = f"the theory has {one.predicted.words()}; the difference is {one.difference.words()}"
    words = {
        "agree": f"they agree within their {level:.0%} intervals",
        "disagree": f"they do not agree at {level:.0%}",
        "undecided": "so wide that it holds the law and no fall at all: undecided",
    }
    return f"{head}, {end}: {words[one.verdict]}."


def compare_regimes(
    table: Mapping[str, Any],
    columns: Mapping[str, str],
    *,
    a: Measured,
    b: Measured,
    rich: bool = False,
    floor: Floor = "fit",
    level: float = 0.9,
    seed: int = 0,
) -> RegimeStudy:
    """Fit the power laws of a task's theory to runs, and hold each exponent to the theory's.

    Args:
        table: Column name to (n,) numbers, one row per run, with a column `loss`.
        columns: "time", "width" or "samples" to its column; those that the table varies.
        a: Decay of the target's power by mode, as `fit_source_capacity` measures it, with its interval at `level`.
        b: Decay of the eigenvalues.
        rich: The theory of moving features, which changes the exponent of time on hard tasks.
        floor: "fit" an irreducible loss, or "none" for losses that are excess losses already.
        level: Of the intervals.
        seed: Of the draws that carry the uncertainty of a and b into the exponents.

    Returns:
        `RegimeStudy`; its `sentences` are the answer.

    Raises:
        SpecError: No resource, an unknown one, the loss as its own resource, or a level outside (0, 1).
        DataError: Columns are absent, not positive or do not vary, or there are too few runs.
    """
    if not columns or not set(columns) <= set(RESOURCES):
        raise SpecError(f"columns {dict(columns)}: expected a column for some of {', '.join(RESOURCES)}")
    if taken := [name for name, column in columns.items() if column == "loss"]:
        raise SpecError(f"{taken[0]} 'loss': the loss is what is explained; name the column of the resource")
    if not 0 < level < 1 or floor not in ("fit", "none"):
        raise SpecError(f"level {level:g}, floor {floor!r}: expected a level such as 0.9, and 'fit' or 'none'")
    names = [name for name in RESOURCES if name in columns]
    fit = fit_law(
        theory_law(names, floor), table, columns=dict(columns), objective="squares_log", num_starts=NUM_STARTS
    )
    blind = [flag for flag in fit.flags if flag.code in ("constant_column", "collinear_design")]
    if blind:
        raise DataError(f"{blind[0].sentence} Leave that resource out, or add runs that vary it on its own.")
    errors, dof, residual = _errors(fit)
    rng = np.random.default_rng(seed)
    theory = _theory(a, b, rich=rich, level=level, rng=rng)
    shares = _shares(fit, names)
    directions = []
    for index, name in enumerate(names):
        draws = fit.params[exponent_name(name)] + errors[exponent_name(name)] * rng.standard_t(dof, NUM_DRAWS)
        directions.append(
            _direction(
                name,
                columns[name],
                fit.params[exponent_name(name)],
                draws,
                None if theory is None else theory[name],
                level=level,
                leads=float((shares.argmax(0) == index).mean()),
                largest=float(shares[index].max()),
                needed=len(names) == 1 or _needed(fit, [one for one in names if one != name], table, columns, floor),
            )
        )
    return RegimeStudy(
        directions=tuple(directions),
        fit=fit,
        num_given=len(table[fit.law.target]),
        a=a,
        b=b,
        rich=rich,
        level=level,
        task=task_of(a.value, b.value) if _has_laws(a, b) else None,
        residual=residual,
    )


def _errors(fit: LawFit) -> tuple[dict[str, float], int, float]:
    """Standard errors of the exponents by the linearized fit, its degrees of freedom, the scatter of ln loss."""
    theta, step = fit.theta, 1e-5
    sides = [theta + sign * step * np.eye(len(theta)) for sign in (1.0, -1.0)]
    up, down = (np.array([fit.problem.residuals(row) for row in side]) for side in sides)
    slopes = (up - down) / (2 * step)
    # What the table does not determine at all (a floor at zero) is no parameter of the fit.
    kept = np.linalg.norm(slopes, axis=1) > 1e-6
    dof = fit.num_rows - int(kept.sum())
    if dof < 1:
        raise DataError(f"{fit.num_rows} runs for {int(kept.sum())} parameters: expected more runs, for intervals")
    residual = max(float(np.sqrt(np.square(fit.residuals).sum() / dof)), RESOLUTION)
    covariance = np.full((len(theta), len(theta)), np.inf)
    covariance[np.ix_(kept, kept)] = residual**2 * np.linalg.pinv(slopes[kept] @ slopes[kept].T, hermitian=True)
    spread = dict(zip(fit.law.names, np.sqrt(np.maximum(covariance.diagonal(), 0.0)), strict=True))
    return {name: min(float(value), 1e3) for name, value in spread.items()}, dof, residual


def _shares(fit: LawFit, names: list[str]) -> Array:
    """(resources, n) share of each term in what can be reduced."""
    terms, _ = resource_terms(fit, names)
    values = np.array(list(terms.values())) ** fit.params.get("m", 1.0)
    return np.asarray(values / values.sum(0))


def _needed(fit: LawFit, others: list[str], table: Mapping[str, Any], columns: Mapping[str, str], floor: Floor) -> bool:
    """Whether the runs are fitted worse by the other resources alone."""
    chosen = {name: columns[name] for name in others}
    less = fit_law(theory_law(others, floor), table, columns=chosen, objective="squares_log", num_starts=NUM_STARTS)
    extra, dof = len(fit.theta) - len(less.theta), fit.num_rows - len(fit.theta)
    full, reduced = (float(np.square(one.residuals).sum()) for one in (fit, less))
    ratio = (reduced - full) / extra / max(full / dof, 1e-300)
    return bool(stats.f.sf(ratio, extra, dof) < NEEDED)


def _has_laws(a: Measured, b: Measured) -> bool:
    return min(a.value, b.value) > 1.0


def _theory(
    a: Measured, b: Measured, *, rich: bool, level: float, rng: np.random.Generator
) -> dict[str, tuple[float, Array]] | None:
    """Exponents at (a, b), and over normal draws of both; None if too many have no power law."""
    z = stats.norm.ppf(0.5 + level / 2)
    draws = [one.value + 0.5 * (one.high - one.low) / z * rng.standard_normal(NUM_DRAWS) for one in (a, b)]
    inside = np.minimum(*draws) > 1.0
    if not _has_laws(a, b) or inside.mean() < SMALLEST_MASS:
        return None
    middle = resource_exponents(a.value, b.value, rich=rich)
    drawn = resource_exponents(*(one[inside] for one in draws), rich=rich)
    return {name: (float(middle[name]), rng.choice(drawn[name], NUM_DRAWS)) for name in RESOURCES}


def _direction(
    name: str,
    column: str,
    value: float,
    draws: Array,
    theory: tuple[float, Array] | None,
    *,
    level: float,
    leads: float,
    largest: float,
    needed: bool,
) -> Direction:
    fitted = _around(value, draws, level)
    predicted = difference = None
    verdict: Verdict = "undecided"
    if theory is not None:
        predicted = _around(theory[0], theory[1], level)
        difference = _around(value - theory[0], draws - theory[1], level)
        if value < NO_FALL:
            verdict = "undecided"
        elif not difference.low <= 0.0 <= difference.high:
            verdict = "disagree"
        elif fitted.low > 0.0:
            verdict = "agree"
    if not needed:
        verdict = "not limited"
    return Direction(
        resource=name,
        column=column,
        fitted=fitted,
        predicted=predicted,
        difference=difference,
        leads=leads,
        largest_share=largest,
        verdict=verdict,
    )


def _around(value: float, draws: Array, level: float) -> Measured:
    low, high = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2])
    return Measured(value=value, low=min(float(low), value), high=max(float(high), value))
