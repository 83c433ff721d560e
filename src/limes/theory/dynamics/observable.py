"""What a finite network is watched for: an output, the loss, or an entry of a kernel, at given times."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from limes.core.errors import SpecError
from limes.theory.dynamics.result import DMFTResult

KINDS = ("output", "loss", "feature", "gradient")


@dataclass(frozen=True, kw_only=True, slots=True)
class Observable:
    """One number of a training run.

    Args:
        kind: "output" f_sample(time), "loss" at `time`, "feature" or "gradient" for the entry (sample, other) of that
            kernel of `layer` between `time` and `other_time`.
        time: Recorded time.
        sample: Row: training samples first, then held-out ones.
        other: Column of a kernel.
        layer: Hidden layer of a kernel, from 1.
        other_time: Second time of a kernel; None is `time`.
    """

    kind: str
    time: int
    sample: int = 0
    other: int = 0
    layer: int = 1
    other_time: int | None = None

    @property
    def second_time(self) -> int:
        """`other_time`, or `time`."""
        return self.time if self.other_time is None else self.other_time

    def of(self, result: DMFTResult, run: int = 0) -> float:
        """Its value in one randomization of a result, or in a trained network."""
        trajectory, columns = result.trajectories[run], result.columns
        outputs = trajectory.outputs[self.time, :, 0]
        if self.kind == "output":
            return float(outputs[self.sample])
        if self.kind == "loss":
            return float(0.5 * np.mean((outputs - columns.targets[:, 0])[: columns.num_train] ** 2))
        stores = trajectory.features if self.kind == "feature" else trajectory.gradients
        return float(stores[self.layer - 1].kernel(self.time, self.second_time)[self.sample, self.other])

    def check(self, problem: Any) -> None:
        """The observable exists in `problem`.

        Raises:
            SpecError: It does not.
        """
        if self.kind not in KINDS:
            raise SpecError(f"kind of an observable is {self.kind!r}; expected one of {', '.join(KINDS)}")
        num_all = problem.num_samples + problem.num_test
        for name, value, low, high in (
            ("time", self.time, 0, problem.num_times - 1),
            ("other_time", self.second_time, 0, problem.num_times - 1),
            ("sample", self.sample, 0, num_all - 1),
            ("other", self.other, 0, num_all - 1),
            ("layer", self.layer, 1, problem.depth),
        ):
            if not low <= value <= high:
                raise SpecError(f"{name} of an observable is {value}; expected {low} to {high}")
