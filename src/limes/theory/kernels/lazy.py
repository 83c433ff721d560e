"""Lazy training: a network whose tangent kernel stays put, from the first step to the last, in closed form.

Source: Jacot et al., arXiv:1806.07572; Lee et al., arXiv:1902.06720.
Letters: Theta tangent kernel on training inputs with eigenvalues lam, P training inputs, M test inputs, C outputs,
K prior covariance (NNGP), D(t) = exp(-lr lam t / P) or (1 - lr lam / P)^t what is left of an eigenmode.

    f(t) = y + D (f0 - y),     f_test(t) = f0_test + A (y - f0),   A = Theta_test (1 - D) / Theta
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from limes.core.errors import SpecError
from limes.core.status import SolveStatus
from limes.numerics.linalg import positive_eigh
from limes.theory.kernels.regression import check_regression

Mode = Literal["flow", "steps"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LazyProblem:
    """Squared loss 0.5 * mean over samples of (f - y)^2, summed over outputs, under gradient descent.

    Args:
        kernel: (P, P) tangent kernel; the NNGP kernel where only the readout is trained.
        targets: (P, C), or (P,).
        lr: Learning rate of the mean loss, in the parametrization of the kernel.
        times: (T,) steps; whole numbers in mode "steps"; math.inf is the end of training.
        mode: "flow" (time = lr x steps, infinitely small steps) or "steps" (exact for discrete steps).
        kernel_test_train: (M, P), or None.
        initial: (P, C) outputs before training; None for 0.
        initial_test: (M, C); None for 0.
        prior: (P, P) covariance of the outputs before training; None for a fixed initial output.
        prior_test_train: (M, P); needed with prior and kernel_test_train.
        prior_test: (M,) prior variances, or (M, M), of which the diagonal is used.
    """

    kernel: Tensor
    targets: Tensor
    lr: float
    times: Tensor
    mode: Mode = "flow"
    kernel_test_train: Tensor | None = None
    initial: Tensor | None = None
    initial_test: Tensor | None = None
    prior: Tensor | None = None
    prior_test_train: Tensor | None = None
    prior_test: Tensor | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LazyResult:
    """The outputs at the recorded times; a mean over initializations where a prior was given.

    Args:
        outputs: (T, P, C).
        test_outputs: (T, M, C); M = 0 without test inputs.
        loss: (T,) training loss of the mean output.
        variance: (T, P) over initializations, per output; None without a prior.
        test_variance: (T, M), or None.
        largest_stable_lr: 2 P / largest eigenvalue; steps beyond it grow.
        status: DIVERGED where mode "steps" has lr beyond that.
        problem: What was asked.
    """

    outputs: Tensor
    test_outputs: Tensor
    loss: Tensor
    variance: Tensor | None
    test_variance: Tensor | None
    largest_stable_lr: float
    status: SolveStatus
    problem: LazyProblem


def lazy_dynamics(problem: LazyProblem) -> LazyResult:
    """Outputs of a lazily trained network at any times, with their spread over initializations.

    Args:
        problem: Kernels, targets, learning rate and times.

    Returns:
        `LazyResult`.

    Raises:
        SpecError: Shapes do not fit, or lr, times or mode are unusable.
        ConvergenceError: The kernel is not symmetric positive semidefinite.

    **Source**: arXiv:1902.06720, section 2.3 and corollary 1; the discrete form by replacing the exponential.
    **Accuracy**: 1e-12 relative on the training set; on the test set 1e-16 times the condition number of the kernel at
    late times. Eigenvalues below 1e-14 P of the largest count as 0 and are never learned.

    >>> one = torch.ones(1, 1, dtype=torch.float64)
    >>> asked = LazyProblem(kernel=one, targets=one, lr=0.5, times=torch.tensor([0.0, 1.0, 2.0]), mode="steps")
    >>> [round(f, 12) for f in lazy_dynamics(asked).outputs.flatten().tolist()]
    [0.0, 0.5, 0.75]
    """
    y, test = check_regression(problem.kernel, problem.targets, problem.kernel_test_train)
    _check(problem)
    values, vectors = positive_eigh(problem.kernel.to(torch.float64))
    values = torch.where(values > 1e-14 * len(values) * values[-1], values, 0.0)
    start = torch.zeros_like(y) if problem.initial is None else _shaped("initial", problem.initial, y.shape)
    shape = (len(test), y.shape[1])
    start_test = y.new_zeros(shape)
    if problem.initial_test is not None:
        start_test = _shaped("initial_test", problem.initial_test, shape)
    gap, rotated = vectors.T @ (start - y), test @ vectors
    outputs, tests, variances, test_variances = [], [], [], []
    for time in problem.times.to(torch.float64).tolist():
        left = _remaining(values, time, problem)
        gain = torch.where(values > 0, (1.0 - left) / values.clamp_min(1e-300), 0.0)
        outputs.append(y + vectors @ (left[:, None] * gap))
        tests.append(start_test - rotated @ (gain[:, None] * gap))
        if problem.prior is not None:
            variances.append(_train_variance(problem.prior, vectors, left))
            test_variances.append(_test_variance(problem, (rotated * gain) @ vectors.T))
    stacked = torch.stack(outputs)
    stable = 2.0 * len(y) / values[-1].item() if values[-1] > 0 else math.inf
    unstable = problem.mode == "steps" and problem.lr > stable
    has_test_variance = problem.prior is not None and problem.prior_test is not None
    return LazyResult(
        outputs=stacked,
        test_outputs=torch.stack(tests),
        loss=0.5 * ((stacked - y) ** 2).sum(2).mean(1),
        variance=torch.stack(variances) if variances else None,
        test_variance=torch.stack(test_variances) if has_test_variance else None,
        largest_stable_lr=stable,
        status=SolveStatus.DIVERGED if unstable else SolveStatus.CONVERGED,
        problem=problem,
    )


def _check(problem: LazyProblem) -> None:
    if not 0.0 < problem.lr < math.inf:
        raise SpecError(f"lr {problem.lr}: expected a positive number")
    if problem.mode not in ("flow", "steps"):
        raise SpecError(f"mode {problem.mode!r}: expected 'flow' or 'steps'")
    times = problem.times
    if times.ndim != 1 or len(times) == 0 or not bool((times >= 0).all()):
        raise SpecError(f"times of shape {tuple(times.shape)}: expected (num_times,), none negative")
    finite = times[torch.isfinite(times)]
    if problem.mode == "steps" and bool((finite != finite.round()).any()):
        raise SpecError("times in mode 'steps' count steps: expected whole numbers, got fractions")
    size = len(problem.kernel)
    if problem.prior is None:
        if problem.prior_test is not None or problem.prior_test_train is not None:
            raise SpecError(
                "prior_test or prior_test_train without prior: give prior, the covariance on the training set"
            )
        return
    _shaped("prior", problem.prior, (size, size))
    if problem.prior_test is not None:
        if problem.kernel_test_train is None or problem.prior_test_train is None:
            raise SpecError("prior_test needs kernel_test_train and prior_test_train as well")
        _shaped("prior_test_train", problem.prior_test_train, problem.kernel_test_train.shape)


def _shaped(name: str, tensor: Tensor, shape: tuple[int, ...] | torch.Size) -> Tensor:
    if tensor.shape != torch.Size(shape):
        raise SpecError(f"{name} of shape {tuple(tensor.shape)}: expected {tuple(shape)}")
    return tensor.to(torch.float64)


def _remaining(values: Tensor, time: float, problem: LazyProblem) -> Tensor:
    """D(t): what is left of each eigenmode; modes of eigenvalue 0 stay, at t = inf as well."""
    rate = problem.lr * values / len(values)
    if problem.mode == "flow":
        left = torch.exp(-rate * time)
    else:
        left = (1.0 - rate) ** time
    return torch.where(values > 0, left, 1.0)


def _train_variance(prior: Tensor, vectors: Tensor, left: Tensor) -> Tensor:
    kept = (vectors * left) @ vectors.T
    return ((kept @ prior.to(torch.float64)) * kept).sum(1)


def _test_variance(problem: LazyProblem, weights: Tensor) -> Tensor:
    """Variance of f0_test - A f0, A = `weights` (M, P)."""
    if problem.prior_test is None:
        return weights.new_zeros(len(weights))
    assert problem.prior is not None and problem.prior_test_train is not None
    own = problem.prior_test
    own = (own.diagonal() if own.ndim == 2 else own).to(torch.float64)
    if own.shape != (len(weights),):
        raise SpecError(
            f"prior_test of shape {tuple(problem.prior_test.shape)}: expected ({len(weights)},) or its square"
        )
    cross = (weights * problem.prior_test_train.to(torch.float64)).sum(1)
    prior = problem.prior.to(torch.float64)
    return (own - 2.0 * cross + ((weights @ prior) * weights).sum(1)).clamp_min(0.0)
