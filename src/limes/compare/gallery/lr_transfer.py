"""Loss against learning rate over width: under standard training the best one falls, under muP it stays.

Source: arXiv:2203.03466, Figure 1.
"""

import math
from collections.abc import Sequence

from limes.compare.gallery.byte_gpt import drift_reading, gpt_study, octaves, optimum_panel, setting_of, valley_panel
from limes.compare.gallery.picture import Picture, Reading
from limes.compare.result import PanelResult
from limes.spec import StudySpec

DRIFT = "octaves by which the best learning rate moved, {}"
REGRET = "loss lost at the largest width by keeping the smallest one's learning rate, {}"


def study(reduced: bool) -> StudySpec:
    """The runs: one panel over width."""
    sizes, seeds, steps = ((32, 64, 128), (1, 1, 1), 60) if reduced else ((32, 64, 128, 192), (2, 2, 1, 1), 200)
    return gpt_study(
        "gallery-lr-transfer",
        axis="width",
        sizes=sizes,
        seeds=seeds,
        parametrizations=("standard", "mup"),
        steps=steps,
        context=32 if reduced else 64,
        # Known to fall about so; a wrong guess only costs runs.
        center_slope={"standard": -1.0},
    )


def draw(panels: Sequence[PanelResult], *, reduced: bool) -> Picture:
    """Valleys of both parametrizations, and where their bottoms lie."""
    standard, mup = panels
    growth = math.log2(mup.sizes[-1] / mup.sizes[0])
    readings = [
        drift_reading(
            DRIFT.format("standard"), standard, expected=-growth, source="arXiv:2203.03466: 1 / width (Adam)"
        ),
        drift_reading(DRIFT.format("muP"), mup, expected=0.0, source="arXiv:2203.03466"),
    ]
    readings += [
        Reading(name=REGRET.format(label), measured=result.transfer_regret)
        for label, result in (("standard", standard), ("muP", mup))
        if result.transfer_regret is not None
    ]
    span = f"from width {mup.sizes[0]} to {mup.sizes[-1]}"
    return Picture(
        question="Does the best learning rate survive when the network gets wider?",
        answer=(
            f"Under standard training it moves by {octaves(standard)} {span}; under muP by {octaves(mup)}.",
            "So a learning rate tuned on the small network is wrong for the big one, unless each tensor's own follows "
            "the rule of its role.",
        ),
        panels=(
            valley_panel(standard, title="Standard parametrization"),
            valley_panel(mup, title="muP"),
            optimum_panel((standard, mup), title="Where the valleys lie", guides={"1 / width": -1.0, "no change": 0.0}),
        ),
        readings=tuple(readings),
        setting=setting_of(study(reduced)),
    )
