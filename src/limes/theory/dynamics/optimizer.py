"""Gradient descent with momentum and decay, split into what it does to W(0) and what it adds to it.

The optimizers covered are linear in the gradients, so W(t) = kept(t) W(0) + learned(t) exactly, and a
solver may keep the two parts in different coordinates.

Source: docs/theory/dmft.md, section on optimizers.
"""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np


@dataclass(kw_only=True, slots=True)
class LinearOptimizer:
    """State of one weight matrix: the kept fraction of W(0), and its momentum buffer.

    Args:
        momentum: Heavy ball coefficient.
        decay: Fraction that one update removes.
        coupled: The decay enters the momentum buffer (torch.optim.SGD) instead of acting beside it.
    """

    momentum: float
    decay: float
    coupled: bool
    kept: float = 1.0
    _buffer: float = field(default=0.0, init=False)

    def step(self, learned: np.ndarray, buffer: np.ndarray, update: np.ndarray, *, factor: float = 1.0) -> None:
        """Apply one update in place to `learned` and its `buffer`, and to the kept fraction of W(0).

        `update` is lr times the descent direction at the schedule's factor 1.
        """
        if self.momentum or self.coupled:
            buffer *= self.momentum
            buffer += update
            update = buffer
        if self.coupled:
            buffer -= self.decay * learned
            self._buffer = self.momentum * self._buffer - self.decay * self.kept
            self.kept += factor * self._buffer
        elif self.decay:
            learned *= 1.0 - factor * self.decay
            self.kept *= 1.0 - factor * self.decay
        learned += update if factor == 1.0 else factor * update


class Descent(Protocol):
    """What an optimizer needs to know of a problem."""

    @property
    def momentum(self) -> float:
        """Heavy ball coefficient."""

    @property
    def decay_mode(self) -> str:
        """Either "decoupled" or "torch_sgd"."""

    @property
    def decays(self) -> tuple[float, ...]:
        """Fraction that one update removes of each weight matrix."""


def optimizers_of(problem: Descent) -> list[LinearOptimizer]:
    """One optimizer state per weight matrix of a problem."""
    coupled = problem.decay_mode == "torch_sgd"
    return [
        LinearOptimizer(momentum=problem.momentum, decay=decay, coupled=coupled and decay > 0)
        for decay in problem.decays
    ]
