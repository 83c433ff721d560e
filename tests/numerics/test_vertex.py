"""The minimum of a curve on a grid: exact where it must be, silent where it must not speak."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limes.numerics.vertex import VertexStatus, fit_vertex


@given(center=st.floats(-9, -3), curvature=st.floats(0.01, 10), offset=st.floats(-5, 5))
def test_exact_on_a_parabola(center: float, curvature: float, offset: float) -> None:
    grid = np.arange(-12.0, 1.0)
    vertex = fit_vertex(grid, curvature * (grid - center) ** 2 + offset, step=1.0)
    assert vertex.status is VertexStatus.FOUND
    assert vertex.x == pytest.approx(center, abs=1e-9)
    assert vertex.y == pytest.approx(offset, abs=1e-9)
    assert np.polyval(vertex.coefficients, center) == pytest.approx(offset, abs=1e-6)


def test_order_of_points_does_not_matter() -> None:
    grid = np.arange(-9.0, -2.0)
    loss = (grid + 5.7) ** 2
    shuffle = np.array([3, 0, 6, 1, 5, 2, 4])
    assert fit_vertex(grid[shuffle], loss[shuffle], step=1.0).x == fit_vertex(grid, loss, step=1.0).x


@pytest.mark.parametrize(
    ("losses", "status", "wanted"),
    [
        ([1, 2, 3, 4, 5], VertexStatus.EDGE_LOW, (-9.0,)),
        ([5, 4, 3, 2, 1], VertexStatus.EDGE_HIGH, (-3.0,)),
        ([2, 1, 2, 3, 4], VertexStatus.FOUND, (-9.0,)),
        ([4, 3, 2, 1, np.inf], VertexStatus.CLIFF, (-4.5,)),
        ([3, 1, 3, np.inf, np.nan], VertexStatus.TOO_FEW, (-9.0,)),
        ([np.inf] * 5, VertexStatus.TOO_FEW, (-9.0,)),
        ([3, 2.0, 1, 2.0, 3], VertexStatus.FOUND, ()),
        ([1.2, 1.3, 1.1, 1.3, 0.9], VertexStatus.EDGE_HIGH, (-3.0,)),
        ([1.0, 1.4, 1.3, 1.4, 1.0], VertexStatus.EDGE_LOW, (-9.0,)),
    ],
)
def test_edges_cliffs_and_what_is_wanted_next(losses: list[float], status: VertexStatus, wanted: tuple) -> None:
    vertex = fit_vertex([-8, -7, -6, -5, -4], losses, step=1.0)
    assert vertex.status is status
    assert vertex.wanted == wanted
    assert (vertex.x is None) == (status is not VertexStatus.FOUND)


def test_a_hill_between_two_valleys_is_flat_not_a_minimum() -> None:
    vertex = fit_vertex([-8, -7, -6, -5, -4], [0.5, 0.9, 0.4, 0.9, 0.5], step=1.0)
    assert vertex.status is VertexStatus.FLAT


def test_every_status_has_a_sentence() -> None:
    assert all(status.sentence.endswith(".") for status in VertexStatus)
