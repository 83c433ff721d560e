"""Direct simulation of one-pass SGD of networks with quadratic units: weights in N inputs, one new sample each step.

Source: the model of arXiv:2604.03068. Letters: N inputs, W (p, N) student, W* (p*, N) teacher, eta learning rate.
"""

from dataclasses import dataclass

import numpy as np
import torch

from limes.core.errors import ScopeError, SpecError
from limes.theory.checks import check_count, check_memory
from limes.theory.solvable.checks import Real
from limes.theory.solvable.quadratic_network import QuadraticNetworkProblem, overlap_loss


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class QuadraticNetworkSimulation:
    """Trained students.

    Args:
        test_loss: (num_draws, T) exact for the weights, without the label noise.
        signal: (num_draws, T) |M|^2.
        norm: (num_draws, T) trace of Q.
    """

    test_loss: Real
    signal: Real
    norm: Real


def simulate_quadratic_network(
    problem: QuadraticNetworkProblem, *, dim: int, num_draws: int, generator: torch.Generator
) -> QuadraticNetworkSimulation:
    """Train students in finitely many inputs, from weights with exactly the overlaps of the problem.

    Args:
        problem: Not `gradient_flow`.
        dim: Inputs, at least the units of student and teacher together; times are rounded to whole samples.
        num_draws: Independent streams of samples.
        generator: Of the samples.

    Returns:
        `QuadraticNetworkSimulation`.

    Raises:
        ScopeError: Gradient flow.
        SpecError: Too few inputs, or the draws need more than 4 GiB.

    **Source**: arXiv:2604.03068. **Accuracy**: exact for the draw; the limit is off by O(1/dim).

    >>> problem = QuadraticNetworkProblem(
    ...     student_overlap=np.eye(2), cross_overlap=np.zeros((2, 2)), teacher_overlap=np.eye(2), lr=0.05,
    ...     times=[0.0, 1.0],
    ... )
    >>> run = simulate_quadratic_network(problem, dim=20, num_draws=3, generator=torch.Generator().manual_seed(0))
    >>> run.test_loss[:, 0].round(12).tolist()
    [1.0, 1.0, 1.0]
    """
    if problem.gradient_flow:
        raise ScopeError("gradient_flow has no samples; simulate the problem without it")
    check_count("num_draws", num_draws)
    p, q = problem.cross_overlap.shape
    if check_count("dim", dim) < p + q:
        raise SpecError(f"dim is {dim}; {p} student and {q} teacher units need at least {p + q} inputs")
    check_memory(f"{num_draws} draws with dim {dim}", numbers=float(num_draws) * dim * (2 * p + 2))
    joint = np.block(
        [[problem.student_overlap, problem.cross_overlap], [problem.cross_overlap.T, problem.teacher_overlap]]
    )
    values, vectors = np.linalg.eigh(joint)
    weights = np.zeros((p + q, dim))
    weights[:, : p + q] = vectors * np.sqrt(np.maximum(values, 0.0) * dim)
    teacher = weights[p:]
    student = np.repeat(weights[None, :p], num_draws, axis=0)
    steps, done, rows = np.round(problem.times * dim).astype(int), 0, []
    scale = 2.0 * problem.lr / (p * np.sqrt(dim))
    for step in steps:
        for _ in range(step - done):
            x = torch.randn(num_draws, dim, generator=generator, dtype=torch.float64).numpy()
            noise = torch.randn(num_draws, generator=generator, dtype=torch.float64).numpy()
            field = np.matmul(student, x[:, :, None])[..., 0] / np.sqrt(dim)
            target = ((x @ teacher.T) ** 2).sum(1) / (dim * q) + np.sqrt(problem.noise_var) * noise
            gap = (field**2).sum(1) / p - target
            student -= (scale * gap)[:, None, None] * field[:, :, None] * x[:, None, :]
        done = step
        own, cross = student @ student.swapaxes(1, 2) / dim, student @ teacher.T / dim
        loss = overlap_loss(own, cross, problem.teacher_overlap)
        rows.append((loss, (cross**2).sum((1, 2)), np.trace(own, axis1=1, axis2=2)))
    test_loss, signal, norm = np.array(rows).transpose(1, 2, 0)
    return QuadraticNetworkSimulation(test_loss=test_loss, signal=signal, norm=norm)
