"""What a measurement during training must offer; the loop knows nothing else of it."""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor, nn


class Probe(Protocol):
    """Numbers taken every `every` steps, before the update, on the batch of that step."""

    @property
    def name(self) -> str:
        """Prefix of its numbers in the trace."""

    @property
    def every(self) -> int:
        """Steps from one measurement to the next; the first is at step 0."""

    def measure(self, model: nn.Module, batch: tuple[Tensor, Tensor], step: int) -> Mapping[str, float]:
        """Numbers by name, the same names each time. Must leave the model, its gradients included, as found."""
