"""Kernels of an infinitely wide fully connected network as its depth grows.

Source: Xiao et al., arXiv:1912.13053; Hayou et al., arXiv:1905.13654; the general exponent: docs/theory/kernels.md.
Letters: l depth, c_l correlation of two inputs, q*, c*, chi1, chi as in `order_chaos`, p and s from
1 - c_{l+1} = (1 - c_l) - s (1 - c_l)^p at the edge (p = 2 for smooth functions, 3/2 for a kink).
"""

import math
from dataclasses import dataclass
from typing import Literal

from limes.core.errors import ScopeError
from limes.theory.activations import Activation, get_activation
from limes.theory.kernels.order_chaos import OrderChaos, correlation_maps, diagonal_maps, order_chaos

Growth = Literal["constant", "linear", "exponential"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DepthLimit:
    """What the kernels tend to.

    Args:
        point: The fixed points behind them.
        nngp_diagonal: Covariance of an output with itself.
        nngp_offdiagonal: Covariance of the outputs at two different inputs.
        ntk_diagonal: Tangent kernel at equal inputs; inf where it grows.
        ntk_offdiagonal: At two different inputs; inf where it grows.
        ntk_growth: How the diagonal grows: "constant", "linear" in depth, or "exponential" as chi1^depth.
        ntk_ratio: Limit of an off-diagonal entry over the geometric mean of its two diagonal ones.
    """

    point: OrderChaos
    nngp_diagonal: float
    nngp_offdiagonal: float
    ntk_diagonal: float
    ntk_offdiagonal: float
    ntk_growth: Growth
    ntk_ratio: float


def depth_limit(activation: str | Activation, *, weight_var: float, bias_var: float) -> DepthLimit:
    """Limits of the NNGP and tangent kernels with depth.

    Ordered: both kernels become constant matrices. Chaotic: the tangent kernel's diagonal explodes and the rest stays.
    At the edge it grows linearly, and its shape tends to (1 - r) identity + r with r = (p - 1) / (2 p - 1): 1/3 for
    smooth functions, 1/4 for a kink.

    Args:
        activation: Name or object.
        weight_var: Variance of a weight times its fan-in.
        bias_var: Variance of a bias.

    Returns:
        `DepthLimit`.

    Raises:
        ConvergenceError: The variance has no fixed point.
        ScopeError: The function is linear at the edge: correlations never move and the limit is the input's own.

    **Source**: arXiv:1912.13053 and arXiv:1905.13654 (1/3 and 1/4); one formula for both: docs/theory/kernels.md.
    **Accuracy**: that of `order_chaos`.

    >>> limit = depth_limit("relu", weight_var=2.0, bias_var=0.0)
    >>> limit.ntk_growth, limit.ntk_ratio
    ('linear', 0.25)
    """
    point = order_chaos(activation, weight_var=weight_var, bias_var=bias_var)
    q, c = point.variance, point.correlation
    # Theta' = q + chi Theta has the limit q / (1 - chi), in each entry with its own chi.
    if point.phase == "critical":
        exponent = _edge_exponent(point, activation)
        diagonal, offdiagonal, ratio = math.inf, math.inf, (exponent - 1.0) / (2.0 * exponent - 1.0)
    elif point.phase == "chaotic":
        diagonal, offdiagonal, ratio = math.inf, c * q / (1.0 - point.chi), 0.0
    else:
        diagonal = offdiagonal = q / (1.0 - point.chi1)
        ratio = 1.0
    growth: dict[str, Growth] = {"critical": "linear", "chaotic": "exponential", "ordered": "constant"}
    return DepthLimit(
        point=point,
        nngp_diagonal=q,
        nngp_offdiagonal=c * q,
        ntk_diagonal=diagonal,
        ntk_offdiagonal=offdiagonal,
        ntk_growth=growth[point.phase],
        ntk_ratio=ratio,
    )


def _edge_exponent(point: OrderChaos, activation: str | Activation) -> float:
    """p, read off the map of correlations at two distances from 1 and rounded to a half."""
    dual, q = get_activation(activation).dual, max(point.variance, 1e-3)
    one = point.weight_var * diagonal_maps(dual, q)[0] + point.bias_var
    distances, gaps = (1e-3, 1e-4), []
    for distance in distances:
        k = point.weight_var * correlation_maps(dual, q, 1.0 - distance)[0] + point.bias_var
        gaps.append(distance - (one - k) / q)
    if min(gaps) <= 1e-12:
        raise ScopeError(
            f"{point.activation} at weight_var {point.weight_var:g}: correlations do not move with depth, so the limit "
            "is the input's own kernel; ask for the kernel at a finite depth"
        )
    slope = math.log(gaps[0] / gaps[1]) / math.log(distances[0] / distances[1])
    return round(2.0 * slope) / 2.0
