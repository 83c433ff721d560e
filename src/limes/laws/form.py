"""What a scaling law is: names, bounds, units and a formula, kept as data.

A law is one of two kinds. A *sum of power laws*, `sum_k c_k prod_j x_j^-a_kj`, is given by its terms; then
`ln L = logsumexp_k (z_k . theta)` with feature vectors z_k that do not depend on the parameters theta (logarithms of
coefficients, exponents), so one gradient and one exact Hessian serve the whole family. Anything else is a *curve*:
a function of parameters and columns, differentiated by complex steps.

All fits run in normalized columns (each divided by its geometric mean), and every parameter has a unit, an expression
in columns and exponents such as `loss * num_params**alpha`. That one expression is the documentation of the unit and
the rule by which the parameter goes back to the user's units, so that fits are equivariant under a change of units.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from limes.core.source import Source

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Params = Mapping[str, Any]
Columns = Mapping[str, Array]
Curve = Callable[[Params, Columns], Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """One column that a law reads.

    Args:
        name: Column name, such as "num_params".
        meaning: What it counts, in a few words.
        domain: Typical smallest and largest value; examples and tests draw from it.
        kind: "log" for a positive size whose unit is free; "linear" for a quantity with a free unit that may be zero;
            "plain" for a number without a unit (a ratio, a count of experts).
        shares: Another input with the same unit, whose normalization this column takes.
    """

    name: str
    meaning: str
    domain: tuple[float, float]
    kind: Literal["log", "linear", "plain"] = "log"
    shares: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """One parameter of a law.

    Args:
        name: As in `LawFit.params`.
        meaning: In a few words.
        example: A typical value, in the units of the inputs' domains.
        unit: Expression in column names and exponents, "1" if there is none.
        positive: Fitted as its logarithm.
        low, high: Bounds, in normalized columns.
        start: Range from which starting values are taken, in normalized columns.
    """

    name: str
    meaning: str
    example: float
    unit: str = "1"
    positive: bool = False
    low: float = -5.0
    high: float = 5.0
    start: tuple[float, float] = (0.05, 1.2)


def coefficient(
    name: str, meaning: str, *, example: float, unit: str, start: tuple[float, float] = (1e-2, 1.0)
) -> Parameter:
    """A positive factor; its logarithm is fitted. Below 1e-7 of the target's mean it counts as absent.

    Source: limes.
    """
    return Parameter(
        name=name, meaning=meaning, example=example, unit=unit, positive=True, low=1e-8, high=1e8, start=start
    )


def exponent(
    name: str,
    meaning: str,
    *,
    example: float,
    low: float = 0.0,
    high: float = 4.0,
    start: tuple[float, float] = (0.05, 1.2),
) -> Parameter:
    """A dimensionless power.

    Source: limes.
    """
    return Parameter(name=name, meaning=meaning, example=example, low=low, high=high, start=start)


@dataclass(frozen=True, kw_only=True, slots=True)
class Term:
    """coefficient * prod x^-falls * prod x^grows * prod exp(p ln x ln y).

    Args:
        coefficient: Name of the parameter in front.
        falls: Column name to the exponent by which the term falls in it.
        grows: Column name to the exponent by which it grows.
        mixed: (column, column, parameter): a factor exp(parameter * ln x * ln y).
    """

    coefficient: str
    falls: Mapping[str, str] = field(default_factory=dict)
    grows: Mapping[str, str] = field(default_factory=dict)
    mixed: tuple[tuple[str, str, str], ...] = ()

    def value(self, params: Params, columns: Columns) -> Any:
        """The term; parameters and columns broadcast against each other."""
        logarithm: Any = np.zeros(np.broadcast_shapes(*(np.shape(column) for column in columns.values())))
        for name, power in self.falls.items():
            logarithm = logarithm - params[power] * np.log(columns[name])
        for name, power in self.grows.items():
            logarithm = logarithm + params[power] * np.log(columns[name])
        for first, second, power in self.mixed:
            logarithm = logarithm + params[power] * np.log(columns[first]) * np.log(columns[second])
        return params[self.coefficient] * np.exp(logarithm)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Law:
    """A scaling law.

    Args:
        name: Identifier, as on the command line.
        formula: For people.
        source: Where the form comes from.
        inputs: Columns that it reads.
        target: Column that it predicts.
        parameters: In the order of `theta`.
        terms: For a sum of power laws; else empty.
        curve: (params, columns) -> value, for any other form. Written with numpy functions that accept complex numbers,
            on parameters of shape (B, 1) and columns of shape (n,).
        scale: "log" when residuals are differences of logarithms; "linear" for targets that may be zero or negative.
        floor: Name of the irreducible part, if there is one.
        cost: Inputs whose product orders runs from cheap to dear; "largest" in a backtest means largest there.
        target_kind: "log", "linear" or "plain", as for inputs.
    """

    name: str
    formula: str
    source: Source
    inputs: tuple[Input, ...]
    parameters: tuple[Parameter, ...]
    target: str = "loss"
    terms: tuple[Term, ...] = ()
    curve: Curve | None = None
    scale: Literal["log", "linear"] = "log"
    floor: str | None = None
    cost: tuple[str, ...] = ()
    target_kind: Literal["log", "linear", "plain"] = "log"

    def __post_init__(self) -> None:
        assert bool(self.terms) != (self.curve is not None), f"{self.name}: terms or a curve, not both"

    def __repr__(self) -> str:
        return f"Law({self.name}: {self.formula})"

    @property
    def names(self) -> tuple[str, ...]:
        """Parameter names in the order of theta."""
        return tuple(parameter.name for parameter in self.parameters)

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the columns that the law reads."""
        return tuple(column.name for column in self.inputs)

    @property
    def cost_names(self) -> tuple[str, ...]:
        """Inputs whose product orders the runs by cost."""
        return self.cost or tuple(column.name for column in self.inputs if column.kind == "log")

    @property
    def example(self) -> Mapping[str, float]:
        """Typical parameters, in the units of the inputs' domains."""
        return MappingProxyType({parameter.name: parameter.example for parameter in self.parameters})

    @property
    def exponents(self) -> tuple[int, ...]:
        """Positions in theta of what a sum of power laws is not linear in."""
        used = {term.coefficient for term in self.terms}
        return tuple(i for i, parameter in enumerate(self.parameters) if parameter.name not in used)

    def value(self, params: Params, columns: Mapping[str, Any]) -> Array:
        """The law at given parameters and inputs, in the user's units.

        Args:
            params: Every name of `names`, a number or an array that broadcasts against the columns.
            columns: Every name of `input_names`, arrays or numbers.

        Returns:
            The target, with the shape of the broadcast inputs.

        Source: limes, docs/laws.md.

        >>> from limes.laws import CHINCHILLA
        >>> bool(CHINCHILLA.value(CHINCHILLA.example, {"num_params": 7e10, "num_tokens": 1.4e12}) > 1.8)
        True
        """
        arrays = {name: np.asarray(columns[name], dtype=float) for name in self.input_names}
        if self.curve is not None:
            return np.asarray(self.curve(params, arrays))
        return np.asarray(sum(term.value(params, arrays) for term in self.terms))

    def unit_factors(self, params: Params, scales: Mapping[str, float]) -> dict[str, Any]:
        """Parameter in the user's units / parameter in columns divided by `scales` (inputs and target), by name."""
        names = {**scales, **{name: params[name] for name in self.names}}
        return {p.name: _evaluate_unit(p.unit, names) for p in self.parameters}

    def bounds(self) -> tuple[Array, Array]:
        """(p,), (p,): lowest and highest theta."""
        low = [np.log(p.low) if p.positive else p.low for p in self.parameters]
        high = [np.log(p.high) if p.positive else p.high for p in self.parameters]
        return np.array(low), np.array(high)

    def unpack(self, theta: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """(..., p) theta -> parameters by name, (...)."""
        return {p.name: np.exp(theta[..., i]) if p.positive else theta[..., i] for i, p in enumerate(self.parameters)}

    def pack(self, params: Params) -> Array:
        """Parameters by name -> (..., p) theta."""
        parts = [np.log(params[p.name]) if p.positive else np.asarray(params[p.name]) for p in self.parameters]
        return np.stack(np.broadcast_arrays(*parts), axis=-1).astype(float)


def _evaluate_unit(expression: str, names: Mapping[str, Any]) -> Any:
    # The expressions are part of a law's source code, never user input.
    return eval(expression, {"__builtins__": {}}, dict(names))
