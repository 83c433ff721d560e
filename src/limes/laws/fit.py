"""Fit a scaling law to a table of runs, and ask the fit for intervals and forecasts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from limes.core.errors import DataError, SpecError
from limes.core.status import SolveStatus
from limes.laws.backtest import Backtest, run_backtest
from limes.laws.bootstrap import bootstrap_thetas
from limes.laws.draw import as_numpy
from limes.laws.flags import Certificate, Flag, certify, find_flags
from limes.laws.form import Array, Index, Law
from limes.laws.interval import Prediction, predict_interval
from limes.laws.problem import Problem, make_problem
from limes.laws.profile import Profile, profile_parameter
from limes.laws.solve import Solution, solve
from limes.laws.table import Table, numeric_columns


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LawFit:
    """A fitted law.

    Args:
        law: The form.
        params: Parameter name to value, in the table's units.
        objective: Sum over rows of the objective at the optimum, in the table's units.
        status: How the optimization ended.
        certificate: Evidence that this is the global optimum.
        flags: What the table does not determine.
        problem: Normalized table, objective and weights.
        solution: Normalized optimum.
        columns: Law's column name to the table's.
        rows: (n,) rows of the table that were used.
        runs: (n,) run number of each row, or None where rows are independent.
    """

    law: Law
    params: Mapping[str, float]
    objective: float
    status: SolveStatus
    certificate: Certificate
    flags: tuple[Flag, ...]
    problem: Problem
    solution: Solution
    columns: Mapping[str, str]
    rows: Index
    runs: Index | None

    @property
    def theta(self) -> Array:
        """(p,) the optimum in normalized units."""
        return self.solution.theta

    @property
    def num_rows(self) -> int:
        """Rows that were used."""
        return self.problem.num_rows

    @property
    def residuals(self) -> Array:
        """(n,) prediction minus observation, of logarithms where the objective uses them."""
        return self.problem.residuals(self.theta)

    def value(self, points: Mapping[str, ArrayLike]) -> Array:
        """(q,) the fitted law at some points, in the table's units."""
        return self.problem.predict(self.theta[None], self.problem.normalize(self.points(points)))[0]

    def points(self, points: Mapping[str, ArrayLike]) -> dict[str, Array]:
        """Points by the law's names or by the table's, as arrays of one length.

        Raises:
            DataError: an input is absent, not finite or not positive.
        """
        found: dict[str, Array] = {}
        for column in self.law.inputs:
            name = column.name if column.name in points else self.columns[column.name]
            if name not in points:
                raise DataError(f"points miss {column.name!r}; {self.law.name} needs {', '.join(self.law.input_names)}")
            array = np.atleast_1d(np.asarray(points[name], dtype=float))
            if not np.isfinite(array).all() or (column.kind == "log" and (array <= 0).any()):
                raise DataError(f"points have {column.name} = {array.min():g}; give finite positive numbers")
            found[column.name] = array
        return dict(zip(found, np.broadcast_arrays(*found.values())))

    def predict(
        self,
        points: Mapping[str, ArrayLike],
        level: float = 0.9,
        *,
        noise_std: float | None = None,
        method: str = "auto",
        seed: int = 0,
        backtest: Backtest | None = None,
    ) -> Prediction:
        """Forecast the target of new runs, with an interval.

        Args:
            points: Input name (the law's or the table's) to numbers or arrays.
            level: Probability that the interval should hold a new run.
            noise_std: Known standard deviation of one observation in the target's units, such as between seeds.
            method: "calibrated" (backtests on the table itself), "posterior" (an average over laws, for few rows and
                for tables that leave a direction of the parameters open), "bootstrap", or "auto", which chooses.
            seed: Of the resampling behind the interval.
            backtest: What `backtest()` returned, to save its cost when predicting again.

        Returns:
            A `Prediction`: value, low, high (q,), level, decades of extrapolation (q,).

        Raises:
            DataError: points are malformed, or vary what no row varies.
            SpecError: level outside (0, 1), or a method the table does not allow.

        Source: limes, docs/laws.md.
        """
        return predict_interval(
            self.problem,
            self.solution,
            self.points(points),
            level=level,
            noise_std=noise_std,
            method=method,
            runs=self.runs,
            seed=seed,
            identified=self.identified,
            backtest=backtest,
        )

    @property
    def identified(self) -> bool:
        """Whether the table leaves no direction of the parameters open."""
        return not {"flat_valley", "collinear_design"} & {flag.code for flag in self.flags}

    def bootstrap(
        self, num: int, *, generator: Any, kind: str = "rows", noise_std: float | None = None
    ) -> dict[str, Array]:
        """Refit resamples of the table.

        Args:
            num: How many.
            generator: numpy or torch generator.
            kind: "rows", "runs", "residual", "parametric" or "noise".
            noise_std: For "noise": standard deviation of one observation, in residual units.

        Returns:
            Parameter name to (num,), in the table's units.

        Raises:
            SpecError: num below 1, unknown kind, or one whose argument is missing.

        Source: Efron and Tibshirani 1993.
        """
        if num < 1:
            raise SpecError(f"num is {num}; give at least one resample")
        thetas = bootstrap_thetas(
            self.problem,
            self.solution.minima,
            num=num,
            generator=as_numpy(generator),
            kind=kind,
            runs=self.runs,
            noise_std=noise_std,
        )
        return self.problem.params(thetas)

    def backtest(self, *, seed: int = 0) -> Backtest:
        """Refit below rolling origins and predict the rest; what calibrated intervals rest on. See `run_backtest`."""
        return run_backtest(self.problem, extra=self.solution.minima, runs=self.runs, seed=seed)

    def correlations(self, num: int = 400, *, generator: Any = None) -> Array:
        """(p, p) correlations of the fitted parameters over resamples, coefficients by their logarithms."""
        rng = np.random.default_rng(0) if generator is None else as_numpy(generator)
        kind = "rows" if self.runs is None else "runs"
        draws = bootstrap_thetas(self.problem, self.solution.minima, num=num, generator=rng, kind=kind, runs=self.runs)
        with np.errstate(all="ignore"):
            return np.atleast_2d(np.nan_to_num(np.corrcoef(draws.T)))

    def profile(self, name: str, *, level: float = 0.9, num: int = 41) -> Profile:
        """Profile likelihood of one parameter: the other ones refitted along it. See `Profile`."""
        return profile_parameter(self.problem, self.solution, name, level=level, num=num)


def fit_law(
    law: Law,
    table: Table,
    *,
    columns: Mapping[str, str] | None = None,
    objective: str = "huber_log",
    delta: float = 1e-3,
    weights: ArrayLike | None = None,
    runs: str | None = None,
    num_starts: int = 144,
) -> LawFit:
    """Fit a law at its global optimum.

    Args:
        law: Form, such as `CHINCHILLA`.
        table: Column name to array, or a DataFrame; one row per run.
        columns: The law's column name to the table's, where they differ.
        objective: "huber_log" (Huber's loss of ln prediction - ln observation), "squares_log", "huber" or "squares".
            A law whose target may be negative drops "_log".
        delta: Where Huber's loss turns linear.
        weights: (n,) non-negative weight of each row of the table.
        runs: Column that says which rows are checkpoints of one run.
        num_starts: Starts of the optimizer.

    Returns:
        A `LawFit`.

    Raises:
        DataError: columns absent or malformed, or fewer rows than parameters. SpecError: unknown objective.

    Source: arXiv:2203.15556, Eq. 3 (objective); limes, docs/laws.md (optimizer).
    Accuracy: objective within 1e-9 relative of a local minimum; global as far as `certificate.agreement` says.

    >>> from limes.laws import POWER_LAW, fit_law
    >>> fit = fit_law(POWER_LAW, {"size": [1.0, 4.0, 16.0], "loss": [8.0, 4.0, 2.0]})
    >>> round(fit.params["A"], 6), round(fit.params["alpha"], 6)
    (8.0, 0.5)
    """
    arrays, rows = numeric_columns(table, law, columns)
    if len(rows) < len(law.parameters):
        raise DataError(
            f"{len(rows)} complete rows cannot determine the {len(law.parameters)} parameters of {law.name}; give at "
            "least that many, or a law with fewer parameters"
        )
    designs = len(np.unique(np.stack([np.asarray(arrays[name], dtype=float) for name in law.input_names]), axis=1).T)
    if designs < min(len(law.parameters), 2 * len(law.input_names) + 1):
        raise DataError(
            f"{len(rows)} rows hold only {designs} different settings of {', '.join(law.input_names)}, which cannot "
            f"determine the {len(law.parameters)} parameters of {law.name}; add runs at other sizes"
        )
    row_weights = None if weights is None else _check_weights(weights, rows)
    problem = make_problem(law, arrays, objective=objective, delta=delta, weights=row_weights)
    solution = solve(problem, num_starts=num_starts)
    certificate, status = certify(problem, solution)
    flags = find_flags(problem, solution.theta, certificate)
    if any(flag.code == "constant_column" for flag in flags):
        status = SolveStatus.ILL_CONDITIONED
    names = {name: (columns or {}).get(name, name) for name in (*law.input_names, law.target)}
    groups = None if runs is None else _run_numbers(table, runs, rows)
    return LawFit(
        law=law,
        params={name: float(value) for name, value in problem.params(solution.theta).items()},
        objective=solution.value * problem.value_factor,
        status=status,
        certificate=certificate,
        flags=flags,
        problem=problem,
        solution=solution,
        columns=names,
        rows=rows,
        runs=groups,
    )


def _check_weights(weights: ArrayLike, rows: Index) -> Array:
    array = np.asarray(weights, dtype=float)
    if array.ndim != 1 or len(array) <= rows[-1]:
        raise DataError(f"weights have shape {array.shape}; give one per row of the table")
    array = array[rows]
    if not np.isfinite(array).all() or (array < 0).any() or not array.any():
        raise DataError(f"weights range over {array.min():g} to {array.max():g}; give finite, non-negative numbers")
    return array


def _run_numbers(table: Table, name: str, rows: Index) -> Index:
    if name not in table:
        raise DataError(f"the table has no column {name!r} that says which rows belong to one run")
    return np.unique(np.asarray(table[name]).astype(str)[rows], return_inverse=True)[1].astype(np.intp)
