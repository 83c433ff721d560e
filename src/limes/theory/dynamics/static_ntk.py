"""The lazy limit gamma0 -> 0, and its use as an approximation at any gamma0: the tangent kernel stays as
it was drawn.

Source: Jacot, Gabriel & Hongler, arXiv:1806.07572; Chizat, Oyallon & Bach, arXiv:1812.07956 (the limit);
in this convention docs/theory/dmft_approximations.md.
Letters: H pre-activation, Phi feature and G gradient kernels of a layer at initialization, K tangent
kernel, f outputs.
"""

import numpy as np
import torch

from limes.core.errors import ScopeError
from limes.core.status import SolveStatus
from limes.theory.dynamics.problem import MLPProblem, columns_of
from limes.theory.dynamics.result import DMFTResult, summarise
from limes.theory.dynamics.trajectory import TableStore, Trajectory
from limes.theory.kernels.dual import dual_activation


def solve_static_ntk(problem: MLPProblem) -> DMFTResult:
    """Outputs under the tangent kernel at initialization: exact as gamma0 -> 0, an approximation otherwise.

    Args:
        problem: What is trained; its gamma0 does not enter. Decay is not covered.

    Returns:
        A `DMFTResult` with zero errors whose kernels do not depend on time. Divergence shows as large
        outputs.

    Raises:
        ScopeError: The problem has weight decay, which moves the kernel.

    Accuracy: as the dual activation, 1e-12 for closed forms.
    Source: docs/theory/dmft_approximations.md.

    >>> inputs = np.eye(2) * 2**0.5
    >>> problem = MLPProblem(
    ...     inputs=inputs, targets=[1.0, -1.0], depth=1, activation="linear", gamma0=1.0, lr=0.5, num_times=3
    ... )
    >>> solve_static_ntk(problem).loss.tolist()
    [0.5, 0.125, 0.03125]
    """
    if any(problem.decays):
        raise ScopeError(f"weight_decay is {problem.weight_decay}; decay does not keep the tangent kernel")
    columns = columns_of(problem)
    features, gradients = initial_kernels(problem, columns.input_kernel)
    below = [columns.input_kernel, *features]
    above = [*gradients, np.ones_like(columns.input_kernel)]
    tangent = sum(s * a * b for s, a, b in zip(problem.lr_scale or (), below, above, strict=True))
    outputs = np.zeros((problem.num_times, *columns.targets.shape))
    velocity = np.zeros_like(columns.targets)
    for t in range(problem.num_times - 1):
        error = columns.weights[t][:, None] * (columns.targets - outputs[t])
        velocity = problem.momentum * velocity + problem.lr / columns.num_train * (tangent @ error)
        factor = 1.0 if problem.lr_schedule is None else problem.lr_schedule[t]
        outputs[t + 1] = outputs[t] + factor * velocity
    num_times = problem.num_times
    outer = np.eye(problem.num_outputs)
    trajectory = Trajectory(
        outputs=outputs,
        features=[_constant(kernel, num_times) for kernel in features],
        gradients=[_constant(np.kron(kernel, outer), num_times) for kernel in gradients],
    )
    return summarise([trajectory], problem=problem, columns=columns, status=SolveStatus.CONVERGED, stats={}, exact=True)


def initial_kernels(problem: MLPProblem, input_kernel: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Feature and gradient kernels at initialization, per hidden layer: (depth of (P_all, P_all),
    likewise).
    """
    variances = problem.weight_var or ()
    features, slopes = [], []
    kernel = input_kernel
    for variance in variances[:-1]:
        fields = torch.from_numpy(variance * kernel)
        rows, columns = (v.reshape(-1) for v in torch.meshgrid(fields.diagonal(), fields.diagonal(), indexing="ij"))
        value, slope = dual_activation(problem.nonlinearity, rows, var2=columns, cov=fields.reshape(-1))
        kernel = value.numpy().reshape(input_kernel.shape)
        features.append(kernel)
        slopes.append(slope.numpy().reshape(input_kernel.shape))
    gradients: list[np.ndarray] = []
    above = np.ones_like(input_kernel)
    for slope, variance in zip(reversed(slopes), reversed(variances[1:]), strict=True):
        above = variance * above * slope
        gradients.insert(0, above)
    return features, gradients


def _constant(kernel: np.ndarray, num_times: int) -> TableStore:
    size = len(kernel)
    return TableStore(table=np.broadcast_to(kernel[None, :, None], (num_times, size, num_times, size)))
