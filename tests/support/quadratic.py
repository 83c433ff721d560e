"""Quadratic networks in finitely many inputs: population loss of weights, and the points where it is stationary."""

import math

import torch
from torch import Tensor


def population_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Half the squared error of (1/p) sum (u_i.x)^2 against (1/p*) sum (t_r.x)^2, x ~ N(0, 1), by Wick's theorem."""
    gap = student.T @ student / len(student) - teacher.T @ teacher / len(teacher)
    return 0.5 * (gap.trace() ** 2 + 2.0 * (gap @ gap).trace())


def hessian_points(p: int, q: int, n: int, *, at: str, seed: int) -> tuple[Tensor, Tensor]:
    """A student (p, n) at the plateau or at a minimum, and its orthonormal teacher (q, n), both turned at random."""
    generator = torch.Generator().manual_seed(seed)

    def turn(size: int) -> Tensor:
        return torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))[0]

    directions = turn(n)
    teacher = directions[:q]
    if at == "plateau":
        return math.sqrt(p / (p + 2.0)) * directions[q : q + p], teacher
    used = min(p, q)
    size = p / q if p >= q else p * (q + 2.0) / (q * (p + 2.0))
    return math.sqrt(size) * turn(p)[:, :used] @ turn(q)[:used] @ teacher, teacher
