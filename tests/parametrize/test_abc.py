"""The abc classification: known parametrizations, invariance under the symmetry, and its inverse."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limes.core.errors import PlanError
from limes.parametrize import PARAMETRIZATIONS, TensorFacts
from limes.parametrize.abc import LAYERS, NAMED, Desiderata, Exponents, classify_abc, solve_abc

HALF = Fraction(1, 2)
quarters = st.integers(-8, 8).map(lambda k: Fraction(k, 4))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_known_parametrizations(optimizer):
    mup, meanfield, ntk = (classify_abc(NAMED[name, optimizer], optimizer) for name in ("mup", "meanfield", "ntk"))
    for found in (mup, meanfield):
        assert found.stable and found.feature_learning and not found.lazy
        assert found.moving == LAYERS and found.output_init == HALF
    assert ntk.stable and ntk.lazy and not ntk.feature_learning
    assert ntk.r == HALF and ntk.moving == ("output",) and ntk.output_init == 0
    standard = classify_abc(NAMED["standard", optimizer], optimizer)
    assert standard.stable_init and not standard.stable_training and not standard.stable


def test_standard_training_is_lazy_with_a_learning_rate_that_falls_with_the_width():
    """Yang and Hu: standard parametrization needs lr ~ 1/n, and is then in the kernel regime."""
    plain = NAMED["standard", "sgd"]
    one = dict.fromkeys(LAYERS, Fraction(1))
    found = classify_abc(Exponents(a=plain.a, b=plain.b, c=one), "sgd")
    assert found.stable and found.lazy and found.r == HALF


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_too_small_a_rate_is_trivial(optimizer):
    plain = NAMED["mup", optimizer]
    slow = {layer: value + 1 for layer, value in plain.c.items()}
    found = classify_abc(Exponents(a=plain.a, b=plain.b, c=slow), optimizer)
    assert found.stable and found.trivial and not found.lazy


@given(
    st.lists(quarters, min_size=9, max_size=9),
    st.sampled_from(LAYERS),
    quarters,
    st.sampled_from(["sgd", "adam"]),
)
def test_the_symmetry_changes_nothing(values, layer, shift, optimizer):
    rows = [dict(zip(LAYERS, values[k : k + 3], strict=True)) for k in (0, 3, 6)]
    exponents = Exponents(a=rows[0], b=rows[1], c=rows[2])
    assert classify_abc(exponents, optimizer) == classify_abc(exponents.moved(layer, shift, optimizer), optimizer)


@given(st.lists(quarters, min_size=3, max_size=3), st.sampled_from(["sgd", "adam"]))
def test_solving_recovers_the_named_ones_in_every_form(values, optimizer):
    multipliers = dict(zip(LAYERS, values, strict=True))
    cases = {"mup": Desiderata(), "ntk": Desiderata(feature_change=HALF, output_init=Fraction(0))}
    for name, wanted in cases.items():
        found = solve_abc(wanted, optimizer=optimizer, multipliers=multipliers)
        expected = NAMED[name, optimizer]
        for layer in LAYERS:
            expected = expected.moved(layer, multipliers[layer] - expected.a[layer], optimizer)
        assert (found.a, found.b, found.c) == (expected.a, expected.b, expected.c)


def test_mean_field_is_the_maximal_update_in_its_own_form():
    for optimizer in ("sgd", "adam"):
        form = NAMED["meanfield", optimizer]
        assert solve_abc(Desiderata(), optimizer=optimizer, multipliers=form.a) == form


def test_contradictions_are_refused():
    with pytest.raises(PlanError, match="no stable exponents"):
        solve_abc(Desiderata(output_init=Fraction(0)))
    with pytest.raises(PlanError, match="must not be negative"):
        solve_abc(Desiderata(output_init=Fraction(-1)))
    with pytest.raises(PlanError, match="neither sgd nor adam"):
        classify_abc(NAMED["mup", "sgd"], "muon")
    with pytest.raises(PlanError, match="the layers are"):
        solve_abc(Desiderata(), multipliers={"first": HALF})
    with pytest.raises(PlanError, match="give them for"):
        classify_abc(Exponents(a={}, b={}, c={}))


@pytest.mark.parametrize("name", ["mup", "meanfield", "ntk"])
def test_plans_follow_the_theory(name):
    """The scales that plans use at width ratio n = 16 are the powers that the classification speaks of."""
    n = 16.0
    layers = {
        "input": TensorFacts(name="i", template="i", role="embedding", m_out=n, is_matrix=True),
        "hidden": TensorFacts(name="h", template="h", role="hidden", m_in=n, m_out=n, is_matrix=True),
        "output": TensorFacts(name="o", template="o", role="readout", m_in=n, is_matrix=True, at_output=True),
    }
    for optimizer in ("sgd", "adam"):
        exponents = NAMED[name, optimizer]
        for layer, facts in layers.items():
            scales = PARAMETRIZATIONS[name].scales(facts)
            a, b, c = (float(values[layer]) for values in (exponents.a, exponents.b, exponents.c))
            lr = scales.change / scales.gradient if optimizer == "sgd" else scales.change
            power = 2 if optimizer == "sgd" else 1
            assert scales.init == pytest.approx(n ** -(a + b))
            assert lr == pytest.approx(n ** -(c + power * a))
