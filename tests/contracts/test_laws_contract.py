"""What every law of the table must do: recover itself, and not care about units or the order of rows."""

import numpy as np
import pytest

from limes.laws import LAWS, Law, fit_law

ROWS = 72


def draw_table(law: Law, *, seed: int = 0, noise: float = 0.0) -> dict[str, np.ndarray]:
    """Rows of the law's own example, drawn over the domains of its inputs."""
    rng = np.random.default_rng(seed)
    table = {}
    for column in law.inputs:
        low, high = column.domain
        u = rng.random(ROWS)
        table[column.name] = low + u * (high - low) if low <= 0 else low * (high / low) ** u
    value = law.value(law.example, table)
    error = noise * rng.standard_normal(ROWS)
    table[law.target] = value * np.exp(error) if law.scale == "log" else value + error
    return table


laws = pytest.mark.parametrize("law", LAWS.values(), ids=list(LAWS))


@laws
def test_recovers_its_own_parameters_without_noise(law: Law) -> None:
    table = draw_table(law)
    fit = fit_law(law, table)
    assert np.abs(fit.residuals).max() < 1e-6
    # parameters are known to the residual's rounding times the condition of the design
    error = 1e-6 * np.sqrt(fit.certificate.condition)
    assert {name: fit.params[name] for name in law.names} == pytest.approx(dict(law.example), rel=error, abs=error)


@laws
def test_units_change_the_parameters_and_nothing_else(law: Law) -> None:
    table = draw_table(law, noise=0.01)
    factors = {column.name: 1.0 if column.kind == "plain" else 1000.0 for column in law.inputs}
    factors[law.target] = 1.0 if law.target_kind == "plain" else 7.0
    scaled = {name: table[name] * factors[name] for name in table}
    fit, other = fit_law(law, table, num_starts=64), fit_law(law, scaled, num_starts=64)
    back = law.unit_factors(fit.params, factors)
    assert other.objective == pytest.approx(fit.objective, rel=1e-8)
    points = {name: table[name][:5] for name in law.input_names}
    moved = {name: scaled[name][:5] for name in law.input_names}
    assert other.value(moved) == pytest.approx(fit.value(points) * factors[law.target], rel=1e-5)
    if fit.status == "converged":
        expected = {name: fit.params[name] * back[name] for name in law.names}
        assert dict(other.params) == pytest.approx(expected, rel=1e-3, abs=1e-3)


@laws
def test_the_order_of_rows_does_not_matter(law: Law) -> None:
    table = draw_table(law, noise=0.01)
    order = np.random.default_rng(1).permutation(ROWS)
    shuffled = {name: column[order] for name, column in table.items()}
    fit, other = fit_law(law, table, num_starts=64), fit_law(law, shuffled, num_starts=64)
    assert other.objective == pytest.approx(fit.objective, rel=1e-8)
    assert other.residuals == pytest.approx(fit.residuals[order], abs=1e-5)


@laws
def test_parameter_names_examples_and_sources_are_complete(law: Law) -> None:
    assert len(set(law.names)) == len(law.names)
    assert law.source.where and law.formula and all(parameter.meaning for parameter in law.parameters)
    low, high = law.bounds()
    assert (low < high).all()
