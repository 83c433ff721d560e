"""The loss that fits each task."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional


def output_tensor(outputs: Any) -> Tensor:
    """The outputs themselves, or the `logits` of what a Hugging Face model returns."""
    return outputs if isinstance(outputs, Tensor) else outputs.logits


def next_token_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in nats: logits (B, T, V), targets (B, T)."""
    return functional.cross_entropy(logits.flatten(0, -2), targets.flatten())


def classification_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in nats: logits (B, C), targets (B,)."""
    return functional.cross_entropy(logits, targets)


def regression_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Half the mean squared error over all entries: both (B, D)."""
    return 0.5 * functional.mse_loss(outputs, targets)


def z_loss(logits: Tensor) -> Tensor:
    """Mean over positions of (log sum exp of the logits)^2; a little of it keeps logits from drifting.

    Args:
        logits: (..., num_classes).

    Source: arXiv:2204.02311, section 5, with coefficient 1e-4.
    """
    return logits.logsumexp(-1).square().mean()


UNITS: Mapping[str, str] = {
    "next_token": "nats per token",
    "classification": "nats",
    "regression": "half squared error",
}
"""What the loss of each task is measured in."""

LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "next_token": next_token_loss,
    "classification": classification_loss,
    "regression": regression_loss,
}
