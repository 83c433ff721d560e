"""Loss spikes: found against the recent past, with their height and the time to recovery.

Source: limes, docs/diagnostics.md (no standard definition exists).
Letters: r loss less the median of the window, s 1.4826 x median absolute deviation of the window.
"""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from limes.core.errors import SpecError

# A normal distribution's deviation over its median absolute deviation.
MAD_TO_STD = 1.4826


@dataclass(frozen=True, kw_only=True, slots=True)
class Spike:
    """One spike.

    Attributes:
        start: First step whose loss was too high.
        peak: Step of the highest loss so far.
        height: Excess at the peak, in robust deviations; infinite for a loss that is not finite.
        recovery_steps: Steps from `start` until the excess fell below half the threshold; None while it has not.
    """

    start: int
    peak: int
    height: float
    recovery_steps: int | None = None


class SpikeDetector:
    """Takes losses one by one, and keeps the spikes.

    Attributes:
        spikes: All so far; the last one may still be open.
        num_steps: Losses taken.
    """

    def __init__(
        self, *, window: int = 100, threshold: float = 6.0, min_history: int = 20, relative_floor: float = 1e-3
    ) -> None:
        """See `find_spikes`."""
        if not (2 <= min_history <= window and threshold > 0 and relative_floor >= 0):
            raise SpecError(
                f"window {window}, min_history {min_history}, threshold {threshold}, relative_floor {relative_floor}: "
                "expected 2 <= min_history <= window, a positive threshold and a floor of at least 0"
            )
        self.threshold, self.min_history, self.relative_floor = threshold, min_history, relative_floor
        self.spikes: list[Spike] = []
        self.num_steps = 0
        self._past: deque[float] = deque(maxlen=window)
        self._open = False

    def update(self, loss: float) -> bool:
        """Take the loss of the next step; True if it is part of a spike."""
        step, self.num_steps = self.num_steps, self.num_steps + 1
        if len(self._past) < self.min_history and math.isfinite(loss):
            self._past.append(loss)
            return False
        height = self._height(loss)
        if self._open:
            return self._go_on(step, height, loss)
        if height > self.threshold:
            self.spikes.append(Spike(start=step, peak=step, height=height))
            self._open = True
            return True
        self._past.append(loss)
        return False

    @property
    def per_thousand_steps(self) -> float:
        """Spikes per 1000 steps, so that runs of different lengths compare."""
        return 1000.0 * len(self.spikes) / self.num_steps if self.num_steps else 0.0

    def _height(self, loss: float) -> float:
        if not math.isfinite(loss):
            return math.inf
        past = np.array(self._past)
        median = float(np.median(past))
        scale = MAD_TO_STD * float(np.median(np.abs(past - median)))
        # A run that has converged has no spread left: its noise is no spike.
        return (loss - median) / max(scale, self.relative_floor * abs(median), np.finfo(float).tiny)

    def _go_on(self, step: int, height: float, loss: float) -> bool:
        spike = self.spikes[-1]
        if math.isinf(spike.height):
            # What was not finite once has no state to recover to.
            return True
        if height < self.threshold / 2:
            self.spikes[-1] = replace(spike, recovery_steps=step - spike.start)
            self._open = False
            self._past.append(loss)
            return False
        if height > spike.height:
            self.spikes[-1] = replace(spike, peak=step, height=height)
        return True


def find_spikes(
    losses: Iterable[float],
    *,
    window: int = 100,
    threshold: float = 6.0,
    min_history: int = 20,
    relative_floor: float = 1e-3,
) -> list[Spike]:
    """Spikes of a loss curve: excess over the median of the recent past, in robust deviations.

    Args:
        losses: One per step. One that is not finite is a spike of infinite height that never recovers.
        window: Steps of the past that count; those inside spikes do not enter.
        threshold: Deviations at which a spike begins; it ends below half of that.
        min_history: Losses needed before the first can be judged.
        relative_floor: The deviation is at least this share of the median.

    Returns:
        In order. Falling losses are never flagged; a loss that stays high is one spike without recovery.

    Raises:
        SpecError: A setting is out of range.

    Source: limes, docs/diagnostics.md.

    >>> curve = [1.0 + 0.01 * (-1) ** step for step in range(40)] + [3.0, 2.0, 1.0]
    >>> [(spike.start, spike.peak, spike.recovery_steps) for spike in find_spikes(curve)]
    [(40, 40, 2)]
    """
    detector = SpikeDetector(window=window, threshold=threshold, min_history=min_history, relative_floor=relative_floor)
    for loss in losses:
        detector.update(float(loss))
    return detector.spikes
