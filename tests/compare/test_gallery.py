"""Each picture of the gallery in its reduced form: the numbers of its claim, and wrong claims that they reject."""

import functools
from dataclasses import replace

import numpy as np
import pytest

from limes.compare.gallery import GALLERY, Picture, Reading, easy_hard, kernels, lazy_rich
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
