"""Mean-field deep linear Bayesian networks of infinite width: one number decides the adapted kernel.

Posterior exp(-b g^2 N sum (f - y)^2 / 2 - |theta|^2 / 2) with f = (1 / (g N)) w . h_L. Each layer multiplies the kernel
by the same u, but only along the residuals d = y - f; there u is the minimum of

    S(u) = (L/2) (u - 1 - ln u) + (g^2/2) y (u^L K + 1/b)^-1 y,      -(1/N) ln Z = min S,

and the kernel of layer l is Phi_l = K + (u^l - 1) K d d'K / (d'K d), so that Phi_L d = u^L K d.

Source: Lauditi, Bordelon & Pehlevan, arXiv:2502.07998; this form: docs/theory/adaptive_kernels.md.
Letters: K kernel of the inputs, L hidden layers, g gamma0, b inverse temperature, lam and c eigenvalues of K and the
components of y.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

from limes.theory.checks import check_whole
from limes.theory.statics.data import checked_kernels, checked_strengths, settle


@dataclass(frozen=True, eq=False)
class DeepLinearProblem:
    """A deep linear network in the mean-field scaling, seen through the kernel of its inputs.

    Args:
        kernel: (P, P), x.x' / D.
        targets: (P,).
        depth: Hidden layers L, 1 or more.
        gamma0: Feature-learning strength.
        inverse_temperature: Multiplies the SUM over samples of (f - y)^2 / 2.
        kernel_test_train: (M, P), or None.
        kernel_test: (M,) prior variances on the test inputs.

    Raises:
        SpecError: A shape or a number is out of range, or the kernel is no covariance.

    >>> DeepLinearProblem([[1.0]], [1.0], depth=2).depth
    2
    """

    kernel: Any
    targets: Any
    depth: int = field(default=1, kw_only=True)
    gamma0: float = field(default=1.0, kw_only=True)
    inverse_temperature: float = field(default=1.0, kw_only=True)
    kernel_test_train: Any = field(default=None, kw_only=True)
    kernel_test: Any = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        settle(
            self,
            **checked_kernels(self.kernel, self.targets, self.kernel_test_train, self.kernel_test),
            **checked_strengths(gamma0=self.gamma0, inverse_temperature=self.inverse_temperature),
            depth=check_whole("depth", self.depth),
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DeepLinearResult:
    """The saddle.

    Args:
        layer_scale: u, by which each hidden layer multiplies the kernel along the residuals.
        train_mean: (P,) outputs on the training inputs; they do not fluctuate at infinite width.
        test_mean: (M,).
        kernel: (P, P) adapted kernel of the last hidden layer; it is not u^L K, which only gives the same outputs.
        log_evidence: (1/N) ln Z at leading order, negative.
        residual: What is left of the saddle equation in u.
        num_saddles: Stationary points of S; the lowest is returned.
        problem: What was solved.
    """

    layer_scale: float
    train_mean: Tensor
    test_mean: Tensor
    kernel: Tensor
    log_evidence: float
    residual: float
    num_saddles: int
    problem: DeepLinearProblem = field(repr=False)


def solve_deep_linear(problem: DeepLinearProblem) -> DeepLinearResult:
    """The adapted kernel and the outputs of a deep linear network.

    Args:
        problem: Kernel, targets, depth, gamma0, temperature.

    Returns:
        `DeepLinearResult`.

    **Source**: arXiv:2502.07998, the linear case.
    **Accuracy**: 1e-13 relative in u. Roots between 1 and 1 + gamma0^2 b |y|^2 / 4, which bounds them, are bracketed on
    2,000 points and the one with the lowest action is taken.

    >>> fit = solve_deep_linear(DeepLinearProblem([[1.0]], [2.0], depth=1, gamma0=1.0, inverse_temperature=1.0))
    >>> round(fit.layer_scale, 6), fit.residual < 1e-13
    (1.903212, True)
    """
    eigenvalues, vectors = torch.linalg.eigh(problem.kernel)
    lam = eigenvalues.clamp_min(0.0).numpy()
    power = ((vectors.T @ problem.targets) ** 2).numpy()
    depth, strength, noise = problem.depth, problem.gamma0**2, 1.0 / problem.inverse_temperature

    def slope(log_scale: float) -> float:
        """2 / L times dS / d ln u."""
        kernel = np.exp(depth * log_scale) * lam
        return float(np.expm1(log_scale) - strength * np.sum(kernel * power / (kernel + noise) ** 2))

    def action(log_scale: float) -> float:
        loss = np.sum(power / (np.exp(depth * log_scale) * lam + noise))
        return float(0.5 * depth * (np.expm1(log_scale) - log_scale) + 0.5 * strength * loss)

    top = float(np.log1p(0.25 * strength * power.sum() / noise)) * (1.0 + 1e-9) + 1e-12
    grid = np.linspace(0.0, top, 2001)
    values = np.array([slope(point) for point in grid])
    rising = np.flatnonzero((values[:-1] <= 0.0) & (values[1:] > 0.0))
    roots = [float(brentq(slope, grid[i], grid[i + 1], xtol=1e-16, rtol=1e-15)) for i in rising] or [0.0]
    best = min(roots, key=action)
    scale = float(np.exp(depth * best))
    weights = vectors @ ((vectors.T @ problem.targets) / (scale * eigenvalues.clamp_min(0.0) + noise))
    pushed = problem.kernel @ weights
    # Differs from arXiv:2502.07998's scalar form: u^L K predicts alike, but the kernel changes along K d alone.
    spike = torch.outer(pushed, pushed) / (weights @ pushed).clamp_min(1e-300)
    return DeepLinearResult(
        layer_scale=float(np.exp(best)),
        train_mean=scale * pushed,
        test_mean=scale * problem.kernel_test_train @ weights,
        kernel=problem.kernel + (scale - 1.0) * spike,
        log_evidence=-action(best),
        residual=abs(slope(best)),
        num_saddles=2 * len(roots) - 1,
        problem=problem,
    )
