"""The verdict of a study of consistency, from exponents early in training.

A parametrization is consistent if, early in training, features move alike at all sizes (power 0 of the size, within
`TOLERANCE`) and the spread of predictions over initializations dies out. Where features move less and less it is lazy,
where they move more and more, or where gradient descent meets a sharpness that grows in units of its learning
rates, it is unstable. Over depth the spread over initializations need not die out, because the
maps in front of and behind the blocks stay as wide as they are.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from limes.compare.consistency_result import Array, Growth, Observable, Verdict
from limes.compare.convergence import Power
from limes.spec.consistency import ConsistencySpec

TOLERANCE = 0.1
# Power below which a spread over initializations counts as not dying out.
SLOW = 0.3
# Power above which a sharpness in units of the learning rates counts as growing: steps will overshoot.
SHARP = 0.3


def judge(
    spec: ConsistencySpec,
    label: str,
    observables: Mapping[str, Observable],
    growths: Mapping[str, Growth],
    losses: Sequence[Array],
) -> tuple[Verdict, str, tuple[str, ...]]:
    """Verdict, sentence, and what it rests on."""
    moves = {name.removeprefix("movement, "): _early(spec, item) for name, item in growths.items() if "move" in name}
    known = {name: slope for name, slope in moves.items() if math.isfinite(slope[0])}
    outputs = observables["outputs"].at(spec.early_step)
    spread = outputs.spread_power if outputs is not None else None
    verdict = _verdict(spec, known, spread)
    sharp = _early(spec, growths["sharpness"]) if "sharpness" in growths else (math.nan,) * 3
    # Only for gradient descent do the learning rates alone set the unit of the sharpness.
    if spec.training.optimizer.name == "sgd" and sharp[1] > SHARP and verdict != "unstable":
        power = f"{spec.axis}^{sharp[0]:.2f} ({sharp[1]:.2f} to {sharp[2]:.2f})"
        sentence = f"{label}: not consistent: sharpness, in units of the learning rates, grows as {power}."
        return "unstable", sentence, tuple(_details(spec, observables, known, losses))
    return verdict, _sentence(spec, label, verdict, known, spread), tuple(_details(spec, observables, known, losses))


def _early(spec: ConsistencySpec, item: Growth) -> tuple[float, float, float]:
    """Power of the size and its interval at the last early step."""
    places = [k for k, step in enumerate(item.steps) if 0 < step <= spec.early_step and np.isfinite(item.slopes[k, 0])]
    if not places:
        places = [k for k in range(len(item.steps)) if np.isfinite(item.slopes[k, 0])][:1]
    if not places:
        return math.nan, math.nan, math.nan
    slope, low, high = item.slopes[places[-1]]
    return float(slope), float(low), float(high)


def _verdict(spec: ConsistencySpec, moves: Mapping[str, tuple[float, float, float]], spread: Power | None) -> Verdict:
    if any(low > TOLERANCE for _, low, _ in moves.values()):
        return "unstable"
    if any(high < -TOLERANCE for _, _, high in moves.values()):
        return "lazy"
    flat = bool(moves) and all(low >= -TOLERANCE and high <= TOLERANCE for _, low, high in moves.values())
    if spec.axis == "depth":
        return "consistent" if flat else "undecided"
    if spread is not None and spread.known and spread.high < SLOW:
        return "inconsistent"
    falls = spread is not None and spread.known and spread.low > SLOW
    return "consistent" if flat and falls else "undecided"


def _sentence(
    spec: ConsistencySpec,
    label: str,
    verdict: Verdict,
    moves: Mapping[str, tuple[float, float, float]],
    spread: Power | None,
) -> str:
    if not moves:
        return f"{label}: not decided: no features of this network are observed."
    axis, growing = spec.axis, "the number of heads" if spec.axis == "heads" else spec.axis
    worst = max(moves.values(), key=lambda slope: abs(slope[0]), default=(math.nan,) * 3)
    power = f"{axis}^{worst[0]:.2f} ({worst[1]:.2f} to {worst[2]:.2f})"
    falls = f"{axis}^{-spread.value:.2f}" if spread is not None and spread.known else "an unknown power"
    words = {
        "consistent": f"networks of all sizes follow one path early in training: features move as {power}"
        + ("" if spec.axis == "depth" else f", and the spread of predictions falls as {falls}"),
        "lazy": f"not consistent: features move less and less as {growing} grows, as {power}",
        "unstable": f"not consistent: features move more and more as {growing} grows, as {power}",
        "inconsistent": "not consistent: predictions of different initializations do not come together, they "
        f"differ as {falls}",
        "undecided": f"not decided: features move as {power}, the spread of predictions falls as {falls}; more seeds "
        "or a wider range of sizes would tell",
    }
    return f"{label}: {words[verdict]}."


def _details(
    spec: ConsistencySpec,
    observables: Mapping[str, Observable],
    moves: Mapping[str, tuple[float, float, float]],
    losses: Sequence[Array],
) -> list[str]:
    lines = [f"Movement of {name}: power {s:.2f} ({low:.2f} to {high:.2f})." for name, (s, low, high) in moves.items()]
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
