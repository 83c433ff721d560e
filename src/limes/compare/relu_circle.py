"""ReLU networks with one hidden layer on the circle, many seeds at once, trained by gradient flow in small steps.

    h = x W + sqrt(bias) b,    g = sqrt(2 / N) relu(h) a + sqrt(bias) c,    f = (g - g(0)) / (gamma0 sqrt N)

Time is that of the kernel at initialization: d theta/dt = -gamma0^2 N grad, whatever gamma0 and N, so that networks of
all gamma0 start with one kernel. gamma0 -> 0 is lazy; a fixed gamma0 is the maximal-update limit, where features move.

Source: arXiv:2409.17858, section 5.1 (the task); arXiv:2205.09653 (gamma0).
Letters: S seeds, P points, N width.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limes.core.errors import ConvergenceError

Array = NDArray[np.float64]
BIAS_VAR = 0.1
# Of the largest stable step, which is measured again after EVERY steps.
STEP_SHARE = 0.25
EVERY = 20
MAX_STEPS = 100_000


@dataclass(kw_only=True, slots=True)
class _Weights:
    """(S, 2, N), (S, 1, N), (S, N, 1), (S, 1, 1)."""

    w: Tensor
    b: Tensor
    a: Tensor
    c: Tensor

    def moved(self, step: "_Weights", factor: float) -> "_Weights":
        return _Weights(
            w=self.w + factor * step.w,
            b=self.b + factor * step.b,
            a=self.a + factor * step.a,
            c=self.c + factor * step.c,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Circle:
    x: Tensor
    bias: float
    root: float

    def hidden(self, at: _Weights) -> Tensor:
        return self.x @ at.w + self.bias * at.b

    def output(self, at: _Weights, h: Tensor) -> Tensor:
        return self.root * h.clamp_min(0.0) @ at.a + self.bias * at.c

    def pull(self, at: _Weights, h: Tensor, error: Tensor) -> _Weights:
        """J^T error / P."""
        error = error / len(self.x)
        back = self.root * (error @ at.a.mT) * (h > 0)
        return _Weights(
            w=self.x.T @ back,
            b=self.bias * back.sum(1, keepdim=True),
            a=self.root * h.clamp_min(0.0).mT @ error,
            c=self.bias * error.sum(1, keepdim=True),
        )

    def push(self, at: _Weights, h: Tensor, step: _Weights) -> Tensor:
        """J step."""
        moved = (self.x @ step.w + self.bias * step.b) * (h > 0)
        return self.root * (moved @ at.a + h.clamp_min(0.0) @ step.a) + self.bias * step.c


def circle_points(num_points: int) -> Tensor:
    """(P, 2) evenly spaced points of norm sqrt 2, float64."""
    theta = 2.0 * math.pi * torch.arange(num_points, dtype=torch.float64) / num_points
    return math.sqrt(2.0) * torch.stack([theta.cos(), theta.sin()], 1)


def longest_time() -> float:
    """Times that a lazy network reaches, in units of the inverse largest eigenvalue; others reach less."""
    return 2.0 * STEP_SHARE * MAX_STEPS


def train_on_circle(
    target: Array,
    times: Array,
    *,
    width: int,
    gamma0: float,
    num_seeds: int,
    generator: torch.Generator,
    step_share: float = STEP_SHARE,
    progress: Callable[[float], Any] | None = None,
) -> Array:
    """Losses of gradient flow.

    Args:
        target: (P,) on evenly spaced points.
        times: (T,) increasing, positive; in units of the inverse eigenvalues of the kernel at initialization.
        width: N.
        gamma0: Strength of feature learning, positive.
        num_seeds: S.
        generator: Draws the weights.
        step_share: Of the largest stable step.
        progress: Told the share of the time that has passed.

    Returns:
        (S, T) mean squared error.

    Raises:
        ConvergenceError: The last time is not reached in 100000 steps; said as soon as the steps have become so small.
    """

    def draw(*shape: int) -> Tensor:
        return torch.randn(num_seeds, *shape, generator=generator, dtype=torch.float64).float()

    net = _Circle(x=circle_points(len(target)).float(), bias=math.sqrt(BIAS_VAR), root=math.sqrt(2.0 / width))
    at = _Weights(w=draw(2, width), b=draw(1, width), a=draw(width, 1), c=draw(1, 1))
    scale = 1.0 / (gamma0 * math.sqrt(width))
    goal = torch.tensor(target).float()[:, None]
    h = net.hidden(at)
    start, vector = net.output(at, h), torch.ones(num_seeds, len(target), 1)
    clocks, losses, time, step = [], [], 0.0, 0.0
    for count in itertools.count():
        if count % EVERY == 0:
            vector, largest = _sharpest(net, at, h, vector, rounds=10 if count == 0 else 2)
            step = step_share * 2.0 / largest
            # Written so that numbers which are none end here too.
            if not time + (MAX_STEPS - count) * step >= times[-1]:
                raise ConvergenceError(
                    f"gamma0 {gamma0:g}: the last time is not reached in {MAX_STEPS} steps, {time / times[-1]:.0%} of "
                    f"it after {count}; end earlier, or lower gamma0: the steps shrink as features move"
                )
        error = scale * (net.output(at, h) - start) - goal
        clocks.append(time)
        losses.append(error.square().mean((1, 2)).double().numpy())
        if time > times[-1]:
            break
        at = at.moved(net.pull(at, h, error), -step / scale)
        h, time = net.hidden(at), time + step
        if progress is not None:
            progress(min(time / times[-1], 1.0))
    logs, marks = np.log(np.array(losses).T), np.log(np.array(clocks[1:]))
    return np.exp(np.array([np.interp(np.log(times), marks, row[1:]) for row in logs]))


def _sharpest(net: _Circle, at: _Weights, h: Tensor, vector: Tensor, *, rounds: int) -> tuple[Tensor, float]:
    """Power iteration for the largest eigenvalue of every seed's kernel; a little of everything stays in the vector."""
    size = torch.ones(1)
    for _ in range(rounds):
        vector = vector / vector.norm(dim=1, keepdim=True)
        vector = net.push(at, h, net.pull(at, h, vector))
        size = vector.norm(dim=1)
    mixed = vector / vector.norm(dim=1, keepdim=True) + 1e-2 * net.x[:, :1]
    return mixed, float(size.max())
