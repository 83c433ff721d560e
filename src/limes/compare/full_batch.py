"""Full-batch training for studies of dynamics: one batch at every step, and the settings that go with it."""

from torch import Tensor

from limes.spec.training import OptimizerSpec, TrainingSpec


class FullBatch:
    """A task whose every batch is all of it; what it validates on too, as nothing here is about generalization.

    Args:
        inputs: (P, ...), samples first.
        targets: (P, num_outputs), or what the loss of another task takes.
        task: Key of `limes.train.loss.LOSSES`.
    """

    def __init__(self, inputs: Tensor, targets: Tensor, *, task: str = "regression") -> None:
        self.full = inputs, targets
        self.task = task

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """All samples, at every step."""
        return self.full

    def validation(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """All samples."""
        return (self.full,)

    def training(self, optimizer: OptimizerSpec, *, steps: int) -> TrainingSpec:
        """A constant learning rate on f - f(0) in float64; only a loss a million times the first counts as diverged."""
        return TrainingSpec(
            steps=steps,
            batch_size=len(self.full[0]),
            optimizer=optimizer,
            schedule="constant",
            warmup_steps=0,
            center_output=True,
            dtype="float64",
            divergence_factor=1e6,
        )
