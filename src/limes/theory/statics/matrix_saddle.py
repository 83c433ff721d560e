"""The saddle of a deep linear network as matrices, one kernel and one conjugate per layer, by damping the conjugates.

It needs no symmetry argument, so it checks the closed form. Damping kernels and conjugates together can end at points
that are no saddle of the network; here the kernels are always the exact ones of the conjugates (a forward sweep), and
`saddle_residual` judges any point by the equations themselves.

Source: Lauditi, Bordelon & Pehlevan, arXiv:2502.07998, the saddle equations; docs/theory/adaptive_kernels.md.
Letters: Phi_0 = K, Phi_l kernel and H_l conjugate of layer l = 1..L, g gamma0, b inverse temperature. Linear neurons
stay Gaussian: Phi_l = (Phi_{l-1}^-1 + H_l)^-1 = Phi_{l-1} (1 + H_l Phi_{l-1})^-1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from limes.core.errors import ConvergenceError, SpecError
from limes.theory.statics.deep_linear import DeepLinearProblem


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MatrixSaddle:
    """The point reached.

    Args:
        kernels: (L, P, P) Phi_1 .. Phi_L.
        conjugates: (L, P, P) H_1 .. H_L.
        train_mean: (P,) outputs on the training inputs.
        residual: See `saddle_residual`.
        num_iterations: Sweeps, all strengths of feature learning together.
        problem: What was solved.
    """

    kernels: Tensor
    conjugates: Tensor
    train_mean: Tensor
    residual: float
    num_iterations: int
    problem: DeepLinearProblem = field(repr=False)


def _sweep(problem: DeepLinearProblem, conjugates: Sequence[Tensor] | Tensor) -> list[Tensor]:
    """Phi_1 .. Phi_L that belong to the conjugates."""
    kernels, below = [], problem.kernel
    one = torch.eye(len(below), dtype=torch.float64)
    for conjugate in conjugates:
        below = torch.linalg.solve(one + below @ conjugate, below)
        below = 0.5 * (below + below.T)
        kernels.append(below)
    return kernels


def _targets(problem: DeepLinearProblem, kernels: Sequence[Tensor] | Tensor, gamma0: float) -> list[Tensor]:
    """What the saddle equations ask of the conjugates, given the kernels."""
    one, beta = torch.eye(len(problem.kernel), dtype=torch.float64), problem.inverse_temperature
    delta = torch.linalg.solve(one + beta * kernels[-1], problem.targets)
    wanted = [-((gamma0 * beta) ** 2) * torch.outer(delta, delta)]
    for below, above in zip(reversed(kernels[:-1]), reversed(kernels[1:]), strict=True):
        # <h h'> of the layer above is its own kernel: linear units.
        inverse = torch.linalg.inv(below)
        wanted.insert(0, inverse - inverse @ above @ inverse)
    return wanted


def saddle_residual(problem: DeepLinearProblem, kernels: Tensor, conjugates: Tensor) -> float:
    """How far a point is from the saddle equations: relative, largest over layers, kernels and conjugates alike.

    Args:
        problem: Kernel, targets, depth, gamma0, temperature.
        kernels: (L, P, P).
        conjugates: (L, P, P).

    Returns:
        0 at a saddle, to rounding.

    Raises:
        SpecError: The number of layers is another one.

    **Source**: arXiv:2502.07998. **Accuracy**: rounding times the condition number of the kernels.

    >>> problem = DeepLinearProblem([[1.0]], [2.0])
    >>> round(saddle_residual(problem, torch.ones(1, 1, 1).double(), torch.zeros(1, 1, 1).double()), 6)
    1.0
    """
    shape = (problem.depth, *problem.kernel.shape)
    if tuple(kernels.shape) != shape or tuple(conjugates.shape) != shape:
        raise SpecError(f"kernels {tuple(kernels.shape)}, conjugates {tuple(conjugates.shape)}: expected {shape} each")
    below = torch.cat([problem.kernel[None], kernels[:-1]])
    one = torch.eye(len(problem.kernel), dtype=torch.float64)
    exact = [torch.linalg.solve(one + k @ h, k) for k, h in zip(below, conjugates, strict=True)]
    pairs = [
        *zip(kernels, exact, strict=True),
        *zip(conjugates, _targets(problem, kernels, problem.gamma0), strict=True),
    ]
    return max(float((a - b).norm() / (a.norm() + b.norm()).clamp_min(1e-300)) for a, b in pairs)


def solve_matrix_saddle(
    problem: DeepLinearProblem, *, damping: float = 0.1, num_strengths: int = 10, tolerance: float = 1e-13
) -> MatrixSaddle:
    """The saddle by forward sweeps, with damped conjugates and gamma0 raised in steps from near zero.

    Args:
        problem: Its kernel must be invertible.
        damping: Share of the new conjugates in each sweep.
        num_strengths: Steps in gamma0.
        tolerance: Change of the conjugates, relative, at which a step ends.

    Returns:
        `MatrixSaddle`.

    Raises:
        SpecError: The kernel is singular.
        ConvergenceError: The residual is above 1e-8 after 20,000 sweeps; `result` is what there is.

    **Source**: arXiv:2502.07998; limes, docs/theory/adaptive_kernels.md. **Accuracy**: `residual`.

    >>> fit = solve_matrix_saddle(DeepLinearProblem([[1.0]], [2.0]))
    >>> round(fit.kernels.item(), 6)
    1.903212
    """
    lowest = float(torch.linalg.eigvalsh(problem.kernel)[0])
    if lowest <= 1e-12 * float(problem.kernel.trace()):
        raise SpecError(f"kernel has the eigenvalue {lowest:.3g}; the matrix saddle inverts it: use solve_deep_linear")
    size = len(problem.kernel)
    conjugates = torch.zeros(problem.depth, size, size, dtype=torch.float64)
    count = 0
    for part in range(1, num_strengths + 1):
        strength = problem.gamma0 * part / num_strengths
        for _ in range(20_000 // num_strengths):
            wanted = torch.stack(_targets(problem, _sweep(problem, conjugates), strength))
            change = wanted - conjugates
            conjugates = conjugates + damping * change
            count += 1
            if float(change.norm()) <= tolerance * float(wanted.norm()):
                break
    kernels = torch.stack(_sweep(problem, conjugates))
    one = torch.eye(size, dtype=torch.float64)
    delta = torch.linalg.solve(one + problem.inverse_temperature * kernels[-1], problem.targets)
    result = MatrixSaddle(
        kernels=kernels,
        conjugates=conjugates,
        train_mean=problem.targets - delta,
        residual=saddle_residual(problem, kernels, conjugates),
        num_iterations=count,
        problem=problem,
    )
    if not result.residual < 1e-8:
        raise ConvergenceError(
            f"the matrix saddle has a residual of {result.residual:.3g} after {count} sweeps; use solve_deep_linear",
            result=result,
        )
    return result
