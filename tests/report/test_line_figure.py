"""Curves of a page: what a stroke or an axis would leave out is still seen."""

import numpy as np
import pytest

from limes.report.dynamics import Line, line_figure


@pytest.mark.parametrize(
    ("values", "log_y", "mode"),
    [
        ([1.0, 2.0, 3.0], False, "lines"),
        ([1.0], False, "lines+markers"),
        ([1.0, np.nan, 3.0, 4.0], False, "lines+markers"),
        # Zero has no place on a logarithmic axis: its neighbour stands alone.
        ([1.0, 0.0, 3.0, 4.0], True, "lines+markers"),
        ([1.0, 2.0, np.nan, 4.0, 5.0], False, "lines"),
    ],
)
def test_a_point_without_neighbours_is_drawn(values, log_y, mode):
    line = Line(label="loss", x=np.arange(float(len(values))), y=np.array(values), color="#c84b00")
    figure = line_figure([line], title="Loss", name="loss", x_title="step", y_title="loss", log_y=log_y)
    assert figure.plot.data[0].mode == mode
