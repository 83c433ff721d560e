"""The circle task: exponents of trained ReLU networks, lazy and rich, hard and easy, beside the theory's.

The target is sum_k k^-q cos(k theta), the kernel's eigenvalues fall as k^-2, so that s = (2 q - 1) / 2. A lazy network
loses as t^-s; one whose features move as t^-(2 s / (1 + s)) on hard tasks, s < 1, and as before on easy ones.

Source: arXiv:2409.17858, sections 4 and 5.1; docs/theory/feature_learning.md.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from limes.compare.relu_circle import BIAS_VAR, circle_points, longest_time, train_on_circle
from limes.core.errors import SpecError
from limes.numerics.ensemble import mean_half_width
from limes.theory.checks import check_memory
from limes.theory.kernels import ntk_kernel
from limes.theory.scaling import circle_task, scaling_exponents

Array = NDArray[np.float64]
LEVEL = 0.95
TIMES_PER_DECADE = 16
# Local exponents are differences over so many recorded times: half a decade.
STRIDE = 8


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CircleRun:
    """Networks of several seeds on one task in one regime.

    Attributes:
        task: "hard" or "easy".
        rich: Whether features move.
        target_decay: q.
        gamma0: Strength of feature learning.
        times: (T,) in units of the inverse largest eigenvalue at infinite width.
        loss: (seeds, T) mean squared error; it is 1 at time 0.
        lazy_loss: (T,) the sum over modes of the infinitely wide network's kernel.
        exponents: (seeds,) -d ln loss / d ln t over the window.
        lazy_exponent: The same of `lazy_loss`.
        law: The theory's exponent of this regime, for infinitely many modes.
        lazy_law: That of a lazy network.
    """

    task: str
    rich: bool
    target_decay: float
    gamma0: float
    times: Array
    loss: Array
    lazy_loss: Array
    exponents: Array
    lazy_exponent: float
    law: float
    lazy_law: float

    @property
    def exponent(self) -> float:
        """Mean over seeds."""
        return float(self.exponents.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of that mean, Student's t over seeds."""
        return mean_interval(self.exponents)

    @property
    def local(self) -> tuple[Array, Array]:
        """(n,) times and (n,) local exponents of the mean loss, over half a decade each."""
        clock = np.log(self.times)
        return np.exp(0.5 * (clock[STRIDE:] + clock[:-STRIDE])), _slopes(self.times, self.loss.mean(0))

    @property
    def transition(self) -> float | None:
        """When the loss starts to fall faster than the lazy sum over modes for good, None if it does not."""
        marks, slopes = self.local
        slower = np.flatnonzero(slopes <= _slopes(self.times, self.lazy_loss))
        if not len(slower):
            return float(marks[0])
        return float(marks[slower[-1] + 1]) if slower[-1] + 1 < len(marks) else None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CircleStudy:
    """Four runs: hard and easy, lazy and rich."""

    runs: tuple[CircleRun, ...]
    width: int
    num_points: int
    num_seeds: int
    window: tuple[float, float]

    def of(self, task: str, *, rich: bool) -> CircleRun:
        """One of them."""
        return next(run for run in self.runs if run.task == task and run.rich == rich)

    def gain(self, task: str) -> tuple[float, tuple[float, float]]:
        """Rich exponent less the lazy one, mean over pairs of equal seeds and its 95 % interval."""
        difference = self.of(task, rich=True).exponents - self.of(task, rich=False).exponents
        return float(difference.mean()), mean_interval(difference)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "width": self.width,
            "num_points": self.num_points,
            "num_seeds": self.num_seeds,
            "window": list(self.window),
            "runs": [
                {
                    "task": run.task,
                    "rich": run.rich,
                    "target_decay": run.target_decay,
                    "gamma0": run.gamma0,
                    "exponent": run.exponent,
                    "interval": list(run.interval),
                    "law": run.law,
                    "lazy_law": run.lazy_law,
                    "lazy_exponent": run.lazy_exponent,
                    "transition": run.transition,
                    "times": run.times.tolist(),
                    "loss": run.loss.tolist(),
                    "lazy_loss": run.lazy_loss.tolist(),
                }
                for run in self.runs
            ],
        }


def _slopes(times: Array, loss: Array) -> Array:
    """(n,) -d ln loss / d ln t, over half a decade each."""
    logs, clock = np.log(loss), np.log(times)
    return np.asarray(-(logs[STRIDE:] - logs[:-STRIDE]) / (clock[STRIDE:] - clock[:-STRIDE]))


def mean_interval(values: Array) -> tuple[float, float]:
    """95 % Student-t interval of a mean over seeds."""
    mean, half = float(values.mean()), float(mean_half_width(values, level=LEVEL))
    return mean - half, mean + half


def circle_modes(target_decay: float, num_points: int) -> tuple[Array, Array, Array]:
    """(P,) target with mean square 1, (P,) kernel eigenvalues at infinite width over P, (P,) target power by mode."""
    points = circle_points(num_points)
    row = ntk_kernel(points[:1], points, depth=1, activation="relu", weight_var=2.0, bias_var=BIAS_VAR)[0].numpy()
    theta = 2.0 * np.pi * np.arange(num_points) / num_points
    modes = np.arange(1, num_points // 2)
    target = (modes**-target_decay * np.cos(theta[:, None] * modes)).sum(1)
    target /= math.sqrt(float((target**2).mean()))
    eigenvalues = (np.fft.fft(row).real / num_points).clip(0.0)
    return target, eigenvalues, np.abs(np.fft.fft(target) / num_points) ** 2


def circle_study(
    *,
    hard_decay: float = 1.0,
    easy_decay: float = 1.75,
    lazy_gamma0: float = 0.02,
    rich_gamma0: float = 0.5,
    width: int = 512,
    num_points: int = 256,
    num_seeds: int = 4,
    window: tuple[float, float] = (100.0, 1000.0),
    seed: int = 0,
    progress: Callable[[float], Any] | None = None,
) -> CircleStudy:
    """Train ReLU networks with one hidden layer on both tasks in both regimes, and measure exponents of time.

    Args:
        hard_decay: q of the hard task, above 1/2 and below 3/2.
        easy_decay: q of the easy one, above 3/2.
        lazy_gamma0: Small.
        rich_gamma0: Of order 1.
        width: Hidden units.
        num_points: On the circle; half of them is the number of modes.
        num_seeds: At least 2.
        window: First and last time of the exponents, at most 50000; training ends with it.
        seed: Of all draws; the four runs start from the same weights.
        progress: Told the share of the work that is done.

    Raises:
        SpecError: A task is not what it is called, or a number is out of range.
        ConvergenceError: The window ends later than the rich networks reach.
    """
    laws = {"hard": circle_task(hard_decay), "easy": circle_task(easy_decay)}
    if wrong := [name for name, (a, b) in laws.items() if (a - 1.0 < b) != (name == "hard")]:
        raise SpecError(
            f"hard_decay {hard_decay:g}, easy_decay {easy_decay:g}: the {wrong[0]} task is none; expected the first "
            "between 0.5 and 1.5 and the second above 1.5"
        )
    if not 0 < lazy_gamma0 < rich_gamma0 < math.inf or width < 1 or num_points < 16 or num_seeds < 2:
        raise SpecError(
            f"gamma0 {lazy_gamma0:g} and {rich_gamma0:g}, width {width}, points {num_points}, seeds {num_seeds}: "
            "expected 0 < lazy < rich, at least 1 unit, 16 points and 2 seeds"
        )
    if not 1.0 < window[0] < window[1] <= longest_time():
        raise SpecError(
            f"window {window[0]:g} to {window[1]:g}: expected increasing times above 1 and at most {longest_time():g}, "
            "which is what training reaches"
        )
    # Inputs, hidden layer and gradients of all seeds at once, in float32.
    check_memory(
        f"{num_seeds} networks of width {width} on {num_points} points", numbers=num_seeds * num_points * width
    )
    times = _times(window)
    # Rich ones first: their steps shrink, so that a window out of their reach ends the study early.
    cases = [(task, rich) for rich in (True, False) for task in laws]
    runs: dict[tuple[str, bool], CircleRun] = {}
    for index, (task, rich) in enumerate(cases):
        a, b = laws[task]
        target, eigenvalues, power = circle_modes(0.5 * a, num_points)
        clock = times / eigenvalues.max()
        loss = train_on_circle(
            target,
            clock,
            width=width,
            gamma0=rich_gamma0 if rich else lazy_gamma0,
            num_seeds=num_seeds,
            generator=torch.Generator().manual_seed(seed),
            progress=_part(progress, index, len(cases)),
        )
        lazy = np.exp(-2.0 * clock[:, None] * eigenvalues) @ power
        runs[task, rich] = CircleRun(
            task=task,
            rich=rich,
            target_decay=0.5 * a,
            gamma0=rich_gamma0 if rich else lazy_gamma0,
            times=times,
            loss=loss,
            lazy_loss=lazy,
            exponents=np.array([window_exponent(times, row, window) for row in loss]),
            lazy_exponent=window_exponent(times, lazy, window),
            law=scaling_exponents(a, b, rich=rich).time,
            lazy_law=scaling_exponents(a, b).time,
        )
    return CircleStudy(
        runs=tuple(runs[task, rich] for task in laws for rich in (False, True)),
        width=width,
        num_points=num_points,
        num_seeds=num_seeds,
        window=window,
    )


def _times(window: tuple[float, float]) -> Array:
    """Recorded ones, up to the end of a window that holds enough of them for an exponent."""
    times = np.geomspace(1.0, window[1], 1 + math.ceil(TIMES_PER_DECADE * math.log10(window[1])))
    inside = int(_inside(times, window).sum())
    if inside < 3:
        raise SpecError(f"window {window[0]:g} to {window[1]:g}: holds {inside} recorded times, expected 3; widen it")
    return times


def _inside(times: Array, window: tuple[float, float]) -> NDArray[np.bool_]:
    return (times >= window[0] * (1 - 1e-9)) & (times <= window[1] * (1 + 1e-9))


def window_exponent(times: Array, loss: Array, window: tuple[float, float]) -> float:
    """-d ln loss / d ln t over a window, by least squares."""
    inside = _inside(times, window)
    return -float(np.polyfit(np.log(times[inside]), np.log(loss[inside]), 1)[0])


def _part(progress: Callable[[float], Any] | None, index: int, count: int) -> Callable[[float], Any] | None:
    return None if progress is None else lambda share: progress((index + share) / count)
