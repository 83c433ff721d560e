"""Make a failure happen, watch its sign, cure it: how many steps of warning there are, and what the failure costs.

Source: limes, docs/diagnostics.md; the failures and where they were described: `limes.compare.failure_cases`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limes.compare.failure_cases import FAILURES, Failure, Recipe
from limes.compare.failure_run import FailureRun, run_recipe
from limes.core.errors import SpecError
from limes.core.plain import finite_or_none
from limes.measure.health import SIGNS
from limes.measure.spikes import Spike, find_spikes

Array = NDArray[np.float64]
# The loss shows a failure when its mean over so many steps is so much worse than a healthy run's on the same batches.
WINDOW, WORSE = 5, 0.1


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FailureResult:
    """A failure and its cures, for one seed.

    Attributes:
        name: Key of `FAILURES`.
        seed: Of weights and batches.
        broken: The run that fails.
        cured: The others, by remedy.
        warned: First measured step at which the sign is in danger, of a spike that of the alarm which lasts until it
            begins; infinite if there is none.
        shown: First step at which the loss shows the failure; infinite if it never does.
        spike: The highest spike of the failing run, where spikes are the harm.
    """

    name: str
    seed: int
    broken: FailureRun
    cured: Mapping[str, FailureRun]
    warned: float
    shown: float
    spike: Spike | None

    @property
    def failure(self) -> Failure:
        """What it is."""
        return FAILURES[self.name]

    @property
    def warning(self) -> float:
        """Steps from the sign to the loss; infinite where the loss never shows it, NaN where the sign never came."""
        return math.nan if math.isinf(self.warned) else self.shown - self.warned

    def cost(self, run: FailureRun) -> float:
        """What the failure is about, of one run: validation loss, highest late loss, or neurons that int8 loses."""
        if self.failure.harm == "int8":
            return run.lost_neurons
        if self.failure.harm == "spike":
            return float(run.loss[len(run.loss) // 2 :].max())
        return run.validation_loss

    def cures(self, remedy: str) -> bool:
        """Whether the remedy keeps the cost below that of the failing run."""
        return self.cost(self.cured[remedy]) < self.cost(self.broken)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, with what is not finite as null."""
        spike = self.spike
        return {
            "failure": self.name,
            "seed": self.seed,
            "sign": self.failure.sign,
            "warned_step": finite_or_none(self.warned),
            "shown_step": finite_or_none(self.shown),
            "warning_steps": finite_or_none(self.warning),
            "harm": self.failure.harm,
            "cost": finite_or_none(self.cost(self.broken)),
            "cost_with": {remedy: finite_or_none(self.cost(run)) for remedy, run in self.cured.items()},
            "validation_loss": finite_or_none(self.broken.validation_loss),
            "spike": None
            if spike is None
            else {"start": spike.start, "peak": spike.peak, "recovery_steps": spike.recovery_steps},
        }


def first_danger(run: FailureRun, sign: str) -> float:
    """Step at which the sign first reaches its danger line anywhere; infinite if it never does."""
    steps, alarm = _alarms(run, sign)
    return float(steps[alarm][0]) if alarm.any() else math.inf


def last_alarm(run: FailureRun, sign: str, *, before: float) -> float:
    """First step of the alarm that lasts, at every measurement, until a step; infinite if there is none just then."""
    steps, alarm = _alarms(run, sign)
    started = math.inf
    for step, on in reversed([pair for pair in zip(steps, alarm) if pair[0] <= before]):
        if not on:
            break
        started = float(step)
    return started


def _alarms(run: FailureRun, sign: str) -> tuple[Array, NDArray[np.bool_]]:
    level, falling = SIGNS[sign].danger, SIGNS[sign].falling
    assert level is not None, "failures have signs with a line"
    steps, worst = run.worst(sign)
    return steps, worst <= level if falling else worst >= level


def loss_shows(broken: Array, cured: Array) -> float:
    """First step at which the running mean of the loss is worse by `WORSE` than that of the cured run.

    >>> loss_shows(np.array([1.0] * 30 + [2.0] * 30), np.ones(60))
    30.0
    """
    common = min(len(broken), len(cured))
    difference = np.convolve(broken[:common] - cured[:common], np.ones(WINDOW) / WINDOW, "valid")
    worse = np.flatnonzero(~(difference <= WORSE))
    if len(worse):
        return float(worse[0] + WINDOW - 1)
    return float(len(broken)) if len(broken) < len(cured) else math.inf


def make_failure(name: str, *, seed: int = 0, on_step: Callable[[int, float], Any] | None = None) -> FailureResult:
    """Train the failing run and its cures.

    Args:
        name: Key of `FAILURES`.
        seed: Of weights and batches, the same for all of them.
        on_step: Called with step and loss of every update of every run.

    Raises:
        SpecError: The name is unknown.
    """
    if name not in FAILURES:
        raise SpecError(f"failure {name!r}: expected one of {', '.join(FAILURES)}")
    failure = FAILURES[name]
    broken = run_recipe(failure.broken, seed=seed, every=failure.every, signs=(failure.sign,), on_step=on_step)
    # Enough to see that the sign stays away: no step is to be found, which is what costs.
    rare = min(10 * failure.every, failure.broken.steps // 4)
    cured = {
        remedy: run_recipe(recipe, seed=seed, every=rare, signs=(failure.sign,), on_step=on_step)
        for remedy, recipe in cured_recipes(failure).items()
    }
    compared = next(iter(cured.values()))
    if failure.healthy is not None:
        recipe = replace(failure.broken, **failure.healthy)
        compared = run_recipe(recipe, seed=seed, every=recipe.steps, signs=(), on_step=on_step)
    spikes = find_spikes(broken.loss) if failure.harm == "spike" else []
    spike = max(spikes, key=lambda one: one.height, default=None)
    shown = _shown(failure, broken, compared, spike)
    return FailureResult(
        name=name,
        seed=seed,
        broken=broken,
        cured=cured,
        warned=first_danger(broken, failure.sign) if spike is None else last_alarm(broken, failure.sign, before=shown),
        shown=shown,
        spike=spike,
    )


def _shown(failure: Failure, broken: FailureRun, cured: FailureRun, spike: Spike | None) -> float:
    if failure.harm == "int8":
        return math.inf
    if failure.harm == "spike":
        return math.inf if spike is None else float(spike.start)
    return loss_shows(broken.loss, cured.loss)


def cured_recipes(failure: Failure) -> dict[str, Recipe]:
    """The recipe of every remedy."""
    return {remedy: replace(failure.broken, **changes) for remedy, changes in failure.remedies.items()}


def num_steps(names: Sequence[str], *, num_seeds: int) -> int:
    """Updates that all runs of these failures make together."""
    return num_seeds * sum(
        case.broken.steps * (1 + len(case.remedies) + (case.healthy is not None))
        for case in (FAILURES[name] for name in names)
    )
