"""The summary of a fit: approaches 1 to 3 from checkpoints, and what is absent or refused."""

import numpy as np
import pytest

from limes.core.errors import DataError, SpecError
from limes.laws import CHINCHILLA, POWER_LAW, fit_law
from limes.laws.summary import WRONG_SHAPES, check_budgets, summarize

TRUE = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}
EXPONENT = 0.37 / 0.72


def make_curves() -> dict[str, np.ndarray]:
    """Twenty sizes, each read at the same sixteen budgets: checkpoints that follow the law."""
    size, compute = (
        grid.ravel() for grid in np.meshgrid(np.geomspace(1e7, 1e10, 20), np.geomspace(1e18, 1e21, 16), indexing="ij")
    )
    table = {"num_params": size, "num_tokens": compute / 6 / size}
    noise = 0.001 * np.random.default_rng(0).standard_normal(len(size))
    loss = CHINCHILLA.value(TRUE, table) * np.exp(noise)
    return {**table, "flops": compute, "loss": loss, "job": np.round(size)}


def test_checkpoints_give_all_three_approaches() -> None:
    table = make_curves()
    told: list[tuple[float, str]] = []
    summary = summarize(
        fit_law(CHINCHILLA, table, runs="job", num_starts=36),
        table,
        budgets=[1e21, 1e22],
        run="job",
        compute="flops",
        num_resamples=40,
        progress=lambda share, note: told.append((share, note)),
    )
    shapes = summary.shapes
    assert shapes is not None and shapes.absent == ()
    assert [optima.approach for optima in shapes.approaches] == ["envelope", "isoflop", "parametric"]
    for optima in shapes.approaches:
        assert optima.exponent == pytest.approx(EXPONENT, abs=0.05)
        low, high = optima.interval_at(1e21)
        assert low < optima.num_params_at(1e21) < high
    assert [share for share, _ in told] == sorted(share for share, _ in told)
    for penalties in shapes.penalties:
        waste = dict(zip(WRONG_SHAPES, (penalty.extra_compute for penalty in penalties)))
        assert waste[0.25] > waste[0.5] > 1 and waste[4.0] > waste[2.0] > 1
    with pytest.raises(DataError, match="no column 'trial'"):
        summarize(summary.fit, table, budgets=[1e21, 1e22], run="trial", num_resamples=2)


def test_budgets_are_refused_where_they_make_no_sense() -> None:
    size = np.geomspace(1, 1000, 14)
    with pytest.raises(SpecError, match="num_params and num_tokens"):
        check_budgets(fit_law(POWER_LAW, {"size": size, "loss": size**-0.5}), [1e21])
    table = make_curves()
    with pytest.raises(SpecError, match="-1 FLOPs"):
        check_budgets(fit_law(CHINCHILLA, table, num_starts=9), [-1.0])
