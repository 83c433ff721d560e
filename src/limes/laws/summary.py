"""Everything there is to say about one fit, gathered in one object: what the command prints and the report draws.

Source: limes, docs/laws.md.
Letters: q points or budgets, p parameters, n rows.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from limes.core.errors import DataError, SpecError
from limes.laws.approaches import Optima, disagreements, envelope_optima, isoflop_optima, parametric_optima
from limes.laws.backtest import Backtest
from limes.laws.fit import LawFit
from limes.laws.form import Array
from limes.laws.interval import Prediction
from limes.laws.lint import Check, checklist
from limes.laws.optimal import TRAINING_FLOPS, Frontier, Penalty, frontier, shape_penalty
from limes.laws.table import Table

WRONG_SHAPES = (0.25, 0.5, 2.0, 4.0)
NUM_RAY = 60
RAY_DECADES = 1.5
Progress = Callable[[float, str], None]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Shapes:
    """How to spend budgets, by every approach that the table allows.

    Args:
        frontier: By the fitted law, approach 3, with intervals.
        approaches: The three approaches, as far as the table allows them.
        absent: One sentence for each approach that it does not.
        warnings: One sentence for each pair whose intervals do not meet.
        penalties: For each budget, what the shapes with `WRONG_SHAPES` times the optimal parameters cost.
    """

    frontier: Frontier
    approaches: tuple[Optima, ...]
    absent: tuple[str, ...]
    warnings: tuple[str, ...]
    penalties: tuple[tuple[Penalty, ...], ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Summary:
    """One fit and what follows from it.

    Args:
        fit: The fit.
        errors: Parameter name to (low, high) at `level`, over resamples.
        correlations: (p, p) of the parameters over resamples, coefficients by their logarithms.
        backtest: Rolling-origin errors.
        points: Input name to (q,), of the forecast; empty for none.
        forecast: There.
        ray: Input name to (NUM_RAY,): from the cheapest runs to the forecast, or 1.5 decades of cost beyond the runs.
        ray_forecast: Along it.
        shapes: Where budgets were asked for.
        checks: The checklist.
        level: Of all intervals.
        data_hash: SHA-256 of the fitted columns.
    """

    fit: LawFit
    errors: Mapping[str, tuple[float, float]]
    correlations: Array
    backtest: Backtest
    points: Mapping[str, Array]
    forecast: Prediction | None
    ray: Mapping[str, Array]
    ray_forecast: Prediction
    shapes: Shapes | None
    checks: tuple[Check, ...]
    level: float
    data_hash: str

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and mappings, ready for JSON; what is not finite is None."""
        fit = self.fit
        content: dict[str, Any] = {
            "law": fit.law.name,
            "formula": fit.law.formula,
            "params": dict(fit.params),
            "intervals": {name: list(ends) for name, ends in self.errors.items()},
            "objective": fit.objective,
            "objective_kind": fit.problem.objective,
            "delta": fit.problem.delta,
            "status": fit.status.value,
            "rows": fit.num_rows,
            "data_sha256": self.data_hash,
            "level": self.level,
            "certificate": {
                "gradient_norm": fit.certificate.gradient_norm,
                "second_order": fit.certificate.second_order,
                "condition": fit.certificate.condition,
                "agreement": fit.certificate.agreement,
            },
            "flags": [flag.sentence for flag in fit.flags],
            "checks": [{"code": c.code, "answer": c.answer.value, "sentence": c.sentence} for c in self.checks],
            "backtest": {"splits": self.backtest.num_splits, "mean_error": self.backtest.mean_error},
        }
        if self.forecast is not None:
            content["forecast"] = _forecast_dict(self.forecast, self.points)
        if self.shapes is not None:
            content["frontier"] = _shapes_dict(self.shapes)
        return dict(_finite(content))


def summarize(
    fit: LawFit,
    table: Table | None = None,
    *,
    points: Mapping[str, ArrayLike] | None = None,
    budgets: Sequence[float] = (),
    run: str | None = None,
    compute: str | None = None,
    level: float = 0.9,
    num_resamples: int = 400,
    progress: Progress | None = None,
) -> Summary:
    """Gather parameters with intervals, backtest, forecast, frontier and checklist of a fit.

    Args:
        fit: The fit.
        table: What it was fitted to, for columns that the law does not read.
        points: Points of a forecast, input name to (q,).
        budgets: FLOPs at which to ask for the best shape; the law must read parameters and tokens.
        run: Column that says which rows are checkpoints of one run, for approach 1.
        compute: Column of FLOPs, for approaches 1 and 2; 6 N D where there is none.
        level: Of all intervals.
        num_resamples: Refits behind intervals of parameters and shapes.
        progress: Called with the share that is done and what comes next.

    Returns:
        A `Summary`.

    Raises:
        SpecError: budgets for a law that does not read parameters and tokens. DataError: points are malformed.

    Source: limes, docs/laws.md.

    >>> import numpy as np
    >>> from limes.laws import POWER_LAW, fit_law
    >>> size = np.geomspace(1, 1000, 14)
    >>> summarize(fit_law(POWER_LAW, {"size": size, "loss": size**-0.5})).to_dict()["status"]
    'converged'
    """
    tell = progress or _quiet
    if not 0 < level < 1:
        raise SpecError(f"level is {level}; give a probability such as 0.9")
    if len(budgets):
        check_budgets(fit, budgets)
    places = fit.points(points) if points else {}
    kind = "rows" if fit.runs is None else "runs"
    tell(0.02, "resampling")
    draws = fit.bootstrap(num_resamples, generator=np.random.default_rng(0), kind=kind)
    tails = [(1 - level) / 2, (1 + level) / 2]
    errors = {name: tuple(float(end) for end in np.nanquantile(draw, tails)) for name, draw in draws.items()}
    tell(0.2, "correlations")
    correlations = fit.correlations(num_resamples)
    tell(0.35, "backtest")
    backtest = fit.backtest()
    tell(0.7, "forecast")
    ray = _ray(fit, places)
    joined = {name: np.concatenate([ray[name], places.get(name, np.empty(0))]) for name in ray}
    predicted = fit.predict(joined, level, backtest=backtest)
    tell(0.75, "frontier")
    shapes = None
    if len(budgets):
        shapes = _shapes(
            fit, table, budgets, run=run, compute=compute, level=level, num=num_resamples, backtest=backtest
        )
    tell(0.98, "checklist")
    return Summary(
        fit=fit,
        errors={name: (ends[0], ends[1]) for name, ends in errors.items()},
        correlations=correlations,
        backtest=backtest,
        points=places,
        forecast=_part(predicted, slice(NUM_RAY, None)) if places else None,
        ray=ray,
        ray_forecast=_part(predicted, slice(NUM_RAY)),
        shapes=shapes,
        checks=checklist(fit, _standard_names(table, run=run, compute=compute), points=_reached(places, shapes)),
        level=level,
        data_hash=data_hash(fit),
    )


def _reached(places: Mapping[str, Array], shapes: Shapes | None) -> dict[str, Array] | None:
    """Every point that the summary speaks of: the forecast's, and the best shapes of the budgets."""
    if shapes is None:
        return dict(places) or None
    best = {TRAINING_FLOPS.first: shapes.frontier.first, TRAINING_FLOPS.second: shapes.frontier.second}
    return {name: np.concatenate([places.get(name, np.empty(0)), best[name]]) for name in best}


def check_budgets(fit: LawFit, budgets: Sequence[float]) -> None:
    """Raise a SpecError where a frontier makes no sense for this law or these budgets."""
    if set(fit.law.input_names) != {TRAINING_FLOPS.first, TRAINING_FLOPS.second}:
        raise SpecError(
            f"a frontier needs a law in num_params and num_tokens, but {fit.law.name} reads "
            f"{', '.join(fit.law.input_names)}"
        )
    if not fit.identified or any(flag.code == "constant_column" for flag in fit.flags):
        raise SpecError(
            "these rows do not determine a compute-optimal shape: parameters and tokens must vary independently of "
            "each other (run the fit without a frontier for the checklist)"
        )
    bad = [budget for budget in budgets if not (np.isfinite(budget) and budget > 0)]
    if bad:
        raise SpecError(f"a budget of {bad[0]:g} FLOPs; give positive, finite numbers")


def data_hash(fit: LawFit) -> str:
    """SHA-256 of the fitted columns in the table's units, rounded to twelve digits, in the law's order."""
    digest = hashlib.sha256()
    columns = {**fit.problem.columns, fit.law.target: fit.problem.target}
    for name, column in columns.items():
        values = column * fit.problem.scales[name]
        digest.update(name.encode() + " ".join(f"{value:.12g}" for value in values).encode())
    return digest.hexdigest()


def _ray(fit: LawFit, places: Mapping[str, Array]) -> dict[str, Array]:
    """A straight line in logarithms (of plain inputs: in themselves) from the cheap runs' middle to the forecast."""
    problem = fit.problem
    order = np.argsort(problem.cost, kind="stable")
    cheap, dear = order[: max(len(order) // 10, 1)], order[-max(len(order) // 10, 1) :]
    steps = np.linspace(0, 1, NUM_RAY)
    ray = {}
    for column in fit.law.inputs:
        name = column.name
        values = problem.columns[name] * problem.scales[name]
        straight, back = (np.log, np.exp) if column.kind == "log" else (np.asarray, np.asarray)
        start, end = (float(np.median(straight(values[rows]))) for rows in (cheap, dear))
        if places:
            end = float(straight(places[name])[-1])
        elif column.kind == "log":
            end += RAY_DECADES * np.log(10) / max(len(fit.law.cost_names), 1) * float(name in fit.law.cost_names)
        ray[name] = back(start + steps * (end - start))
    return ray


def _part(prediction: Prediction, rows: slice) -> Prediction:
    return replace(
        prediction,
        value=prediction.value[rows],
        low=prediction.low[rows],
        high=prediction.high[rows],
        decades=prediction.decades[rows],
    )


def _standard_names(table: Table | None, **columns: str | None) -> Table | None:
    if table is None:
        return None
    named = {name: table[source] for name, source in columns.items() if source is not None and source in table}
    return {**{str(name): table[name] for name in table.keys()}, **named}  # noqa: SIM118


def _quiet(share: float, note: str) -> None:
    pass


def _shapes(
    fit: LawFit,
    table: Table | None,
    budgets: Sequence[float],
    *,
    run: str | None,
    compute: str | None,
    level: float,
    num: int,
    backtest: Backtest,
) -> Shapes:
    best = frontier(fit, budgets, level=level, num_resamples=num)
    # What a run of that shape will reach is a forecast like any other: resampling alone would be far too sure.
    shape = {TRAINING_FLOPS.first: best.first, TRAINING_FLOPS.second: best.second}
    runs = fit.predict(shape, level, backtest=backtest)
    best = replace(best, loss=runs.value, low={**best.low, "loss": runs.low}, high={**best.high, "loss": runs.high})
    if len(budgets) > 1:
        approaches = [parametric_optima(fit, np.asarray(budgets), level=level)]
        absent = []
    else:
        approaches, absent = [], ["The exponent of approach 3 needs two budgets."]
    rows = _compute_table(fit, table, run=run, compute=compute)
    try:
        approaches.append(isoflop_optima(rows, level=level, num_resamples=num))
    except DataError as error:
        absent.append(f"Approach 2: {error}.")
    if run is None:
        absent.append("Approach 1: no column says which rows are checkpoints of one run.")
    else:
        try:
            approaches.append(envelope_optima(rows, run="run", level=level, num_resamples=num))
        except DataError as error:
            absent.append(f"Approach 1: {error}.")
    return Shapes(
        frontier=best,
        approaches=tuple(approaches[::-1]),
        absent=tuple(absent),
        warnings=tuple(disagreements(approaches[::-1], budget=max(budgets), warn=False)),
        penalties=tuple(
            tuple(
                shape_penalty(fit, factor * first, float(TRAINING_FLOPS.second_at(budget, factor * first)))
                for factor in WRONG_SHAPES
            )
            for budget, first in zip(best.budget, best.first)
        ),
    )


def _compute_table(fit: LawFit, table: Table | None, *, run: str | None, compute: str | None) -> dict[str, Any]:
    """Parameters, compute, loss and run of the fitted rows, by their standard names."""
    problem = fit.problem
    size, tokens = (
        problem.columns[name] * problem.scales[name] for name in (TRAINING_FLOPS.first, TRAINING_FLOPS.second)
    )
    rows: dict[str, Any] = {
        "num_params": size,
        "compute": TRAINING_FLOPS.of(size, tokens),
        "loss": problem.target * problem.scales[fit.law.target],
    }
    for name, source in (("compute", compute), ("run", run)):
        if source is None:
            continue
        if table is None or source not in table:
            raise DataError(f"the table has no column {source!r}; name one that holds the {name}")
        rows[name] = np.asarray(table[source])[fit.rows]
    return rows


def _forecast_dict(forecast: Prediction, points: Mapping[str, Array]) -> dict[str, Any]:
    names = ("value", "low", "high", "decades")
    listed = [
        {name: float(array[k]) for name, array in points.items()}
        | {name: float(getattr(forecast, name)[k]) for name in names}
        for k in range(len(forecast.value))
    ]
    single = listed[0] if len(listed) == 1 else {"points": listed}
    return single | {"level": forecast.level, "method": forecast.method, "evidence": forecast.evidence}


def _shapes_dict(shapes: Shapes) -> dict[str, Any]:
    names = {"first": "num_params", "second": "num_tokens", "ratio": "tokens_per_param", "loss": "loss"}
    rows = []
    for row, penalties in zip(shapes.frontier.to_rows(), shapes.penalties):
        entry = {"compute": row["budget"]}
        for short, name in names.items():
            entry |= {f"{name}{end}": row[f"{short}{end}"] for end in ("", "_low", "_high")}
        wrong = {
            f"{factor:g}": {"excess_loss": p.excess, "extra_compute": p.extra_compute}
            for factor, p in zip(WRONG_SHAPES, penalties)
        }
        rows.append(entry | {"wrong_shape": wrong})
    approaches = {
        optima.approach: {
            "exponent": optima.exponent,
            "low": optima.low,
            "high": optima.high,
            "num_params": [
                {"compute": float(budget), "value": optima.num_params_at(budget)}
                | dict(zip(("low", "high"), optima.interval_at(budget)))
                for budget in shapes.frontier.budget
            ],
        }
        for optima in shapes.approaches
    }
    return {
        "budgets": rows,
        "exponent": shapes.frontier.exponent,
        "approaches": approaches,
        "absent": list(shapes.absent),
        "warnings": list(shapes.warnings),
    }


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    if isinstance(value, np.bool_ | np.integer):
        return value.item()
    return value
