"""Order and chaos: what depth does to the variance of one input and to the correlation of two.

Source: Poole et al., arXiv:1606.05340; Schoenholz et al., arXiv:1611.01232.
Letters: q variance of a preactivation, c correlation of two, q* and c* their fixed points, chi(c) slope of the map of
correlations at c, chi1 = chi(1), w and b the variances of weights (times fan-in) and biases, xi lengths in layers.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from scipy.optimize import brentq

from limes.core.errors import ScopeError
from limes.core.status import SolveStatus
from limes.numerics.fixed_point import fixed_point
from limes.numerics.gaussian import Dual
from limes.theory.activations import Activation, get_activation
from limes.theory.kernels.recursion import check_variances

Phase = Literal["ordered", "critical", "chaotic"]

# chi1 within this of 1 counts as critical; brentq leaves less.
_CRITICAL = 1e-8
# The correlation next to 1 at which a map that repels from 1 is told from one that attracts.
_NEAR_ONE = 1e-9


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class OrderChaos:
    """The infinitely deep network at one choice of variances.

    Args:
        activation: Its name.
        weight_var: Variance of a weight times its fan-in.
        bias_var: Variance of a bias.
        variance: q*, that of a preactivation.
        chi1: Growth of squared gradients, and of small differences, per layer.
        correlation: c*, that of two different inputs.
        chi: Slope of the map of correlations at c*.
        variance_slope: Slope of the map of variances at q*.
        status: CONVERGED where q* exists; otherwise q grew without bound and the rest is at the last value.
    """

    activation: str
    weight_var: float
    bias_var: float
    variance: float
    chi1: float
    correlation: float
    chi: float
    variance_slope: float
    status: SolveStatus

    @property
    def phase(self) -> Phase:
        """ "ordered" (chi1 < 1), "critical" or "chaotic"."""
        if abs(self.chi1 - 1.0) <= _CRITICAL:
            return "critical"
        return "ordered" if self.chi1 < 1.0 else "chaotic"

    @property
    def correlation_length(self) -> float:
        """xi_c in layers: correlations approach c* as exp(-layer / xi_c); inf at the edge."""
        return decay_length(self.chi)

    @property
    def variance_length(self) -> float:
        """xi_q in layers, for variances."""
        return decay_length(self.variance_slope)


def decay_length(slope: float) -> float:
    """-1 / ln |slope|: layers in which a deviation falls by e; inf from slope 1 on, 0 at slope 0.

    Source: limes.

    >>> round(decay_length(0.5), 6), decay_length(1.0)
    (1.442695, inf)
    """
    size = abs(slope)
    if size >= 1.0 - _CRITICAL:
        return math.inf
    return -1.0 / math.log(size) if size > 0.0 else 0.0


def diagonal_maps(dual: Dual, variance: float) -> tuple[float, float]:
    """E phi(u)^2 and E phi'(u)^2 at one variance."""
    k, kdot = dual.diagonal(torch.tensor([variance], dtype=torch.float64))
    return k.item(), kdot.item()


def correlation_maps(dual: Dual, variance: float, correlation: float) -> tuple[float, float]:
    """E phi(u) phi(v) and E phi'(u) phi'(v) at equal variances and a correlation."""
    features = dual.features(torch.tensor([variance], dtype=torch.float64))
    k, kdot = dual.pair(features, features, torch.tensor([variance * correlation], dtype=torch.float64), True)
    assert kdot is not None
    return k.item(), kdot.item()


def order_chaos(
    activation: str | Activation, *, weight_var: float, bias_var: float, start_variance: float = 1.0, throw: bool = True
) -> OrderChaos:
    """Fixed points, chi and lengths of a fully connected network.

    Args:
        activation: Name or object.
        weight_var: Variance of a weight times its fan-in.
        bias_var: Variance of a bias.
        start_variance: Where the iteration for q* begins; it matters where several q* exist (relu at 2, 0: all q).
        throw: Raise where q* does not exist; otherwise the status says so.

    Returns:
        `OrderChaos`.

    Raises:
        SpecError: A variance is unusable.
        ConvergenceError: Variances grow without bound, and `throw`.

    **Source**: arXiv:1606.05340, section 2; arXiv:1611.01232, section 3.
    **Accuracy**: 1e-12 / (1 - slope), relative; c* within 1e-9 of 1 counts as 1.

    >>> net = order_chaos("tanh", weight_var=1.0, bias_var=0.05)
    >>> round(net.variance, 8), round(net.chi1, 8), net.phase
    (0.19359252, 0.75903165, 'ordered')
    """
    check_variances(weight_var, bias_var)
    phi = get_activation(activation)
    dual = phi.dual
    found = fixed_point(
        lambda q: weight_var * diagonal_maps(dual, q)[0] + bias_var, start_variance, max_iterations=2000, throw=throw
    )
    q = found.value if math.isfinite(found.value) else start_variance
    chi1 = weight_var * diagonal_maps(dual, q)[1]
    correlation, chi = _correlation_point(dual, q, chi1=chi1, weight_var=weight_var, bias_var=bias_var)
    return OrderChaos(
        activation=phi.name,
        weight_var=weight_var,
        bias_var=bias_var,
        variance=q,
        chi1=chi1,
        correlation=correlation,
        chi=chi,
        variance_slope=_variance_slope(dual, q, weight_var),
        status=found.status,
    )


def _variance_slope(dual: Dual, variance: float, weight_var: float) -> float:
    """weight_var d/dq E phi^2, by automatic differentiation of the diagonal map."""
    # q = 0 is a branch point of sqrt; its slope is the limit from above.
    q = torch.tensor([max(variance, 1e-12)], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(dual.diagonal(q)[0].sum(), q)
    return weight_var * slope.item()


def _correlation_point(
    dual: Dual, variance: float, *, chi1: float, weight_var: float, bias_var: float
) -> tuple[float, float]:
    """c* and chi(c*): 1 where 1 attracts, else the one root below it (the map is convex on [0, 1])."""
    if chi1 <= 1.0 + _CRITICAL or variance < 1e-12:
        return 1.0, chi1

    def excess(c: float) -> float:
        return (weight_var * correlation_maps(dual, variance, c)[0] + bias_var) / variance - c

    if excess(1.0 - _NEAR_ONE) >= 0.0:
        return 1.0, chi1
    c = float(brentq(excess, 0.0, 1.0 - _NEAR_ONE, xtol=1e-15, rtol=1e-14)) if excess(0.0) > 0.0 else 0.0
    return c, weight_var * correlation_maps(dual, variance, c)[1]


def edge_of_chaos(activation: str | Activation, *, bias_var: float) -> OrderChaos:
    """The weight variance at which chi1 = 1 for a given bias variance, and what the network is there.

    Args:
        activation: Name or object.
        bias_var: Variance of a bias.

    Returns:
        `OrderChaos` with `weight_var` on the edge. Where the edge is met for small variances alone (bias_var = 0 and
        a smooth odd function) `variance` is 0.

    Raises:
        SpecError: bias_var is negative.
        ScopeError: No variance up to 20 is on the edge (relu with biases has none).

    **Source**: arXiv:1606.05340; parametrized by q, so that one scalar root remains: docs/theory/kernels.md.
    **Accuracy**: 1e-10 relative.

    >>> edge = edge_of_chaos("tanh", bias_var=0.1)
    >>> round(edge.weight_var, 8), round(edge.variance, 8)
    (1.98607264, 0.80579918)
    """
    check_variances(1.0, bias_var)
    phi = get_activation(activation)
    dual = phi.dual

    def gap(log_variance: float) -> float:
        q = math.exp(log_variance)
        k, kdot = diagonal_maps(dual, q)
        return 1.0 - (k / kdot + bias_var) / q

    q = _edge_variance(gap, phi.name, bias_var)
    weight_var = 1.0 / diagonal_maps(dual, q)[1]
    return OrderChaos(
        activation=phi.name,
        weight_var=weight_var,
        bias_var=bias_var,
        variance=q,
        chi1=1.0,
        correlation=1.0,
        chi=1.0,
        variance_slope=_variance_slope(dual, q, weight_var),
        status=SolveStatus.CONVERGED,
    )


def _edge_variance(gap: Callable[[float], float], name: str, bias_var: float) -> float:
    start = math.log(1e-8)
    if bias_var == 0.0 and abs(gap(start)) < 1e-6:
        return 0.0
    grid = [start + i * (math.log(20.0) - start) / 200 for i in range(201)]
    values = [gap(t) for t in grid]
    for left, right, a, b in zip(grid, grid[1:], values, values[1:]):
        if a * b <= 0.0:
            return math.exp(float(brentq(gap, left, right, xtol=1e-14, rtol=1e-13)))
    raise ScopeError(
        f"{name} with bias_var {bias_var:g}: no variance between 1e-8 and 20 has chi1 = 1; "
        "lower bias_var (a homogeneous function such as relu has an edge at bias_var 0 only)"
    )
