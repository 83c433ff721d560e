"""What a comparison with the limit says: frozen results, with everything a page needs."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limes.spec.comparison import ComparisonSpec
from limes.theory.dynamics import DMFTResult, MLPProblem

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WidthSample:
    """The networks of one width, in the units of the theory.

    Attributes:
        width: N.
        outputs: (R, T + 1, P), f - f(0).
        losses: (R, T + 1).
        feature_kernels: (R, K, L, P, P).
        gradient_kernels: (R, K, L, P, P).
        preactivations: (R, K, L, N) of the first sample.
    """

    width: int
    outputs: Array
    losses: Array
    feature_kernels: Array
    gradient_kernels: Array
    preactivations: Array


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Convergence:
    """How the mean squared distance from the limit falls with width.

    Attributes:
        quantity: What is compared.
        widths: N.
        distance: (num_widths,) mean over networks, relative to the limit's own square.
        error: (num_widths,) its standard error.
        prefactor: Of the fitted power law.
        slope: Its power; -1 is 1 / width.
        interval: 95 % interval of the slope.
        predicted: (num_widths,) from the theory of finite width, or None.
    """

    quantity: str
    widths: tuple[int, ...]
    distance: Array
    error: Array
    prefactor: float
    slope: float
    interval: tuple[float, float]
    predicted: Array | None

    @property
    def is_one_over_width(self) -> bool:
        """The interval of the slope holds -1."""
        return self.interval[0] <= -1.0 <= self.interval[1]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LimitCheck:
    """Mean loss of one step against 1 / width, its limit, and the theory's value.

    Attributes:
        step: Number of updates made.
        widths: N.
        mean: (num_widths,) mean over networks.
        error: (num_widths,) its standard error.
        limit: a of a + b / N.
        half_width: Of its 95 % interval.
        slope: b, the bias of the mean.
        slope_error: Standard error of b.
        predicted: Loss of the infinitely wide network.
        predicted_half_width: 95 %, the solver's sampling.
        agrees: The two differ by no more than both half-widths together (in squares), each at 99 %.
    """

    step: int
    widths: tuple[int, ...]
    mean: Array
    error: Array
    limit: float
    half_width: float
    slope: float
    slope_error: float
    predicted: float
    predicted_half_width: float
    agrees: bool


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Spread:
    """Width times the variance of an output over networks.

    Attributes:
        steps: Number of updates made.
        num_samples: The first so many are averaged.
        measured: (num_widths, num_steps).
        half_width: (num_widths, num_steps), 95 %.
        predicted: (num_steps,), or None where it is not predicted; `note` says why.
        ratio: Measured over predicted, averaged over steps and the larger half of the widths, with its 95 % interval.
    """

    steps: tuple[int, ...]
    num_samples: int
    measured: Array
    half_width: Array
    predicted: Array | None
    ratio: tuple[float, float, float] | None
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GammaComparison:
    """Networks and limit at one gamma0.

    Attributes:
        gamma0: Richness.
        problem: What both are.
        theory: The infinitely wide network.
        lazy_loss: (T + 1,) loss of the lazy limit.
        samples: One per width, increasing.
        num_left_out: Networks that diverged or are unfinished.
        limits: At the middle and at the last watched step.
        convergence: Outputs, then kernels.
        spread: Of the outputs.
    """

    gamma0: float
    problem: MLPProblem
    theory: DMFTResult
    lazy_loss: Array
    samples: tuple[WidthSample, ...]
    num_left_out: int
    limits: tuple[LimitCheck, ...]
    convergence: tuple[Convergence, ...]
    spread: Spread

    @property
    def feature_movement(self) -> float:
        """Relative change of the last layer's feature kernel, in the limit."""
        depth, last = self.problem.depth, len(self.theory.loss) - 1
        first, final = self.theory.feature_kernel(depth, 0), self.theory.feature_kernel(depth, last)
        return float(np.linalg.norm(final - first) / np.linalg.norm(first))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ComparisonResult:
    """Everything that a comparison says.

    Attributes:
        spec: What was compared.
        gammas: One per gamma0, increasing.
        counts: Number of runs by status word.
    """

    spec: ComparisonSpec
    gammas: tuple[GammaComparison, ...]
    counts: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """The content of `comparison.json`: plain JSON."""
        return {"spec": self.spec.to_dict(), "counts": self.counts, "gammas": [_plain(gamma) for gamma in self.gammas]}


def _plain(gamma: GammaComparison) -> dict[str, Any]:
    spread = gamma.spread
    return {
        "gamma0": gamma.gamma0,
        "limit_loss": gamma.theory.loss.tolist(),
        "limit_loss_half_width": gamma.theory.loss_error.tolist(),
        "mean_loss": {str(sample.width): sample.losses.mean(0).tolist() for sample in gamma.samples},
        "left_out": gamma.num_left_out,
        "feature_movement": gamma.feature_movement,
        "limits": [
            {
                "step": check.step,
                "networks": check.limit,
                "half_width": check.half_width,
                "theory": check.predicted,
                "theory_half_width": check.predicted_half_width,
                "bias_times_width": check.slope,
                "agrees": check.agrees,
            }
            for check in gamma.limits
        ],
        "convergence": [
            {"quantity": fit.quantity, "slope": fit.slope, "interval": list(fit.interval)} for fit in gamma.convergence
        ],
        "spread": {
            "steps": list(spread.steps),
            "measured": spread.measured.tolist(),
            "half_width": spread.half_width.tolist(),
            "predicted": None if spread.predicted is None else spread.predicted.tolist(),
            "ratio": None if spread.ratio is None else list(spread.ratio),
            "note": spread.note,
        },
    }
