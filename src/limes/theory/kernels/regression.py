"""Kernel regression: the mean and the variance of a Gaussian process given data.

Source: Rasmussen & Williams 2006, chapter 2; for networks: Lee et al., arXiv:1711.00165.
Letters: K (P, P) kernel on training inputs, k (M, P) between test and training inputs, y (P, C) targets.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from limes.core.errors import SpecError
from limes.numerics.linalg import factor_positive


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class KernelRegression:
    """The posterior on test inputs.

    Args:
        mean: (M, C) float64.
        variance: (M,) float64 of the noiseless function, or None where no test kernel was given.
        log_evidence: Log marginal likelihood of the targets, summed over outputs.
        ridge: What was added to the diagonal.
    """

    mean: Tensor
    variance: Tensor | None
    log_evidence: float
    ridge: float


def kernel_regression(
    kernel: Tensor,
    targets: Tensor,
    *,
    kernel_test_train: Tensor,
    kernel_test: Tensor | None = None,
    ridge: float = 0.0,
) -> KernelRegression:
    """Posterior mean k (K + ridge)^-1 y and, with a test kernel, its variance.

    With the NNGP kernel it is exact Bayesian inference in the infinite network (ridge = noise variance). With the
    tangent kernel the mean is a network trained to the end by gradient descent; its spread over seeds is then not
    this variance: see `lazy_dynamics`.

    Args:
        kernel: (P, P), symmetric positive semidefinite.
        targets: (P, C), or (P,) for one output.
        kernel_test_train: (M, P).
        kernel_test: (M,) prior variances, or (M, M), of which the diagonal is used; None for no variance.
        ridge: Added to the diagonal, in units of the kernel; nonnegative.

    Returns:
        `KernelRegression`.

    Raises:
        SpecError: Shapes do not fit, or the ridge is negative.
        ConvergenceError: kernel + ridge is not positive definite to rounding.

    **Source**: Rasmussen & Williams 2006, Eq. 2.25, 2.26, 2.30.
    **Accuracy**: relative error about 1e-16 times the condition number of kernel + ridge.

    >>> one = torch.ones(1, 1, dtype=torch.float64)
    >>> fit = kernel_regression(one, one, kernel_test_train=0.5 * one, kernel_test=one[0], ridge=1.0)
    >>> round(fit.mean.item(), 12), round(fit.variance.item(), 12)
    (0.25, 0.875)
    """
    y, test = check_regression(kernel, targets, kernel_test_train)
    if not 0.0 <= ridge < float("inf"):
        raise SpecError(f"ridge {ridge}: expected zero or a positive number")
    size = len(kernel)
    shifted = kernel.to(torch.float64) + ridge * torch.eye(size, dtype=torch.float64)
    factor = factor_positive(shifted)
    weights = torch.cholesky_solve(y, factor)
    variance = None
    if kernel_test is not None:
        prior = (kernel_test.diagonal() if kernel_test.ndim == 2 else kernel_test).to(torch.float64)
        if prior.shape != (len(test),):
            raise SpecError(f"kernel_test of shape {tuple(kernel_test.shape)}: expected ({len(test)},) or its square")
        explained = torch.linalg.solve_triangular(factor, test.T, upper=False)
        variance = (prior - (explained**2).sum(0)).clamp_min(0.0)
    log_two_pi = 1.8378770664093453
    evidence = -0.5 * (y * weights).sum() - y.shape[1] * (factor.diagonal().log().sum() + 0.5 * size * log_two_pi)
    return KernelRegression(mean=test @ weights, variance=variance, log_evidence=evidence.item(), ridge=ridge)


def check_regression(kernel: Tensor, targets: Tensor, kernel_test_train: Tensor | None) -> tuple[Tensor, Tensor]:
    """Targets (P, C) and test rows (M, P) in float64, or a sentence; M = 0 without a test kernel."""
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1]:
        raise SpecError(f"kernel of shape {tuple(kernel.shape)}: expected a square (num_samples, num_samples)")
    size = len(kernel)
    y = (targets[:, None] if targets.ndim == 1 else targets).to(torch.float64)
    if y.ndim != 2 or len(y) != size:
        raise SpecError(f"targets of shape {tuple(targets.shape)}: expected ({size}, num_outputs)")
    test = torch.empty(0, size) if kernel_test_train is None else kernel_test_train
    if test.ndim != 2 or test.shape[1] != size:
        raise SpecError(f"kernel_test_train of shape {tuple(test.shape)}: expected (num_test, {size})")
    if not bool(torch.isfinite(kernel).all() and torch.isfinite(y).all() and torch.isfinite(test).all()):
        raise SpecError("kernel, targets or kernel_test_train holds values that are not finite: clean the data")
    return y, test.to(torch.float64)
