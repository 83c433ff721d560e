"""The verdict of a study of consistency, from exponents early in training.

A parametrization is consistent if, early in training, features move alike at all sizes (power 0 of the size, within
`TOLERANCE`) and the spread of predictions over initializations dies out. Where features move less and less it is lazy,
where they move more and more, or where gradient descent meets a sharpness that grows in units of its learning
rates, it is unstable. Over depth the spread over initializations need not die out, because the
maps in front of and behind the blocks stay as wide as they are.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from limes.compare.consistency_result import Array, Growth, Observable, Verdict
from limes.compare.convergence import Power
from limes.spec.consistency import ConsistencySpec

TOLERANCE = 0.1
# Power below which a spread over initializations counts as not dying out.
SLOW = 0.3
# Power above which a sharpness in units of the learning rates counts as growing: steps will overshoot.
SHARP = 0.3


@dataclass(frozen=True, kw_only=True, slots=True)
class Slope:
    """Power of the size with which a number of each network grows, at the last early step; NaN where there is none."""

    value: float
    low: float
    high: float
    step: int

    @property
    def known(self) -> bool:
        """Whether there is one."""
        return math.isfinite(self.value)

    @property
    def farthest(self) -> float:
        """How far from zero the power may be."""
        return max(abs(self.low), abs(self.high))

    def words(self, axis: str) -> str:
        """For a sentence."""
        return f"{axis}^{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def judge(
    spec: ConsistencySpec,
    label: str,
    observables: Mapping[str, Observable],
    growths: Mapping[str, Growth],
    losses: Sequence[Array],
) -> tuple[Verdict, str, tuple[str, ...]]:
    """Verdict, sentence, and what it rests on."""
    moves = {name.removeprefix("movement, "): _early(spec, item) for name, item in growths.items() if "move" in name}
    outputs = observables["outputs"].at(spec.early_step)
    spread = outputs.spread_power if outputs is not None else None
    verdict = _verdict(spec, moves, spread)
    details = tuple(_details(spec, observables, moves, losses))
    sharp = _early(spec, growths["sharpness"]) if "sharpness" in growths else None
    # Only for gradient descent do the learning rates alone set the unit of the sharpness.
    if sharp and spec.training.optimizer.name == "sgd" and sharp.low > SHARP and verdict != "unstable":
        power = f"{sharp.words(spec.axis)} at step {sharp.step}"
        sentence = f"{label}: not consistent: sharpness, in units of the learning rates, grows as {power}."
        return "unstable", sentence, details
    return verdict, f"{label}: {_words(spec, verdict, moves, spread)}.", details


def _early(spec: ConsistencySpec, item: Growth) -> Slope:
    """Power of the size and its interval at the last early step."""
    places = [k for k, step in enumerate(item.steps) if 0 < step <= spec.early_step and np.isfinite(item.slopes[k, 0])]
    if not places:
        return Slope(value=math.nan, low=math.nan, high=math.nan, step=spec.early_step)
    value, low, high = map(float, item.slopes[places[-1]])
    return Slope(value=value, low=low, high=high, step=item.steps[places[-1]])


def _verdict(spec: ConsistencySpec, moves: Mapping[str, Slope], spread: Power | None) -> Verdict:
    if any(slope.low > TOLERANCE for slope in moves.values()):
        return "unstable"
    if any(slope.high < -TOLERANCE for slope in moves.values()):
        return "lazy"
    # A layer without a power is not known to follow.
    flat = bool(moves) and all(slope.known and slope.farthest <= TOLERANCE for slope in moves.values())
    if spec.axis == "depth":
        return "consistent" if flat else "undecided"
    if spread is not None and spread.known and spread.high < SLOW:
        return "inconsistent"
    falls = spread is not None and spread.known and spread.low > SLOW
    return "consistent" if flat and falls else "undecided"


def _words(spec: ConsistencySpec, verdict: Verdict, moves: Mapping[str, Slope], spread: Power | None) -> str:
    known = {name: slope for name, slope in moves.items() if slope.known}
    if not known:
        return "not decided: no features of this network are observed to move"
    # The layer on which the verdict rests.
    ranks: dict[str, Callable[[Slope], float]] = {"unstable": lambda s: s.low, "lazy": lambda s: -s.high}
    rank = ranks.get(verdict, lambda s: s.farthest)
    layer = max(known, key=lambda name: rank(known[name]))
    axis, growing = spec.axis, "the number of heads" if spec.axis == "heads" else spec.axis
    when, power = f"at step {known[layer].step}", known[layer].words(axis)
    falls = "an unknown power"
    if spread is not None and spread.known:
        falls = f"{axis}^{-spread.value:.2f} ({-spread.high:.2f} to {-spread.low:.2f})"
    beside = "" if axis == "depth" else f", the spread of predictions falls as {falls}"
    silent = [name for name in moves if name not in known]
    beside += f", and of {', '.join(silent)} no power is known" if silent else ""
    together = "features move alike at all depths" if axis == "depth" else "networks of all sizes follow one path"
    return {
        "consistent": f"{together} early in training: {when} features of {layer}, the farthest from power 0, move as "
        f"{power}{beside}",
        "lazy": f"not consistent: {when} features of {layer} move less and less as {growing} grows, as {power}",
        "unstable": f"not consistent: {when} features of {layer} move more and more as {growing} grows, as {power}",
        "inconsistent": f"not consistent: {when} predictions of different initializations hardly come together, their "
        f"spread falls as {falls}",
        "undecided": f"not decided: {when} features of {layer} move as {power}{beside}; more seeds or a wider range of "
        "sizes may tell",
    }[verdict]


def _details(
    spec: ConsistencySpec,
    observables: Mapping[str, Observable],
    moves: Mapping[str, Slope],
    losses: Sequence[Array],
) -> list[str]:
    lines = [
        f"Movement of {name}: power {slope.value:.2f} ({slope.low:.2f} to {slope.high:.2f})."
        for name, slope in moves.items()
        if slope.known
    ]
    for name in ("outputs", *(other for other in observables if other.startswith("feature kernel"))):
        item = observables[name].at(spec.early_step)
        if item is None:
            continue
        parts = [("spread", item.spread_power), ("mean deviation", item.mean_power)]
        words = [
            f"{what} ~ size^{-power.value:.2f} ({-power.high:.2f} to {-power.low:.2f})"
            for what, power in parts
            if power.known
        ]
        if words:
            lines.append(f"{name[:1].upper()}{name[1:]}: {', '.join(words)}.")
    first, last = losses[0][:, -1].mean(), losses[-1][:, -1].mean()
    lines.append(f"Loss at the end: {first:.4g} at {spec.axis} {spec.sizes[0]}, {last:.4g} at {spec.sizes[-1]}.")
    return lines
