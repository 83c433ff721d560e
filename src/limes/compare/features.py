"""Random-feature learners of several widths on a power-law task: the theory, and finite ones laid over it.

Source: arXiv:2402.01092, sections 2 to 4.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from limes.core.errors import SpecError
from limes.numerics.ensemble import mean_half_width
from limes.theory.scaling import power_law_problem, simulate_random_features, solve_random_features

Array = NDArray[np.float64]
NUM_TIMES = 40
MAX_SIMULATED_MODES = 5000
LEVEL = 0.95
# Products of two contour points are as small as 1 / time^2, and float64 ends at 1e-308.
LONGEST = 1e100


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FeatureCurve:
    """One width.

    Attributes:
        num_features: None for infinitely many.
        predicted: (T,) excess test loss by the theory.
        simulated: (T,) mean over draws; None without simulation.
        half_width: (T,) of its 95 % Student-t interval; None with it.
    """

    num_features: int | None
    predicted: Array
    simulated: Array | None
    half_width: Array | None

    @property
    def covered(self) -> float | None:
        """Share of times at which the interval of the simulation holds the theory."""
        if self.simulated is None or self.half_width is None:
            return None
        return float(np.mean(np.abs(self.simulated - self.predicted) <= self.half_width))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FeatureStudy:
    """Curves over common times, the infinite width last."""

    a: float
    b: float
    num_samples: int | None
    num_modes: int
    noise_var: float
    num_draws: int
    times: Array
    curves: tuple[FeatureCurve, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "a": self.a,
            "b": self.b,
            "num_samples": self.num_samples,
            "num_modes": self.num_modes,
            "noise_var": self.noise_var,
            "num_draws": self.num_draws,
            "times": self.times.tolist(),
            "curves": [
                {
                    "num_features": curve.num_features,
                    "predicted": curve.predicted.tolist(),
                    "simulated": None if curve.simulated is None else curve.simulated.tolist(),
                    "half_width": None if curve.half_width is None else curve.half_width.tolist(),
                }
                for curve in self.curves
            ],
        }


def feature_study(
    *,
    a: float,
    b: float,
    widths: Sequence[int],
    num_samples: int | None = None,
    num_modes: int = 100_000,
    noise_var: float = 0.0,
    longest: float = 1e4,
    num_draws: int = 0,
    seed: int = 0,
    progress: Callable[[float], Any] | None = None,
) -> FeatureStudy:
    """Solve, and simulate where draws are asked for.

    Args:
        a: Decay of the target power by mode.
        b: Decay of the eigenvalues.
        widths: Numbers of features.
        num_samples: None for unlimited.
        num_modes: Of the task.
        noise_var: Of the labels.
        longest: Last time; the first is 1.
        num_draws: Of finite learners; at least 2, or 0 for none. They need samples and at most 5000 modes.
        seed: Of the draws.
        progress: Told the share of the work that is done.

    Raises:
        SpecError: The task is no task, or it cannot be simulated.
    """
    if num_draws and (num_draws < 2 or num_samples is None or num_modes > MAX_SIMULATED_MODES):
        raise SpecError(
            f"{num_draws} draws with {num_samples} samples and {num_modes} modes: a simulation needs at least 2 draws, "
            f"a number of samples and at most {MAX_SIMULATED_MODES} modes"
        )
    if not 1.0 < longest <= LONGEST:
        raise SpecError(f"longest {longest:g}: expected a time above 1, and at most {LONGEST:g}")
    times = np.geomspace(1.0, longest, NUM_TIMES)
    generator = torch.Generator().manual_seed(seed)
    curves, sizes = [], [*widths, None]
    for index, width in enumerate(sizes):
        settings: dict[str, Any] = {"noise_var": noise_var}
        settings |= {} if width is None else {"num_features": width}
        settings |= {} if num_samples is None else {"num_samples": num_samples}
        # Simulated learners need every mode on its own.
        settings |= {"num_exact": num_modes} if num_draws else {}
        problem = power_law_problem(a, b, num_modes, **settings)
        simulated = half = None
        if num_draws and width is not None:
            runs = simulate_random_features(problem, times, num_draws=num_draws, generator=generator).test_loss
            simulated, half = runs.mean(0), mean_half_width(runs, level=LEVEL)
        # Where nothing is left to learn, rounding may leave a loss below zero.
        predicted = np.maximum(solve_random_features(problem, times).test_loss, 0.0)
        curves.append(FeatureCurve(num_features=width, predicted=predicted, simulated=simulated, half_width=half))
        if progress is not None:
            progress((index + 1) / len(sizes))
    return FeatureStudy(
        a=a,
        b=b,
        num_samples=num_samples,
        num_modes=num_modes,
        noise_var=noise_var,
        num_draws=num_draws,
        times=times,
        curves=tuple(curves),
    )
