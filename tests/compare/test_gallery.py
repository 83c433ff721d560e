"""Each picture of the gallery in its reduced form: the numbers of its claim, and wrong claims that they reject."""

import functools
from dataclasses import replace

import numpy as np
import pytest

from limes.compare.gallery import (
    GALLERY,
    Picture,
    Reading,
    adaptive_kernel,
    bottlenecks,
    circle,
    covariance_sde,
    easy_hard,
    edge,
    frontier,
    kernels,
    lazy_rich,
    rank_collapse,
    resnet_depth,
)
from limes.compare.gallery.picture import points, power_guide


@functools.cache
def drawn(name: str) -> Picture:
    """The reduced picture, computed once."""
    shares: list[float] = []
    picture = GALLERY[name].draw(reduced=True, progress=shares.append)
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1.0), "the bar goes from left to right to its end"
    return picture


def assert_agrees(reading: Reading, *, wrong: float) -> None:
    """Four standard errors hold the expected number, and not a wrong one."""
    assert reading.half_width is not None and reading.expected is not None
    wide = replace(reading, half_width=2.0 * reading.half_width)
    assert wide.agrees, f"{reading.name}: {reading.measured} +- {reading.half_width}, expected {reading.expected}"
    assert not replace(wide, expected=wrong).agrees, f"{reading.name} does not tell {reading.expected} from {wrong}"


@pytest.mark.parametrize("name", [name for name, entry in GALLERY.items() if entry.study is None])
def test_picture_is_whole(name):
    picture = drawn(name)
    assert picture.answer and picture.readings and 1 <= len(picture.panels) <= 3
    for panel in picture.panels:
        for curve in panel.curves:
            assert curve.x.shape == curve.y.shape and np.isfinite(curve.y).any()
    for reading in picture.readings:
        assert np.isfinite(reading.measured) and (reading.source or reading.expected is None)


def test_lazy_rich():
    picture = drawn("lazy-rich")
    for gamma0 in lazy_rich.GAMMAS:
        moved = picture.reading(lazy_rich.MOVED.format(gamma0))
        assert_agrees(moved, wrong=1.5 * moved.expected)
    final = picture.reading(lazy_rich.LIMIT)
    assert_agrees(final, wrong=2.0 * final.expected)
    assert_agrees(picture.reading(lazy_rich.SCATTER), wrong=-1.0)


def test_kernels():
    picture = drawn("kernels")
    for kind in kernels.KINDS:
        assert_agrees(picture.reading(kernels.EXPONENT.format(kind)), wrong=-1.0)
        mean = picture.reading(kernels.MEAN.format(kind))
        # The mutant: a tangent kernel without the factor 2 of the weights' variance.
        assert_agrees(mean, wrong=0.5 * mean.expected)


def test_easy_hard():
    picture = drawn("easy-hard")
    value = {
        (task, kind): picture.reading(easy_hard.EXPONENT.format(task, kind))
        for task in easy_hard.TASKS
        for kind in easy_hard.GAMMAS
    }
    for reading in value.values():
        assert reading.measured == pytest.approx(reading.expected, abs=0.02)
    # The lazy law does not describe the rich learner of the hard task, and does that of the easy one.
    assert value["hard", "rich"].measured > value["hard", "lazy"].expected + 0.1
    assert value["easy", "rich"].measured == pytest.approx(value["easy", "lazy"].expected, abs=0.02)
    finite = picture.panels[2].curves
    for theory, networks in zip(finite[::2], finite[1::2], strict=True):
        assert np.abs(networks.y / theory.y - 1.0).max() < 0.1, "four hundred features are nearly infinitely many"
    assert finite[3].y[-1] < 0.6 * finite[1].y[-1], "rich networks of finite width are below lazy ones"


def test_pieces():
    curve = points("runs", [1.0, 2.0], [[1.0, 5.0], [3.0, 5.0]])
    assert curve.y.tolist() == [2.0, 5.0] and curve.low[0] < 0 < curve.high[0] and curve.low[1] == curve.high[1] == 5.0
    guide = power_guide("law", [1.0, 4.0], exponent=-0.5, through=(1.0, 2.0))
    assert guide.y.tolist() == [2.0, 1.0]
    reading = Reading(name="x", measured=1.0, half_width=0.1, expected=1.05)
    assert (
        reading.agrees
        and not replace(reading, expected=1.2).agrees
        and replace(reading, half_width=None).agrees is None
    )


def test_bottlenecks():
    picture = drawn("bottlenecks")
    for name in ("time", "width", "samples"):
        reading = picture.reading(bottlenecks.EXPONENT.format(name))
        assert reading.measured == pytest.approx(reading.expected, abs=0.01)
    # The walls: a narrow learner leaves the curve of the unlimited one, and ends far above it.
    free, *limited = (curve.y for curve in picture.panels[0].curves[:5])
    assert limited[0][-1] > 10 * free[-1] and limited[3][12] < 1.1 * free[12]
    simulated = picture.panels[2].curves
    for theory, points_ in zip(simulated[::2], simulated[1::2], strict=True):
        wide = 2.0 * (points_.high - points_.y)
        assert (np.abs(points_.y - theory.y) <= wide + 0.1 * theory.y).all()
    # The mutant: the theory of twice the width does not fit the narrowest learner.
    assert abs(simulated[1].y[-1] - simulated[2].y[-1]) > 2.0 * (simulated[1].high - simulated[1].y)[-1]


def test_circle():
    picture = drawn("circle")
    gain = picture.reading(circle.GAIN.format("hard"))
    # The mutant: a gain of 0, as on easy tasks.
    assert gain.measured - 2.0 * gain.half_width > 0.0, "rich networks fall faster on the hard task"
    easy = picture.reading(circle.GAIN.format("easy"))
    assert_agrees(easy, wrong=1.0)
    assert easy.measured < gain.measured
    rich = picture.reading(circle.EXPONENT.format("hard", "rich"))
    lazy = picture.reading(circle.EXPONENT.format("hard", "lazy"))
    assert abs(rich.measured - rich.expected) < abs(rich.measured - lazy.expected), "2 beta / (1 + beta), not beta"
    assert abs(lazy.measured - lazy.expected) < abs(lazy.measured - rich.expected)


def test_frontier():
    picture = drawn("frontier")
    for name in (frontier.LOSS, frontier.WIDTH):
        reading = picture.reading(name)
        assert reading.measured == pytest.approx(reading.expected, abs=0.01)
    *single, best = picture.panels[0].curves
    for curve in single:
        inside = (curve.x >= best.x[0]) & (curve.x <= best.x[-1])
        envelope = np.exp(np.interp(np.log(curve.x[inside]), np.log(best.x), np.log(best.y)))
        assert (curve.y[inside] >= 0.995 * envelope).all(), "no width lies below the best of all widths"


def test_rank_collapse():
    picture = drawn("rank-collapse")
    linear = picture.reading(rank_collapse.LINEAR)
    assert linear.measured == pytest.approx(linear.expected, rel=1e-3)
    ends = {}
    for rule in rank_collapse.RULES:
        reading = picture.reading(rank_collapse.NETWORKS.format(rule))
        ends[rule] = reading
    plain, cured = ends.values()
    # The mutant: either rule's prediction is wrong for the other.
    assert_agrees(plain, wrong=cured.expected)
    assert_agrees(cured, wrong=plain.expected)
    collapsed, kept, _ = (curve.y for curve in picture.panels[1].curves)
    assert collapsed[-1] < 1e-6 and kept[-1] > 0.1, "queries of the collapsed network get no gradient"


def test_covariance_sde():
    picture = drawn("covariance-sde")
    assert_agrees(picture.reading(covariance_sde.PATHS), wrong=1.0)
    # The mutants: the correlation of a plain network, and one that does not move.
    assert_agrees(picture.reading(covariance_sde.MEAN.format(64)), wrong=1.0)
    assert_agrees(picture.reading(covariance_sde.SPREAD.format(64)), wrong=0.0)
    plain, shaped = picture.panels[1].curves
    assert plain.y[-1] > 0.99 and shaped.y[-1] < 0.5
    law = picture.panels[0].curves[0]
    assert law.y.sum() * (law.x[1] - law.x[0]) == pytest.approx(1.0, abs=1e-6)


def test_adaptive_kernel():
    picture = drawn("adaptive-kernel")
    lazy = picture.reading(adaptive_kernel.LAZY)
    assert lazy.measured == pytest.approx(lazy.expected, abs=1e-3)
    # The mutants: the output of the fixed kernel, and its alignment.
    assert_agrees(picture.reading(adaptive_kernel.OUTPUT.format(1.0)), wrong=lazy.expected)
    fixed = picture.panels[1].curves[1].y[0]
    assert_agrees(picture.reading(adaptive_kernel.ALIGNMENT.format(1.0)), wrong=fixed)
    assert (np.diff(picture.panels[1].curves[0].y) > 0).all(), "the kernel turns further the larger gamma0"


def test_resnet_depth():
    picture = drawn("resnet-depth")
    assert picture.reading(resnet_depth.LOSS).measured == pytest.approx(-1.0, abs=0.15)
    for label in ("alpha 1/2", "alpha 1"):
        assert picture.reading(resnet_depth.KERNEL.format(label)).measured == pytest.approx(-1.0, abs=0.02)
    unscaled, half, one = (curve.y for curve in picture.panels[2].curves)
    assert unscaled[-1] > 1e4 * unscaled[0]
    assert all(0.5 < values[-1] / values[0] < 2.0 for values in (half, one))


def test_edge():
    picture = drawn("edge")
    for width in (32, 128):
        assert picture.reading(edge.LATE.format(width)).measured == pytest.approx(1.0, abs=0.1)
    assert picture.reading(edge.RISE).measured < 0.5, "twice as wide twice: the lazy rise fades"
    assert all(curve.y[-1] < 0.1 * curve.y[0] for curve in picture.panels[2].curves)
