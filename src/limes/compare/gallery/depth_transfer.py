"""Loss against learning rate over depth: no rule, branches scaled by depth^-1/2, and CompleteP (alpha = 1).

Source: arXiv:2505.01618 (CompleteP), arXiv:2309.16620 and arXiv:2310.02244 (alpha = 1/2).
"""

from collections.abc import Sequence

from limes.compare.gallery.byte_gpt import drift_reading, gpt_study, octaves, setting_of, valley_panel
from limes.compare.gallery.picture import Picture, Reading
from limes.compare.result import PanelResult
from limes.spec import StudySpec

DRIFT = "octaves by which the best learning rate moved, {}"
GAIN = "best loss at the largest depth less that at the smallest, {}"
RULES = {"mup": "no rule", "depth_mup": "alpha 1/2", "completep": "alpha 1"}


def study(reduced: bool) -> StudySpec:
    """The runs: one panel over depth at the base width."""
    sizes, seeds, steps = ((2, 8), (1, 1), 60) if reduced else ((2, 4, 8, 16), (2, 1, 1, 1), 200)
    return gpt_study(
        "gallery-depth-transfer",
        axis="depth",
        sizes=sizes,
        seeds=seeds,
        parametrizations=tuple(RULES),
        steps=steps,
        context=32 if reduced else 64,
    )


def draw(panels: Sequence[PanelResult], *, reduced: bool) -> Picture:
    """Valleys of the three rules."""
    readings = []
    gains: dict[str, float] = {}
    for result, label in zip(panels, RULES.values(), strict=True):
        expected = 0.0 if label == "alpha 1" else None
        source = "arXiv:2505.01618" if expected == 0.0 else ""
        readings.append(drift_reading(DRIFT.format(label), result, expected=expected, source=source))
        first, last = result.best_loss[0], result.best_loss[-1]
        if first is not None and last is not None:
            gains[label] = last - first
            readings.append(Reading(name=GAIN.format(label), measured=gains[label]))
    span = f"from {panels[0].sizes[0]} to {panels[0].sizes[-1]} blocks"
    moves = ", ".join(f"{octaves(result)} ({label})" for result, label in zip(panels, RULES.values(), strict=True))
    losses = ", ".join(f"{gain:+.3f} ({label})" for label, gain in gains.items())
    return Picture(
        question="Does the best learning rate survive when the network gets deeper?",
        answer=(
            f"{span.capitalize()} the best learning rate moves by {moves}.",
            f"The best loss changes by {losses} nats: without a rule for depth, more blocks need not help.",
        ),
        panels=tuple(
            valley_panel(result, title=f"{label.capitalize()} ({result.parametrization})")
            for result, label in zip(panels, RULES.values(), strict=True)
        ),
        readings=tuple(readings),
        setting=setting_of(study(reduced)),
    )
