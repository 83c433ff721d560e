"""Learning-rate sensitivity of a sweep: what a wrong learning rate costs on average, diverged runs counted.

Source: arXiv:2309.14322, section 2.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from limes.core.errors import SpecError

# Steps of a grid may differ by so many octaves: rounding of learning rates written with two digits.
UNEVEN_OCTAVES = 0.05


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LrSensitivity:
    """Sensitivity with the grid that it belongs to: values from different grids do not compare.

    Attributes:
        value: Mean excess loss over the best of the grid, in units of the loss; NaN if no run trained.
        best_loss: Smallest loss; NaN if no run trained.
        best_lr: Where it was.
        lowest_lr: First learning rate of the grid.
        highest_lr: Last one.
        num_runs: Runs of the grid.
        num_diverged: Those without a finite loss.
        num_worse: Those that ended finite but above the loss at initialization.
    """

    value: float
    best_loss: float
    best_lr: float
    lowest_lr: float
    highest_lr: float
    num_runs: int
    num_diverged: int
    num_worse: int

    @property
    def trained(self) -> bool:
        """Whether a run got below the loss at initialization; without one the value means nothing."""
        return self.num_diverged + self.num_worse < self.num_runs

    @property
    def sentence(self) -> str:
        """The result for a person."""
        grid = f"{self.num_runs} learning rates from {self.lowest_lr:.3g} to {self.highest_lr:.3g}"
        if not self.trained:
            return f"no run trained: all of {grid} diverged or ended above the loss at initialization"
        return f"sensitivity {self.value:.4g} over {grid}, {self.num_diverged} diverged"


def lr_sensitivity(lrs: Sequence[float], losses: Sequence[float | None], *, initial_loss: float) -> LrSensitivity:
    """Mean over a log-spaced grid of min(loss, initial loss) - best loss.

    Args:
        lrs: (num_runs,) learning rates, positive, evenly spaced in their logarithm, each once, in any order.
        losses: (num_runs,) final losses; None, NaN or infinite for a run that diverged. It counts as the initial loss.
        initial_loss: Loss before training, the same for all.

    Raises:
        SpecError: Fewer than two runs, a learning rate that is not positive and finite, an uneven grid, or an initial
            loss that is not finite.

    Source: arXiv:2309.14322, section 2.2.

    >>> round(lr_sensitivity([0.001, 0.01, 0.1], [6.40, 6.44, 6.56], initial_loss=10.0).value, 7)
    0.0666667
    """
    rates = np.asarray(lrs, dtype=float)
    usable = bool((np.isfinite(rates) & (rates > 0)).all())
    if rates.ndim != 1 or len(rates) != len(losses) or len(rates) < 2 or not usable:
        raise SpecError(
            f"{len(losses)} losses for learning rates {list(lrs)}: expected two or more positive finite ones, and "
            "a loss for each"
        )
    if not np.isfinite(initial_loss):
        raise SpecError(f"initial_loss {initial_loss}: expected the finite loss before training")
    order = np.argsort(rates)
    steps = np.diff(np.log2(rates[order]))
    if steps.min() <= 0 or steps.max() - steps.min() > UNEVEN_OCTAVES:
        raise SpecError(
            f"learning rates {rates[order].tolist()} are not evenly spaced in their logarithm, and the mean over them "
            "would depend on where they crowd: leave out those between"
        )
    found = np.array([np.nan if loss is None else float(loss) for loss in losses])[order]
    finite = np.isfinite(found)
    counted = np.where(finite, np.minimum(np.where(finite, found, initial_loss), initial_loss), initial_loss)
    best = int(counted.argmin())
    num_worse = int((finite & (np.where(finite, found, 0.0) >= initial_loss)).sum())
    trained = num_worse + int((~finite).sum()) < len(found)
    return LrSensitivity(
        value=float((counted - counted[best]).mean()) if trained else float("nan"),
        best_loss=float(counted[best]) if trained else float("nan"),
        best_lr=float(rates[order][best]),
        lowest_lr=float(rates[order][0]),
        highest_lr=float(rates[order][-1]),
        num_runs=len(found),
        num_diverged=int((~finite).sum()),
        num_worse=num_worse,
    )
