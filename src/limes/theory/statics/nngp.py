"""Posterior of an infinitely wide Bayesian network in NTK scaling: a Gaussian process with the NNGP kernel.

Source: Lee et al., arXiv:1711.00165; Neal 1996. Letters: K (P, P) kernel, b inverse temperature:
mean k (K + 1/b)^-1 y, variance k** - k (K + 1/b)^-1 k', likelihood exp(-(b/2) sum (f - y)^2).
"""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from limes.theory.activations import Activation
from limes.theory.checks import check_number, check_whole
from limes.theory.kernels import kernel_regression, nngp_kernel
from limes.theory.kernels.recursion import check_variances
from limes.theory.statics.data import checked_samples, settle


@dataclass(frozen=True, eq=False)
class NNGPProblem:
    """Data, architecture and temperature.

    Args:
        inputs: (P, D); they enter as x.x' / D.
        targets: (P,).
        test_inputs: (M, D), or None.
        activation: Name or object; "erf" is erf(x).
        depth: Hidden layers.
        inverse_temperature: Multiplies the SUM over samples of (f - y)^2 / 2; math.inf fits the data exactly.
        weight_var: Variance of a weight times its fan-in.
        bias_var: Variance of a bias.

    Raises:
        SpecError: A shape or a number is out of range.

    >>> NNGPProblem([[1.0]], [1.0]).inverse_temperature
    1.0
    """

    inputs: Any
    targets: Any
    test_inputs: Any = None
    activation: str | Activation = field(default="erf", kw_only=True)
    depth: int = field(default=1, kw_only=True)
    inverse_temperature: float = field(default=1.0, kw_only=True)
    weight_var: float = field(default=1.0, kw_only=True)
    bias_var: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        beta = check_number("inverse_temperature", self.inverse_temperature, low=0.0, open_low=True, allow_inf=True)
        settle(
            self,
            **checked_samples(self.inputs, self.targets, self.test_inputs, self.activation),
            depth=check_whole("depth", self.depth, least=0),
            inverse_temperature=beta,
        )
        check_variances(self.weight_var, self.bias_var)

    def kernel_of(self, inputs: Tensor) -> Tensor:
        """Prior covariance of the outputs on any inputs."""
        return nngp_kernel(
            inputs,
            depth=self.depth,
            activation=self.activation,
            weight_var=self.weight_var,
            bias_var=self.bias_var,
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class NNGPResult:
    """The posterior.

    Args:
        train_mean: (P,) mean outputs on the training inputs.
        train_variance: (P,) of the noiseless function there.
        test_mean: (M,).
        test_variance: (M,).
        kernel: (P, P) prior covariance on the training inputs.
        log_evidence: Log density of the targets under prior and noise of variance 1 / inverse_temperature.
        problem: What was solved.
    """

    train_mean: Tensor
    train_variance: Tensor
    test_mean: Tensor
    test_variance: Tensor
    kernel: Tensor
    log_evidence: float
    problem: NNGPProblem = field(repr=False)


def solve_nngp(problem: NNGPProblem) -> NNGPResult:
    """Mean, variance and evidence of the Gaussian process that an infinitely wide network is.

    Args:
        problem: Data, architecture, temperature.

    Returns:
        `NNGPResult`.

    Raises:
        ConvergenceError: At zero temperature, where the kernel is singular to rounding (equal inputs, for example).

    **Source**: arXiv:1711.00165, Eq. 8 and 9.
    **Accuracy**: 1e-12 relative, times the condition number of kernel + 1 / inverse_temperature.

    >>> fit = solve_nngp(NNGPProblem([[2.0]], [1.0], [[1.0]], activation="linear", inverse_temperature=0.25))
    >>> [round(value.item(), 12) for value in (fit.train_mean, fit.test_mean, fit.test_variance)]
    [0.5, 0.25, 0.5]
    """
    size = len(problem.inputs)
    whole = problem.kernel_of(torch.cat([problem.inputs, problem.test_inputs]))
    beta = problem.inverse_temperature
    fit = kernel_regression(
        whole[:size, :size],
        problem.targets,
        kernel_test_train=whole[:, :size],
        kernel_test=whole.diagonal(),
        ridge=0.0 if beta == math.inf else 1.0 / beta,
    )
    mean, variance = fit.mean[:, 0], fit.variance
    assert variance is not None
    return NNGPResult(
        train_mean=mean[:size],
        train_variance=variance[:size],
        test_mean=mean[size:],
        test_variance=variance[size:],
        kernel=whole[:size, :size].clone(),
        log_evidence=fit.log_evidence,
        problem=problem,
    )
