"""The compute-optimal frontier: the envelope of the curves of all widths, and the width that lies on it.

Source: arXiv:2402.01092, section 4.3; arXiv:2405.15074, Table 2. Letters: target power k^-a, eigenvalues k^-b.
"""

import numpy as np

from limes.compare.gallery.picture import NEUTRAL, Curve, Panel, Picture, Progress, Reading, power_guide
from limes.theory.scaling import (
    Frontier,
    compute_frontier,
    local_exponents,
    power_law_problem,
    scaling_exponents,
    solve_random_features,
)

A, B, NUM_MODES = 1.75, 1.5, 1e9
WIDTHS = (16, 64, 256, 1024, 4096)
LOSS, WIDTH = "exponent of the loss in compute", "exponent of the best width in compute"


def draw(*, reduced: bool, progress: Progress) -> Picture:
    """Loss against compute at several widths, and the best of all widths."""
    compute = np.geomspace(1e3, 1e7 if reduced else 1e9, 13)
    best = compute_frontier(power_law_problem(A, B, NUM_MODES), compute)
    progress(0.5)
    panel = _loss_panel(best)
    progress(1.0)
    laws = scaling_exponents(A, B, batch_noise=False)
    last = [-4, -1]
    loss = float(local_exponents(compute[last], best.loss[last])[0])
    width = -float(local_exponents(compute[last], best.num_features[last])[0])
    return Picture(
        question="How large should a network be for a given amount of compute?",
        answer=(
            f"Along the best sizes the loss falls as compute^-{loss:.3f}, and the width grows as compute^{width:.3f}.",
            "A network that is too small stops early at its floor; one that is too large is still at the start of its "
            "curve when the compute is spent.",
        ),
        panels=(panel, _width_panel(best, laws.optimal_width)),
        readings=(
            Reading(
                name=LOSS,
                measured=loss,
                expected=laws.compute,
                source="arXiv:2402.01092, (a - 1) / (1 + b); phase Ia of arXiv:2405.15074",
            ),
            Reading(
                name=WIDTH,
                measured=width,
                expected=laws.optimal_width,
                source="arXiv:2402.01092, 1 / (1 + b); phase Ia of arXiv:2405.15074",
            ),
        ),
        setting=(
            f"Random features, target power k^-{A:g}, eigenvalues k^-{B:g}, 1e9 modes, unlimited data, gradient flow; "
            "compute is width x time. Exponents over the last quarter of the range of compute."
        ),
    )


def _loss_panel(best: Frontier) -> Panel:
    curves = []
    for color, width in enumerate(WIDTHS):
        times = np.geomspace(1.0, best.compute[-1] / width, 40)
        problem = power_law_problem(A, B, NUM_MODES, num_features=float(width))
        loss = solve_random_features(problem, times).test_loss
        curves.append(Curve(label=f"width {width}", x=width * times, y=loss, color=color))
    curves.append(Curve(label="best of all widths", x=best.compute, y=best.loss, color=NEUTRAL, style="dash"))
    return Panel(
        title="Loss against compute, width by width",
        x_title="compute (width x time)",
        y_title="test loss",
        curves=tuple(curves),
        log_x=True,
        log_y=True,
        ordered=True,
    )


def _width_panel(best: Frontier, exponent: float) -> Panel:
    start = (float(best.compute[0]), float(best.num_features[0]))
    return Panel(
        title="The best width",
        x_title="compute (width x time)",
        y_title="best width",
        curves=(
            Curve(label="best width", x=best.compute, y=best.num_features, color=0, style="points"),
            power_guide(f"compute^{exponent:.3g}", best.compute, exponent=exponent, through=start),
        ),
        log_x=True,
        log_y=True,
    )
