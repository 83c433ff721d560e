"""Deep linear Bayesian networks of finite width in NTK scaling, exactly, and their proportional limit P ~ N.

Given the hidden layers the outputs are Gaussian, f | s ~ N(0, s K), with s = prod_l chi2_{N_l} / N_l; a posterior is
one integral over ln s. The density of ln s comes from its Mellin transform, a product of Gamma ratios.

Source: Hanin & Zlokapa, arXiv:2212.14457; Li & Sompolinsky, arXiv:2012.04030; Pacelli et al., arXiv:2209.04882.
Letters: P samples, N_l widths, K kernel, b inverse temperature, u_l variance of layer l at the saddle, s their product,
lam and c eigenvalues of K and components of y; W(s) = ln p(y | s); x = 2 dW / d ln s, so that u_l = 1 + x / N_l.
"""

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.optimize import brentq, minimize_scalar
from torch import Tensor

from limes.core.errors import ConvergenceError, SpecError
from limes.numerics.contour import Real
from limes.theory.checks import check_number, check_whole
from limes.theory.initialization.mellin import Ladder, LayerFactor
from limes.theory.statics.data import checked_kernels, settle


@dataclass(frozen=True, eq=False)
class ProportionalProblem:
    """A deep linear network of given widths, seen through the kernel of its inputs.

    Args:
        kernel: (P, P), x.x' / D, or an NNGP kernel for the approximation of arXiv:2209.04882 (saddle only).
        targets: (P,).
        widths: (L,) hidden widths, input side first.
        inverse_temperature: Multiplies the SUM over samples of (f - y)^2 / 2; math.inf fits the data exactly.
        kernel_test_train: (M, P), or None.
        kernel_test: (M,) prior variances on the test inputs.

    Raises:
        SpecError: A shape or a number is out of range, or the kernel is singular at zero temperature.

    >>> ProportionalProblem([[1.0]], [1.0], [4, 8]).widths
    (4, 8)
    """

    kernel: Any
    targets: Any
    widths: Any
    inverse_temperature: float = field(default=math.inf, kw_only=True)
    kernel_test_train: Any = field(default=None, kw_only=True)
    kernel_test: Any = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        settle(self, **checked_kernels(self.kernel, self.targets, self.kernel_test_train, self.kernel_test))
        try:
            widths = tuple(self.widths)
        except TypeError:
            raise SpecError(f"widths {self.widths!r}: expected hidden widths such as (128, 128)") from None
        if not widths:
            raise SpecError("widths is empty; expected at least one hidden layer (without one, use the NNGP posterior)")
        beta = check_number("inverse_temperature", self.inverse_temperature, low=0.0, open_low=True, allow_inf=True)
        settle(
            self,
            widths=tuple(check_whole(f"widths[{i}]", width) for i, width in enumerate(widths)),
            inverse_temperature=beta,
        )
        lowest = float(torch.linalg.eigvalsh(self.kernel)[0])
        if beta == math.inf and lowest <= 1e-13 * float(self.kernel.trace()):
            raise SpecError(
                f"kernel has the eigenvalue {lowest:.3g} at zero temperature; give a finite inverse_temperature"
            )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ProportionalResult:
    """Exact posterior at the given widths, and the saddle of the proportional limit beside it.

    Args:
        train_mean: (P,) exact posterior mean outputs.
        train_variance: (P,) their exact posterior variance.
        test_mean: (M,).
        test_variance: (M,).
        mean_scale: Posterior mean of s, the factor on the kernel.
        log_evidence: ln p(y), exact.
        saddle_layers: (L,) u_l at the saddle.
        saddle_scale: Their product: the kernel is K times this in the proportional limit.
        saddle_test_mean: (M,) prediction at the saddle.
        saddle_test_variance: (M,).
        saddle_residual: What is left of the saddle equation, relative to its terms.
        problem: What was solved.
    """

    train_mean: Tensor
    train_variance: Tensor
    test_mean: Tensor
    test_variance: Tensor
    mean_scale: float
    log_evidence: float
    saddle_layers: Tensor
    saddle_scale: float
    saddle_test_mean: Tensor
    saddle_test_variance: Tensor
    saddle_residual: float
    problem: ProportionalProblem = field(repr=False)


class _Likelihood:
    """W(s) and what follows from it, in the eigenbasis of the kernel."""

    def __init__(self, problem: ProportionalProblem) -> None:
        eigenvalues, self.vectors = torch.linalg.eigh(problem.kernel)
        self.lam = eigenvalues.clamp_min(0.0).numpy()
        self.coefficients = (self.vectors.T @ problem.targets).numpy()
        self.noise = 0.0 if problem.inverse_temperature == math.inf else 1.0 / problem.inverse_temperature

    def log_density(self, log_s: Real | float) -> Any:
        """W, for each entry of `log_s`."""
        total = np.exp(np.asarray(log_s))[..., None] * self.lam + self.noise
        return -0.5 * (np.log(2.0 * math.pi * total) + self.coefficients**2 / total).sum(-1)

    def slope(self, log_s: float) -> float:
        """x = 2 dW / d ln s."""
        kernel = math.exp(log_s) * self.lam
        total = kernel + self.noise
        return float((kernel / total * (self.coefficients**2 / total - 1.0)).sum())

    def posterior(self, rows: Tensor, variances: Tensor, s: Real) -> tuple[Real, Real]:
        """Mean and variance (S, M) at each s of the outputs whose covariance with the data is s `rows`."""
        inner = (rows @ self.vectors).numpy()
        total = s[:, None] * self.lam + self.noise
        mean = (s[:, None] * self.coefficients / total) @ inner.T
        explained = (s[:, None] ** 2 / total) @ (inner**2).T
        return mean, np.maximum(s[:, None] * variances.numpy() - explained, 0.0)


def solve_proportional(problem: ProportionalProblem) -> ProportionalResult:
    """Posterior of a deep linear network at its own widths, and in the limit of many samples and neurons.

    Args:
        problem: Kernel, targets, widths, temperature.

    Returns:
        `ProportionalResult`.

    Raises:
        ConvergenceError: No contour resolves the density of s where the posterior lies.

    **Source**: arXiv:2212.14457 (exact, here at any temperature), arXiv:2012.04030 (saddle).
    **Accuracy**: 1e-10 relative for the exact part: trapezoidal rule in ln s, halved until the evidence stands still.

    >>> fit = solve_proportional(ProportionalProblem(np.eye(4), np.sqrt([0.75] * 4), [10]))    # y K^-1 y = 3
    >>> round(math.exp(fit.log_evidence) * (2 * math.pi) ** 2, 9)
    0.197763175
    """
    likelihood = _Likelihood(problem)
    rows = torch.cat([problem.kernel, problem.kernel_test_train])
    variances = torch.cat([problem.kernel.diagonal(), problem.kernel_test])
    log_s, weights, log_evidence = _posterior_of_scale(problem, likelihood)
    s = np.exp(log_s)
    mean, variance = likelihood.posterior(rows, variances, s)
    center = weights @ mean
    spread = weights @ variance + weights @ (mean - center) ** 2
    layers, residual = _saddle(problem, likelihood)
    saddle_mean, saddle_variance = likelihood.posterior(
        problem.kernel_test_train, problem.kernel_test, np.array([math.prod(layers)])
    )
    size = len(problem.kernel)
    return ProportionalResult(
        train_mean=torch.from_numpy(center[:size]),
        train_variance=torch.from_numpy(spread[:size]),
        test_mean=torch.from_numpy(center[size:]),
        test_variance=torch.from_numpy(spread[size:]),
        mean_scale=float(weights @ s),
        log_evidence=log_evidence,
        saddle_layers=torch.tensor(layers, dtype=torch.float64),
        saddle_scale=math.prod(layers),
        saddle_test_mean=torch.from_numpy(saddle_mean[0]),
        saddle_test_variance=torch.from_numpy(saddle_variance[0]),
        saddle_residual=residual,
        problem=problem,
    )


def _posterior_of_scale(problem: ProportionalProblem, likelihood: _Likelihood) -> tuple[Real, Real, float]:
    """Nodes in ln s, posterior weights that sum to one, and ln p(y)."""
    factors = [LayerFactor(width=n, count=k, gated=False) for n, k in sorted(Counter(problem.widths).items())]
    ladder = Ladder(factors, low=max(factor.pole for factor in factors), high=math.inf, divided=False)

    def log_posterior(log_s: float) -> float:
        mantissa, exponent = ladder.invert(log_s)
        return math.log(max(mantissa, 5e-324)) + exponent + float(likelihood.log_density(log_s))

    layers, _ = _saddle(problem, likelihood)
    start = math.log(math.prod(layers))
    scale = math.sqrt(sum(2.0 / n for n in problem.widths))
    found = minimize_scalar(lambda v: -log_posterior(v), bracket=(start - 0.1 * scale, start + 0.1 * scale), tol=1e-4)
    mode, top = float(found.x), -float(found.fun)
    ends = [_far(log_posterior, mode, top, sign * 0.25 * scale) for sign in (-1.0, 1.0)]
    previous = math.inf
    for count in (65, 129, 257, 513, 1025, 2049):
        nodes = np.linspace(ends[0], ends[1], count)
        logs = np.array([log_posterior(float(v)) for v in nodes])
        weights = np.exp(logs - top)
        log_evidence = top + math.log(float(weights.sum() * (nodes[1] - nodes[0])))
        if abs(log_evidence - previous) < 1e-11:
            return nodes, weights / weights.sum(), log_evidence
        previous = log_evidence
    raise ConvergenceError(f"widths {problem.widths}: the integral over the kernel's scale moved after 2049 points")


def _far(log_posterior: Any, mode: float, top: float, step: float) -> float:
    """A point beyond which the posterior of ln s holds less than e^-36 of its peak."""
    point = mode + step
    for _ in range(400):
        if log_posterior(point) < top - 36.0:
            return point
        step *= 1.2
        point += step
    raise ConvergenceError(f"the posterior of the kernel's scale does not fall off by ln s = {point:.3g}")


def _saddle(problem: ProportionalProblem, likelihood: _Likelihood) -> tuple[list[float], float]:
    """u_l, and the residual of x = 2 dW / d ln s(x); the root with the largest action where there are several."""
    widths = np.array(problem.widths, dtype=np.float64)
    lowest = -float(widths.min())

    def log_scale(x: float) -> float:
        return float(np.log1p(x / widths).sum())

    def gap(x: float) -> float:
        return x - likelihood.slope(log_scale(x))

    def action(x: float) -> float:
        layers = 1.0 + x / widths
        return float(0.5 * (widths * (np.log(layers) - layers)).sum() + likelihood.log_density(log_scale(x)))

    top = 1.0
    while gap(top) <= 0.0:
        top *= 2.0
    grid = np.concatenate([lowest * (1.0 - np.geomspace(1e-12, 1.0, 800)), np.linspace(0.0, top, 800)[1:]])
    values = np.array([gap(float(x)) for x in grid])
    rising = np.flatnonzero((values[:-1] <= 0.0) & (values[1:] > 0.0))
    roots = [float(brentq(gap, grid[i], grid[i + 1], xtol=1e-14, rtol=1e-14)) for i in rising]
    if not roots:
        raise ConvergenceError(f"widths {problem.widths}: no saddle between the smallest and the largest scale")
    best = max(roots, key=action)
    return list(1.0 + best / widths), abs(gap(best)) / (1.0 + abs(best))
