"""What a study of consistency says: frozen results, with everything a page needs."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from limes.compare.bottleneck import Crossover
from limes.compare.convergence import Convergence, Power
from limes.spec.consistency import ConsistencySpec

Array = NDArray[np.float64]
Verdict = Literal["consistent", "lazy", "unstable", "inconsistent", "undecided"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Observable:
    """One measured vector on networks of all sizes, along training.

    Attributes:
        name: What it is.
        steps: (K,) updates made.
        found: One per step; None where nothing has moved yet, or too few networks are left.
        means: (K, S, ...) averages over the networks of each size, in the shape that was recorded.
        limit: (K, ...) the theory's, or None where the largest size stands for it.
        distance: (K, S) of the average from the largest size's: for kernels 1 - centred alignment, for pre-activations
            the Wasserstein-1 distance in units of their deviation; None for others.
    """

    name: str
    steps: tuple[int, ...]
    found: tuple[Convergence | None, ...]
    means: Array
    limit: Array | None = None
    distance: Array | None = None

    def powers(self, kind: Literal["spread_power", "mean_power", "deviation_power"]) -> list[Power]:
        """Of every step; unknown ones where there is none."""
        unknown = Power(value=math.nan, low=math.nan, high=math.nan, why="nothing has moved")
        return [unknown if item is None else getattr(item, kind) for item in self.found]

    def at(self, step: int) -> Convergence | None:
        """At the last measured step up to `step`."""
        known = [item for when, item in zip(self.steps, self.found, strict=True) if when <= step and item is not None]
        return known[-1] if known else None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Growth:
    """A positive number of each network against its size: sharpness, or how far features have moved.

    Attributes:
        name: What it is.
        steps: (K,).
        means: (K, S) geometric means over networks.
        slopes: (K, 3) power of the size and its interval; NaN where there is none.
    """

    name: str
    steps: tuple[int, ...]
    means: Array
    slopes: Array


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Agreement:
    """Predictions of networks against each other, (K, S) each.

    Attributes:
        with_largest: Share of examples on which the average network of a size predicts what the largest does.
        between_seeds: Share on which two networks of a size predict the same.
        single: Mean loss of one network on these examples.
        ensemble: Loss of the average prediction of all networks of a size.
    """

    with_largest: Array
    between_seeds: Array
    single: Array
    ensemble: Array


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PathResult:
    """One parametrization.

    Attributes:
        label: Its name.
        verdict: Whether networks of all sizes follow one path.
        sentence: The verdict in words.
        details: What it rests on.
        steps: (K,) measured steps.
        losses: For each size (R, K) loss on the fixed batch.
        curves: For each size (steps,) mean training loss; empty where no run was finished.
        observables: By name.
        growths: By name.
        agreement: None for a regression.
        crossovers: Where the common path ends, for every size but the largest.
        note: How the theory's limit was used, or why it was not.
        num_left_out: Networks that diverged or failed.
    """

    label: str
    verdict: Verdict
    sentence: str
    details: tuple[str, ...]
    steps: tuple[int, ...]
    losses: tuple[Array, ...]
    curves: tuple[Array, ...]
    observables: dict[str, Observable]
    growths: dict[str, Growth]
    agreement: Agreement | None
    crossovers: tuple[Crossover, ...]
    note: str
    num_left_out: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ConsistencyResult:
    """Everything that a study says.

    Attributes:
        spec: What was studied.
        paths: One per parametrization that has enough networks.
        missing: Parametrizations without, and why.
        counts: Number of runs by status word.
        loss_unit: Of the losses.
    """

    spec: ConsistencySpec
    paths: tuple[PathResult, ...]
    missing: tuple[str, ...]
    counts: dict[str, int]
    loss_unit: str

    @property
    def answer(self) -> tuple[str, ...]:
        """One sentence for each parametrization."""
        return (*(path.sentence for path in self.paths), *self.missing)

    def to_dict(self) -> dict[str, Any]:
        """The content of `consistency.json`: plain JSON."""
        return {
            "spec": self.spec.to_dict(),
            "counts": self.counts,
            "missing": list(self.missing),
            "parametrizations": [_path(path) for path in self.paths],
        }


def _path(path: PathResult) -> dict[str, Any]:
    return {
        "label": path.label,
        "verdict": path.verdict,
        "sentence": path.sentence,
        "details": list(path.details),
        "note": path.note,
        "ends_of_the_path": [
            {"size": item.size, "step": _finite(item.time), "low": _finite(item.low), "high": _finite(item.high)}
            for item in path.crossovers
        ],
        "left_out": path.num_left_out,
        "steps": list(path.steps),
        "probe_loss": [_plain(group.mean(0)) for group in path.losses],
        "observables": {name: _observable(item) for name, item in path.observables.items()},
        "growth": {
            name: {"means": _plain(item.means), "slopes": _plain(item.slopes)} for name, item in path.growths.items()
        },
    }


def _observable(item: Observable) -> dict[str, Any]:
    kinds: tuple[Literal["spread_power", "mean_power", "deviation_power"], ...] = (
        "spread_power",
        "mean_power",
        "deviation_power",
    )
    found: dict[str, Any] = {
        kind: [_plain(np.array([power.value, power.low, power.high])) for power in item.powers(kind)] for kind in kinds
    }
    values = {
        name: [None if one is None else _plain(getattr(one, name)) for one in item.found]
        for name in ("spread", "mean_deviation", "noise", "deviation")
    }
    return {**found, **values}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _plain(values: Array) -> Any:
    if values.ndim > 1:
        return [_plain(row) for row in values]
    return [float(value) if math.isfinite(value) else None for value in values]
