"""Residual networks as depth grows: width first, depth first, or both, for any scaling of the branches.

h' = h + beta L^-a W phi(h) / sqrt(n), tau = layer / L. What happens depends on the exponent: a > 1/2 and nothing does,
a = 1/2 and the covariance follows a differential equation, a < 1/2 and it explodes with depth.

Source: Hayou, arXiv:2210.00688; Hayou & Yang, arXiv:2302.00453; Li et al., arXiv:2106.04013.
Letters: n width, L depth, s = beta L^-a, H (m, m) mean over neurons of h h', k the dual of phi,
R = |h'|^2 / |h|^2 of one linear block: s^2 / n times a noncentral chi-square, n degrees of freedom, lambda = n / s^2.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from scipy.integrate import solve_ivp
from scipy.special import gammaln, polygamma, psi
from torch import Tensor

from limes.core.errors import ConvergenceError, ScopeError, SpecError
from limes.numerics.contour import Real
from limes.theory.activations import Activation, get_activation
from limes.theory.checks import as_floats, check_covariance, check_number, check_whole

Regime = Literal["frozen", "balanced", "exploding"]
EXACT_NONCENTRALITY = 1e9


@dataclass(frozen=True, eq=False)
class ResidualProblem:
    """A residual network at initialization, with one matrix in each branch.

    Args:
        covariance: (m, m) H at the first block.
        activation: Name or object, inside the branch.
        depth: Blocks L, or math.inf.
        width: n, or math.inf.
        branch_scale: beta.
        branch_exponent: a.

    Raises:
        SpecError: A value is out of range.
        ScopeError: Infinite depth with a < 1/2, where the signal explodes.

    >>> ResidualProblem([[1.0]], "relu", branch_exponent=0.75).regime
    'frozen'
    """

    covariance: Any
    activation: str | Activation = "relu"
    depth: float = field(default=math.inf, kw_only=True)
    width: float = field(default=math.inf, kw_only=True)
    branch_scale: float = field(default=1.0, kw_only=True)
    branch_exponent: float = field(default=0.5, kw_only=True)

    def __post_init__(self) -> None:
        settle = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731
        settle("covariance", check_covariance("covariance", self.covariance))
        settle("activation", get_activation(self.activation))
        for name in ("depth", "width"):
            value = getattr(self, name)
            settle(name, math.inf if value == math.inf else check_whole(name, value))
        settle("branch_scale", check_number("branch_scale", self.branch_scale, low=0.0))
        settle("branch_exponent", check_number("branch_exponent", self.branch_exponent))
        if self.depth == math.inf and self.regime == "exploding":
            raise ScopeError(
                f"branch_exponent {self.branch_exponent:g} at infinite depth: the signal explodes below 1/2; "
                "give a finite depth, or scale the branches by depth^-1/2"
            )

    @property
    def phi(self) -> Activation:
        """The activation itself."""
        return get_activation(self.activation)

    @property
    def regime(self) -> Regime:
        """What depth does: nothing, a finite change, or an explosion."""
        if self.branch_exponent > 0.5 or self.branch_scale == 0.0:
            return "frozen"
        return "balanced" if self.branch_exponent == 0.5 else "exploding"

    @property
    def block_strength(self) -> float:
        """s^2, what one of the blocks adds; 0 at infinite depth."""
        return 0.0 if self.depth == math.inf else self.branch_scale**2 * self.depth ** (-2.0 * self.branch_exponent)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ResidualResult:
    """The stream in depth.

    Args:
        times: (T,) tau, from 0 to 1.
        covariance: (T, m, m) expected H.
        log_growth: (T, m) mean of ln |h|^2 / |h_0|^2.
        log_growth_var: (T, m) its variance over networks; 0 at infinite width.
        problem: What was solved.
    """

    times: Real
    covariance: Tensor
    log_growth: Tensor
    log_growth_var: Tensor
    problem: ResidualProblem = field(repr=False)

    def correlation(self, first: int = 0, second: int = 1) -> Tensor:
        """(T,) cosine between two inputs, of the expected covariance."""
        h = self.covariance
        return h[:, first, second] / (h[:, first, first] * h[:, second, second]).sqrt()


def solve_residual(problem: ResidualProblem, times: Any = (1.0,)) -> ResidualResult:
    """The covariance of a residual stream after a share tau of its blocks.

    At infinite width any activation is covered: a recursion for finite depth, its differential equation beyond.
    At finite width linear networks are, exactly: the logarithm of the norm is a sum over blocks, normal with mean
    beta^2 tau (1 - 2 / n) and variance 4 beta^2 tau / n for infinite depth and a = 1/2, a geometric Brownian motion.

    Args:
        problem: Covariance at the first block, activation, sizes, scaling of the branches.
        times: (T,) shares of the depth, 0 to 1; at finite depth rounded to whole blocks.

    Returns:
        `ResidualResult`.

    Raises:
        ScopeError: A finite width with an activation that is not linear: use `simulate_residual`.
        SpecError: A time outside 0 to 1.

    **Accuracy**: rounding at finite depth, 1e-10 at infinite depth; log-moments of finite width and depth 1e-9.
    **Source**: arXiv:2210.00688, theorem 2; arXiv:2302.00453; finite width and depth: docs/theory/residual_branches.md.

    >>> result = solve_residual(ResidualProblem([[1.0, 0.5], [0.5, 1.0]], "relu"))
    >>> round(result.covariance[0, 0, 0].item(), 9)                     # = exp(1/2)
    1.648721271
    """
    tau = np.atleast_1d(as_floats("times", times))
    if tau.ndim != 1 or not tau.size or not bool(((tau >= 0.0) & (tau <= 1.0)).all()):
        raise SpecError(f"times {np.asarray(times).tolist()}: expected shares of the depth, 0 to 1")
    if problem.width != math.inf and problem.phi.name != "linear":
        raise ScopeError(
            f"width {problem.width:g} with activation {problem.phi.name!r}: finite widths are covered for 'linear' "
            "only; use simulate_residual, or width math.inf (the difference is of order 1 / width)"
        )
    with np.errstate(over="ignore"):
        covariance = _covariances(problem, tau)
    if not bool(covariance.isfinite().all()):
        raise ScopeError(
            "the stream leaves the range of double precision; raise branch_exponent, lower branch_scale or take fewer "
            "blocks"
        )
    d = covariance.diagonal(dim1=1, dim2=2)
    growth = (d / problem.covariance.diagonal()).log()
    variance = torch.zeros_like(growth)
    if problem.width != math.inf:
        mean, var = _linear_log_moments(problem)
        blocks = torch.from_numpy(tau if problem.depth == math.inf else np.round(tau * problem.depth))
        growth, variance = (blocks[:, None] * value * torch.ones_like(growth) for value in (mean, var))
    return ResidualResult(times=tau, covariance=covariance, log_growth=growth, log_growth_var=variance, problem=problem)


def dual_matrix(activation: Activation, covariance: Tensor) -> Tensor:
    """k(H) of a covariance matrix, with the closed form of its diagonal.

    **Source**: Cho & Saul 2009 and Mehler's formula, as in `limes.theory.kernels`. **Accuracy**: that of the dual.

    >>> dual_matrix(get_activation("linear"), torch.eye(2, dtype=torch.float64)).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    d, dual = covariance.diagonal(), activation.dual
    features = dual.features(d)
    k = dual.pair(features[:, :, None], features[:, None, :], covariance, False)[0]
    return k - torch.diag(k.diagonal()) + torch.diag(dual.diagonal(d)[0])


def _covariances(problem: ResidualProblem, tau: Real) -> Tensor:
    """(T, m, m)."""
    h = problem.covariance
    if problem.depth == math.inf:
        if problem.regime == "frozen":
            return h.expand(len(tau), *h.shape).clone()
        return _integrate(problem, tau)
    wanted = np.round(tau * problem.depth).astype(int)
    strength, kept = problem.block_strength, {0: h}
    if problem.phi.name == "linear":
        return torch.from_numpy(np.exp(wanted * math.log1p(strength)))[:, None, None] * h
    for block in range(1, int(wanted.max()) + 1):
        h = h + strength * dual_matrix(problem.phi, h)
        if block in wanted:
            kept[block] = h
    return torch.stack([kept[int(block)] for block in wanted])


def _integrate(problem: ResidualProblem, tau: Real) -> Tensor:
    """dH/dtau = beta^2 k(H)."""
    m, strength = len(problem.covariance), problem.branch_scale**2

    def rate(_: float, state: Real) -> Real:
        return strength * dual_matrix(problem.phi, torch.from_numpy(state.reshape(m, m).copy())).numpy().ravel()

    end = float(tau.max())
    shares, place = np.unique(tau, return_inverse=True)
    if end == 0.0:
        return problem.covariance.expand(len(tau), m, m).clone()
    start = problem.covariance.numpy().ravel()
    found = solve_ivp(rate, (0.0, end), start, "DOP853", t_eval=shares, rtol=1e-11, atol=1e-13)
    if not found.success or not bool(np.isfinite(found.y).all()):
        raise ConvergenceError(f"the covariance could not be followed to tau = {end:g}: {found.message}")
    return torch.from_numpy(found.y.T.reshape(-1, m, m)[place].copy())


def _linear_log_moments(problem: ResidualProblem) -> tuple[float, float]:
    """Mean and variance of ln R of one block, or per unit of tau at infinite depth."""
    n = float(problem.width)
    if problem.depth == math.inf:
        strength = problem.branch_scale**2 if problem.regime == "balanced" else 0.0
        return strength * (1.0 - 2.0 / n), 4.0 * strength / n
    s2 = problem.block_strength
    if s2 == 0.0:
        return 0.0, 0.0
    if n / s2 > EXACT_NONCENTRALITY:
        return s2 * (1.0 - 2.0 / n), 4.0 * s2 / n
    # A noncentral chi-square is a chi-square with n + 2 j degrees of freedom, j Poisson with mean lambda / 2.
    rate = 0.5 * n / s2
    reach = 12.0 * math.sqrt(rate) + 60.0
    j = np.arange(max(0.0, math.floor(rate - reach)), rate + reach)
    weights = np.exp(j * math.log(rate) - rate - gammaln(j + 1.0))
    weights /= weights.sum()
    logs = psi(0.5 * n + j) + math.log(2.0 * s2 / n)
    mean = float(weights @ logs)
    return mean, float(weights @ ((logs - mean) ** 2 + polygamma(1, 0.5 * n + j)))
