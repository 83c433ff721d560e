"""Rankings of made-up studies whose laws, tuning costs and optima are known."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from limes.compare.ranking import Ranking, rank_parametrizations
from limes.compare.shapes import efficient_shapes
from limes.compare.transfer import analyse_panels
from limes.core.errors import SpecError
from limes.spec import parse_study
from support.sweep_rows import make_rows

SIZES, GRID, NOISE = (32, 64, 128, 256, 512), range(-12, 0), 0.004


def law(flops: float, *, floor: float = 2.0, front: float = 60.0, power: float = 0.25) -> float:
    return floor + front * flops**-power


def family(name: str, *, octaves: float = 0.0, seed: int = 0, sizes=SIZES, axis: str = "width", **shape):
    """Rows of one parametrization: a valley of curvature 0.05 about an optimum that moves by `octaves` per doubling."""
    rng = np.random.default_rng([seed, *name.encode()])
    noise = {(size, k): NOISE * rng.standard_normal() for size in sizes for k in range(3)}
    rows = make_rows(
        lambda size, _: -5 + octaves * math.log2(size / sizes[0]),
        axis=axis,
        parametrization=name,
        sizes=sizes,
        grid=GRID,
    )
    for row in rows:
        flops = 1e6 * row.num_params
        loss = None if row.loss is None else row.loss - (2.0 + 10.0 / row.size) + law(flops, **shape)
        yield replace(row, flops=flops, loss=None if loss is None else loss + noise[row.size, row.seed])


def ranked(rows, *names: str, axis: str = "width", sizes=SIZES, **options) -> Ranking:
    panel = {
        "axis": axis,
        "sizes": list(sizes),
        "seeds": [3] * len(sizes),
        "parametrizations": [{"name": n} for n in names],
    }
    study = parse_study({"name": "made-up", "panels": [panel]}, name="test")
    rows = list(rows)
    return rank_parametrizations(analyse_panels(study, rows), rows, axis=axis, **options)


def test_tuning_is_paid_for_and_the_better_family_leads() -> None:
    rows = [*family("standard", octaves=-1, front=66.0), *family("mup")]
    result = ranked(rows, "standard", "mup", level=0.999)
    by_label = {(f.parametrization, f.policy): f for f in result.families}
    each, once = by_label["mup", "each size"], by_label["mup", "smallest size"]
    run = [1e6 * 12 * size**2 for size in SIZES]
    assert each.total_flops == pytest.approx([len(GRID) * flops for flops in run])
    assert once.total_flops == pytest.approx([len(GRID) * run[0] + (flops if k else 0) for k, flops in enumerate(run)])
    first = result.families[0]
    assert (first.parametrization, first.policy) == ("mup", "smallest size")
    assert [lead.other for lead in result.leads] == ["standard, tuned at each size"] and result.leads[0].holds
    budget = result.budget_flops
    truth = law(budget - len(GRID) * run[0])
    assert first.loss_at_budget.low <= truth <= first.loss_at_budget.high
    # standard: the law with front 66 on a twelfth of the budget, and the loss that both reach
    other = by_label["standard", "each size"]
    assert other.loss_at_budget.low <= law(budget / len(GRID), front=66.0) <= other.loss_at_budget.high
    needed = len(GRID) * (66.0 / (result.target_loss - 2.0)) ** 4
    spent = (60.0 / (result.target_loss - 2.0)) ** 4 + len(GRID) * run[0]
    assert result.reference == "standard, tuned at each size"
    assert first.saved.low <= 1 - spent / needed <= first.saved.high and first.saved.low > 0.5
    assert first.floor.low <= 2.0 <= first.floor.high and first.exponent.low <= 0.25 <= first.exponent.high


def test_intervals_hold_as_often_as_they_say_and_equal_families_are_not_told_apart() -> None:
    held = claimed = 0
    for seed in range(24):
        result = ranked([*family("standard", seed=seed), *family("mup", seed=seed)], "standard", "mup")
        each = next(f for f in result.families if f.parametrization == "mup" and f.policy == "each size")
        held += each.loss_at_budget.low <= law(result.budget_flops / len(GRID)) <= each.loss_at_budget.high
        claimed += result.leads[0].holds
    assert held >= stats.binom.ppf(1e-4, 24, 0.9)
    assert claimed <= stats.binom.ppf(1 - 1e-4, 24, 0.1)


def test_an_optimum_that_moves_off_the_grid_cannot_be_kept() -> None:
    rows = [replace(row, loss=None) if row.log2_lr > -6 and row.size > 64 else row for row in family("mup")]
    diverged = [replace(row, status=type(row.status).DIVERGED) if row.loss is None else row for row in rows]
    result = ranked(diverged, "mup")
    kept = next(f for f in result.families if f.policy == "smallest size")
    assert kept.loss_at_budget is None and "diverges at width 128" in kept.why_not


def test_a_family_that_gets_worse_with_size_has_no_place() -> None:
    result = ranked([*family("mup", front=-3.0), *family("completep")], "mup", "completep")
    worse = [f for f in result.families if f.parametrization == "mup"]
    assert all(f.loss_at_budget is None and "Larger is worse" in f.why_not for f in worse)
    assert result.families[0].parametrization == "completep" and result.leads == ()


def test_parametrizations_with_the_same_runs_are_one_family() -> None:
    rows = list(family("mup"))
    twins = [replace(row, parametrization="completep") for row in rows]
    result = ranked([*rows, *twins], "mup", "completep")
    assert {f.parametrization for f in result.families} == {"mup = completep"} and result.leads == ()


def test_three_sizes_make_no_law_and_bad_numbers_are_refused() -> None:
    with pytest.raises(SpecError, match="needs a loss at 4 sizes; there are 3"):
        ranked(family("mup", sizes=(32, 64, 128)), "mup", sizes=(32, 64, 128))
    with pytest.raises(SpecError, match="axis 'height' is in no panel"):
        rank_parametrizations([], [], axis="height")
    for wrong in ({"budget_flops": -1.0}, {"target_loss": float("nan")}):
        with pytest.raises(SpecError, match="positive, finite"):
            ranked(family("mup"), "mup", **wrong)
    poor = ranked(family("mup"), "mup", budget_flops=1e9).families
    assert all(f.policy == "each size" or f.loss_at_budget.value == math.inf for f in poor)


def test_efficient_shapes_are_those_of_the_law() -> None:
    def loss(width: float, depth: float) -> float:
        return 2.0 + 6.0 / width**0.7 + 0.5 / depth**0.9

    rows = []
    for axis, sizes in (("width", (32, 64, 128, 256)), ("depth", (2, 4, 8, 16))):
        for row in make_rows(lambda *_: -6.0, axis=axis, sizes=sizes, seeds=1):
            width, depth = (row.size, 2) if axis == "width" else (32, row.size)
            rows.append(
                replace(row, num_params=12 * width**2 * depth, loss=loss(width, depth) + 0.01 * (row.log2_lr + 6) ** 2)
            )
    panels = [
        {"axis": axis, "sizes": sizes, "seeds": [1] * 4, "parametrizations": [{"name": "mup"}]}
        for axis, sizes in (("width", [32, 64, 128, 256]), ("depth", [2, 4, 8, 16]))
    ]
    study = parse_study(
        {"name": "both", "panels": panels, "model": {"family": "transformer", "width": 32, "depth": 2, "head_dim": 16}},
        name="test",
    )
    (found,) = efficient_shapes(study, analyse_panels(study, rows))
    assert found.num_networks == 7 and found.block_params == 12 * 256**2 * 2
    widths = np.geomspace(4, 4096, 200001)
    depths = found.block_params / 12 / widths**2
    losses = loss(widths, depths)
    good = losses <= 1.01 * losses.min()
    ratios = depths / widths
    assert found.best == pytest.approx(ratios[np.argmin(losses)], rel=1e-2)
    assert (found.low, found.high) == pytest.approx((ratios[good].min(), ratios[good].max()), rel=1e-2)
