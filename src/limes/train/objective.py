"""The loss that a run is trained on, as a function of model and batch."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from limes.core.dtypes import DTYPES
from limes.spec.training import TrainingSpec
from limes.train.loss import LOSSES, output_tensor, z_loss


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Objective:
    """From (model, batch) to the training loss.

    Attributes:
        task: Key of `LOSSES`.
        training: Precision and z-loss.
        initial: The network before training, whose outputs are subtracted; None if they are not.
    """

    task: str
    training: TrainingSpec
    initial: nn.Module | None = None

    def __call__(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        """The loss that is minimized, the z-loss included."""
        loss, outputs = self._evaluate(model, batch)
        return loss + self.training.z_loss * z_loss(outputs) if self.training.z_loss else loss

    def plain(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        """The same without the z-loss, as validation takes it."""
        return self._evaluate(model, batch)[0]

    @property
    def dtype(self) -> torch.dtype:
        """Of inputs and outputs; bfloat16 is autocast inside."""
        return torch.float64 if self.training.dtype == "float64" else torch.float32

    def _evaluate(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        inputs, targets = (tensor.to(self.dtype) if tensor.is_floating_point() else tensor for tensor in batch)
        with self._autocast(inputs):
            outputs = output_tensor(model(inputs))
            if self.initial is not None:
                with torch.no_grad():
                    at_start = output_tensor(self.initial(inputs))
                outputs = outputs - at_start
        outputs = outputs.to(self.dtype)
        return LOSSES[self.task](outputs, targets), outputs

    def _autocast(self, inputs: Tensor) -> AbstractContextManager[Any]:
        if self.training.dtype != "bfloat16":
            return nullcontext()
        return torch.autocast(inputs.device.type, dtype=DTYPES["bfloat16"])
