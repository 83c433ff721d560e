"""Small gamma0, linear activation: how far the kernels move at second order, in closed form.

The coefficients count pairs of matrices below and above a layer. Responses enter at the same order as the
moving kernels, so an expansion that leaves them out is wrong from two hidden layers on.

Source: docs/theory/dmft_small_gamma0.md. # Differs from Bordelon & Pehlevan, arXiv:2205.09653, whose
coefficients leave out the responses and agree with these for one hidden layer only.
Letters: K input kernel, v (P,) integrated error, V (P, P) doubly integrated error, a and b integer
coefficients.
"""

import numpy as np

from limes.core.errors import ScopeError
from limes.core.status import SolveStatus
from limes.theory.dynamics.problem import MLPProblem, columns_of
from limes.theory.dynamics.result import DMFTResult, summarise
from limes.theory.dynamics.trajectory import TableStore, Trajectory


def solve_small_gamma0(problem: MLPProblem) -> DMFTResult:
    """Two-time kernels of a deep linear network to second order in gamma0; outputs to leading order.

    Args:
        problem: activation "linear", one output, full batch, plain gradient descent, no held-out inputs,
        unit scales.

    Returns:
        A `DMFTResult`: feature and gradient kernels with an error O(gamma0^4), outputs with an error
        O(gamma0^2). Its errors are reported as zero: nothing is sampled.

    Raises:
        ScopeError: The problem is not of this kind.

    Accuracy: the gamma0^2 coefficient agrees with `solve_dmft_linear` to 1e-6 at gamma0 = 0.001, depth 1
    to 4.
    Source: docs/theory/dmft_small_gamma0.md.

    >>> problem = MLPProblem(
    ...     inputs=np.eye(2), targets=[1.0, -1.0], depth=2, activation="linear", gamma0=0.1, lr=0.3, num_times=4
    ... )
    >>> solve_small_gamma0(problem).feature_kernel(2, 3).shape
    (2, 2)
    """
    _check_scope(problem)
    columns = columns_of(problem)
    kernel, depth = columns.input_kernel, problem.depth
    errors, single, double = _leading_order(problem, kernel, columns.targets[:, 0])
    outputs = columns.targets[:, 0] - errors
    trajectory = Trajectory(outputs=outputs[:, :, None], features=[], gradients=[])
    moved = np.einsum("ij,tj->ti", kernel, single)
    outer = np.einsum("ti,sj->tisj", moved, moved)
    turned = np.einsum("ij,tjk,kl->til", kernel, double, kernel)
    turned_pair = turned[:, :, None, :] + np.transpose(turned, (2, 0, 1))[None]
    traces = np.einsum("ij,tji->t", kernel, double)
    square = problem.gamma0**2
    inner = np.einsum("ti,ij,sj->ts", single, kernel, single)
    num_times, num_all = single.shape
    for layer in range(1, depth + 1):
        a, b, a_back, b_back = coefficients(layer, depth=depth)
        features = kernel[None, :, None] + square * (a * outer + b * turned_pair)
        gradients = 1.0 + square * (a_back * inner + b_back * (traces[:, None] + traces[None]))
        trajectory.features.append(TableStore(table=features))
        shape = (num_times, num_all, num_times, num_all)
        trajectory.gradients.append(TableStore(table=np.broadcast_to(gradients[:, None, :, None], shape)))
    return summarise([trajectory], problem=problem, columns=columns, status=SolveStatus.CONVERGED, stats={}, exact=True)


def coefficients(layer: int, *, depth: int) -> tuple[int, int, int, int]:
    """The integers of the second-order terms of the feature kernel (a, b) and of the gradient kernel (a,
    b) of `layer`.

    >>> coefficients(2, depth=3)
    (5, 7, 5, 7)
    """
    squares = [0]
    for k in range(1, depth + 1):
        squares.append(squares[-1] + k * k)
    products = [k * (depth + 1 - k) for k in range(1, depth + 1)]
    return squares[layer], sum(products[:layer]), squares[depth + 1 - layer], sum(products[layer - 1 :])


def _leading_order(
    problem: MLPProblem, kernel: np.ndarray, targets: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Errors (T, P), their sum before each time (T, P), and the ordered double sum (T, P, P), in units
    of lr / P.
    """
    num_times, num_samples = problem.num_times, problem.num_samples
    rate = problem.lr / num_samples
    errors = np.empty((num_times, num_samples))
    single, double = np.zeros((num_times, num_samples)), np.zeros((num_times, num_samples, num_samples))
    errors[0] = targets
    for t in range(num_times - 1):
        errors[t + 1] = errors[t] - rate * (problem.depth + 1) * kernel @ errors[t]
        single[t + 1] = single[t] + rate * errors[t]
        double[t + 1] = double[t] + rate * np.outer(errors[t], single[t])
    return errors, single, double


def _check_scope(problem: MLPProblem) -> None:
    scales = (*(problem.lr_scale or ()), *(problem.weight_var or ()))
    plain = not problem.momentum and not any(problem.decays) and problem.batches is None
    plain = plain and problem.lr_schedule is None and all(scale == 1.0 for scale in scales)
    if problem.nonlinearity.name != "linear" or problem.num_outputs != 1 or problem.num_test or not plain:
        raise ScopeError(
            "the small-gamma0 expansion covers a linear activation, one output, full-batch plain gradient descent, "
            f"unit scales and no held-out inputs; got activation {problem.nonlinearity.name}, num_outputs "
            f"{problem.num_outputs}, momentum {problem.momentum:g}; use solve_dmft_linear or solve_dmft_mlp"
        )
