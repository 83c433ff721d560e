"""What a training run leaves: losses by step, how it ended, what it took."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limes.core.status import RunStatus


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RunTrace:
    """A run from its first step, whatever interruptions there were.

    Attributes:
        status: DONE, DIVERGED, or RUNNING if it was stopped before its end.
        steps_done: Number of updates made.
        train_loss: (num_losses,) float64, loss of the batch of each step before its update; a diverged run ends with
            the loss that left the bound.
        eval_steps: (num_evals,) int64, number of updates made before each evaluation.
        eval_loss: (num_evals,) float64, validation losses.
        validation_loss: After the last step; None unless DONE.
        initial_loss: First training loss; None if it was not finite.
        diverged_step: Step whose loss was not finite or left the bound (`steps` if it was the validation loss).
        last_finite_loss: Last training loss that was finite and inside the bound; None if there is none.
        probes: "probe/number" -> (2, num_measurements) float64, steps and values.
        cpu_seconds: CPU time of this process in training, over all tries that led here.
        wall_seconds: The same on the clock.
    """

    status: RunStatus
    steps_done: int
    train_loss: NDArray[np.float64]
    eval_steps: NDArray[np.int64]
    eval_loss: NDArray[np.float64]
    validation_loss: float | None
    initial_loss: float | None
    diverged_step: int | None
    last_finite_loss: float | None
    cpu_seconds: float
    wall_seconds: float
    probes: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything that is an array, by name; probes under "probe/..."."""
        arrays: dict[str, NDArray[Any]] = {
            "train_loss": self.train_loss,
            "eval_steps": self.eval_steps,
            "eval_loss": self.eval_loss,
        }
        return arrays | {f"probe/{name}": values for name, values in self.probes.items()}
