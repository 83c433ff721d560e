"""A fitting problem: one law and one table, in normalized columns, with an objective.

Letters: n rows, p parameters, B problems solved at once, r residual, w weight.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limes.core.errors import SpecError
from limes.laws.form import Array, Law

OBJECTIVES: Mapping[str, tuple[str, bool]] = {
    "huber_log": ("log", True),
    "squares_log": ("log", False),
    "huber": ("linear", True),
    "squares": ("linear", False),
}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Problem:
    """What `solve` needs, all arrays in normalized units (divided by `scales`).

    Args:
        law: The form.
        columns: Input name to (n,).
        target: (n,).
        weights: (n,), non-negative.
        scales: Input and target name to the number by which the column was divided.
        objective: One of `OBJECTIVES`.
        delta: Where Huber's loss turns linear, in residual units (log), or in normalized target units (linear).
    """

    law: Law
    columns: Mapping[str, Array]
    target: Array
    weights: Array
    scales: Mapping[str, float]
    objective: str = "huber_log"
    delta: float = 1e-3

    @property
    def num_rows(self) -> int:
        """Rows of the table."""
        return len(self.target)

    @property
    def log_residuals(self) -> bool:
        """Residuals are differences of logarithms."""
        return OBJECTIVES[self.objective][0] == "log"

    @property
    def width(self) -> float:
        """Huber's delta, infinite for least squares."""
        return self.delta if OBJECTIVES[self.objective][1] else np.inf

    @property
    def value_factor(self) -> float:
        """Objective in the user's units / objective in normalized units."""
        return 1.0 if self.log_residuals else self.scales[self.law.target] ** 2

    @property
    def cost(self) -> Array:
        """(n,) product of the columns that order runs by cost."""
        return np.prod([self.columns[name] for name in self.law.cost_names], axis=0)

    def subset(self, rows: NDArray[Any]) -> "Problem":
        """The same problem on some rows, with the same normalization."""
        columns = {name: column[rows] for name, column in self.columns.items()}
        return replace(self, columns=columns, target=self.target[rows], weights=self.weights[rows])

    def normalize(self, columns: Mapping[str, Array]) -> dict[str, Array]:
        """Columns in the user's units -> normalized."""
        return {name: columns[name] / self.scales[name] for name in self.law.input_names}

    def predict(self, theta: Array, columns: Mapping[str, Array]) -> Array:
        """(B, p) normalized theta, normalized columns (m,) -> (B, m) target in the user's units."""
        params = {name: value[:, None] for name, value in self.law.unpack(theta).items()}
        with np.errstate(all="ignore"):
            value = self.law.value(params, columns)
        return np.asarray(value * self.scales[self.law.target])

    def decades_beyond(self, columns: Mapping[str, Array]) -> Array:
        """(m,) powers of ten by which normalized columns leave the table, in their farthest input or in cost."""
        inside = {c.name: self.columns[c.name] for c in self.law.inputs if c.kind == "log"}
        outside = {name: columns[name] for name in inside}
        if not inside:
            return np.zeros(len(next(iter(columns.values()))))
        if set(self.law.cost_names) <= set(inside):
            inside["cost"] = self.cost
            outside["cost"] = np.prod([outside[name] for name in self.law.cost_names], axis=0)
        distances = [
            np.maximum(np.log10(outside[name] / column.max()), np.log10(column.min() / outside[name]))
            for name, column in inside.items()
        ]
        return np.maximum(np.max(distances, axis=0), 0.0)

    def params(self, theta: Array) -> dict[str, Array]:
        """(..., p) normalized theta -> parameters in the user's units, by name."""
        normalized = self.law.unpack(theta)
        factors = self.law.unit_factors(normalized, self.scales)
        return {name: value * factors[name] for name, value in normalized.items()}

    def theta(self, params: Mapping[str, Any]) -> Array:
        """Parameters in the user's units -> (..., p) normalized theta; the inverse of `params`."""
        factors = self.law.unit_factors(params, self.scales)
        return self.law.pack({name: params[name] / factors[name] for name in self.law.names})

    def residuals(self, theta: Array) -> Array:
        """(p,) theta -> (n,) residuals, prediction minus observation, in the objective's scale."""
        value = self.predict(theta[None], self.columns)[0] / self.scales[self.law.target]
        with np.errstate(all="ignore"):
            return np.log(value) - np.log(self.target) if self.log_residuals else value - self.target


def make_problem(
    law: Law,
    columns: Mapping[str, Array],
    *,
    objective: str = "huber_log",
    delta: float = 1e-3,
    weights: Array | None = None,
) -> Problem:
    """Normalize clean columns (finite, positive where a logarithm needs it) and check the settings.

    Raises:
        SpecError: unknown objective, or delta not positive.
    """
    if objective not in OBJECTIVES:
        raise SpecError(f"objective {objective!r} is unknown; give one of {', '.join(OBJECTIVES)}")
    if not delta > 0:
        raise SpecError(f"delta is {delta}; give a positive number such as 1e-3")
    if law.scale == "linear":
        objective = objective.removesuffix("_log")
    kinds = {c.name: c.kind for c in law.inputs}
    scales = {c.name: _scale(columns[c.shares or c.name], kinds[c.shares or c.name]) for c in law.inputs}
    scales[law.target] = _scale(columns[law.target], law.target_kind)
    log = OBJECTIVES[objective][0] == "log"
    return Problem(
        law=law,
        columns={name: columns[name] / scales[name] for name in law.input_names},
        target=columns[law.target] / scales[law.target],
        weights=np.ones(len(columns[law.target])) if weights is None else weights,
        scales=scales,
        objective=objective,
        delta=delta if log else delta / scales[law.target],
    )


def _scale(column: Array, kind: str) -> float:
    if kind == "plain":
        return 1.0
    if kind == "log":
        return float(np.exp(np.mean(np.log(column))))
    return float(np.mean(np.abs(column))) or 1.0
