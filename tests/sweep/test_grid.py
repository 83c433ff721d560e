"""Which learning rates a curve starts with, and which it asks for afterwards."""

import math
from dataclasses import replace

import pytest

from limes.core.status import RunStatus
from limes.spec import GridSpec, ParametrizationChoice, StudySpec, parse_study
from limes.store import SweepRow
from limes.sweep.grid import Curve, initial_grid, missing_points
from support.sweep_rows import make_rows

MUP = ParametrizationChoice(name="mup")


def study(**grid: float) -> StudySpec:
    panel = {
        "axis": "width",
        "sizes": [16, 32],
        "seeds": [1, 1],
        "parametrizations": [{"name": "mup"}],
        "grid": {"center": -6, "low": -10, "high": -2} | grid,
    }
    return StudySpec.model_validate({"name": "x", "model": {"family": "mlp"}, "panels": [panel]})


def row(log2_lr: float, loss: float | None, *, status: RunStatus | None = None, size: int = 16) -> SweepRow:
    return SweepRow(
        axis="width",
        parametrization="mup",
        size=size,
        seed=0,
        log2_lr=log2_lr,
        key=f"{size}{log2_lr}",
        status=status or (RunStatus.DONE if loss is not None else RunStatus.DIVERGED),
        loss=loss,
        initial_loss=1.0,
        diverged_step=None,
        last_finite_loss=None,
        cpu_seconds=1.0,
        wall_seconds=1.0,
        num_params=1,
        num_tokens=1,
        steps=1,
        flops=1.0,
        attempts=0,
        error=None,
    )


def valley(best: float, points: range | list, *, diverged_above: float = math.inf) -> list[SweepRow]:
    return [row(float(x), None if x > diverged_above else (x - best) ** 2) for x in points]


def wanted(rows: list[SweepRow], **grid: float) -> list[tuple[float, bool]]:
    return [(item.log2_lr, item.urgent) for item in missing_points(study(**grid), rows)]


def test_grid_is_centred_and_bounded():
    assert initial_grid(GridSpec(count=7, step=0.5), MUP, size=16, base_size=16) == (
        -7.5,
        -7.0,
        -6.5,
        -6.0,
        -5.5,
        -5.0,
        -4.5,
    )
    assert initial_grid(GridSpec(low=-7), MUP, size=16, base_size=16) == (-7.0, -6.0, -5.0, -4.0)


def test_slope_follows_the_label_first_then_the_name():
    grid = GridSpec(center_slope={"depth_mup": 1.0, "depth_mup(alpha=1)": -1.0})
    plain = ParametrizationChoice(name="depth_mup")
    special = ParametrizationChoice(name="depth_mup", alpha=1)
    assert initial_grid(grid, plain, size=8, base_size=2)[2] == -4.0
    assert initial_grid(grid, special, size=8, base_size=2)[2] == -8.0


@pytest.mark.parametrize("size", [24, 48, 100])
def test_sizes_share_one_lattice(size: int):
    grid = GridSpec(step=0.5, center_slope={"mup": -0.7})
    points = initial_grid(grid, MUP, size=size, base_size=16)
    assert all((point - grid.center) % 0.5 == 0 for point in points)


def test_centred_valley_wants_nothing():
    assert wanted(valley(-6.1, range(-8, -3))) == []


def test_edges_are_extended_and_urgent():
    assert wanted(valley(-9.0, range(-8, -3))) == [(-9.0, True)]
    assert wanted(valley(-3.0, range(-8, -3))) == [(-3.0, True)]


def test_window_off_centre_is_completed_without_urgency():
    assert wanted(valley(-7.1, range(-8, -3))) == [(-9.0, False)]


def test_bounds_are_respected():
    assert wanted(valley(-9.0, range(-8, -3)), low=-8.0) == []


def test_unfinished_curve_waits():
    rows = valley(-9.0, range(-8, -3))
    assert wanted([*rows[:-1], row(-4.0, None, status=RunStatus.RUNNING)]) == []
    # Another size is judged by itself.
    done = [row(float(x), (x + 9.0) ** 2, size=32) for x in range(-8, -3)]
    found = missing_points(study(), [*rows[:-1], row(-4.0, None, status=RunStatus.PENDING), *done])
    assert [item.curve for item in found] == [Curve(axis="width", parametrization="mup", size=32, seed=0)]


def test_all_diverged_asks_for_a_lower_point():
    assert wanted(valley(0.0, range(-8, -3), diverged_above=-99)) == [(-9.0, True)]


def test_quarantined_point_is_neither_a_loss_nor_asked_for_again():
    rows = valley(-4.0, range(-8, -3))
    rows[-1] = row(-4.0, None, status=RunStatus.QUARANTINED)
    assert wanted(rows) == []
    assert wanted([row(-6.0, None, status=RunStatus.QUARANTINED)]) == []


def test_extension_converges_on_any_valley():
    for best in (-9.4, -8.0, -5.5, -2.2):
        points = list(range(-8, -3))
        for _ in range(20):
            new = [x for x, _ in wanted(valley(best, points), low=-16.0, high=4.0)]
            if not new:
                break
            points += [int(x) for x in new]
        lowest = min(points, key=lambda x: (x - best) ** 2)
        assert lowest - 2 in points and lowest + 2 in points
        assert len(points) <= 5 + abs(lowest + 6) + 1


def test_the_largest_size_is_also_tried_at_the_smallest_optimum() -> None:
    """Else the regret of keeping the small optimum would be a guess; one seed, and only when all is finished."""
    panel = {
        "axis": "width",
        "sizes": [32, 256],
        "seeds": [1, 2],
        "parametrizations": [{"name": "standard"}],
        "grid": {"center": -6, "center_slope": {"standard": -1.0}},
    }
    bridge = parse_study({"name": "bridge", "panels": [panel]}, name="test")
    small = make_rows(lambda size, seed: -5.9, parametrization="standard", sizes=(32,), seeds=1, grid=range(-8, -3))
    large = make_rows(lambda size, seed: -9.0, parametrization="standard", sizes=(256,), seeds=2, grid=range(-11, -6))
    wanted = missing_points(bridge, small + large)
    assert [(item.curve.size, item.curve.seed, item.log2_lr) for item in wanted] == [(256, 0, -6.0), (256, 0, -5.0)]
    pending = [replace(row, status=RunStatus.PENDING, loss=None) for row in large[:1]]
    assert missing_points(bridge, small + pending + large[1:]) == []
