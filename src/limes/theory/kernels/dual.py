"""One pair at a time: the dual of an activation as a plain function of three covariances.

Source: see `limes.numerics.gaussian`, where the closed forms are.
"""

import torch
from torch import Tensor

from limes.core.errors import SpecError
from limes.theory.activations import Activation, get_activation


def dual_activation(activation: str | Activation, var1: Tensor, *, var2: Tensor, cov: Tensor) -> tuple[Tensor, Tensor]:
    """E phi(u) phi(v) and E phi'(u) phi'(v) for (u, v) ~ N(0, [[var1, cov], [cov, var2]]).

    Args:
        activation: Name or object.
        var1: (n,) variances of u, dimensionless, nonnegative.
        var2: (n,) variances of v.
        cov: (n,) covariances, |cov| <= sqrt(var1 var2).

    Returns:
        k and kdot, each (n,) float64; kdot is also dk/dcov.

    Raises:
        SpecError: The shapes differ or are not one-dimensional, or a covariance exceeds its variances.

    **Source**: Cho & Saul 2009; Williams 1997; arXiv:2002.08517; Mehler's formula.
    **Accuracy**: 1e-12 relative to sqrt(k(u,u) k(v,v)); kdot of kinked functions 1e-8 where |correlation| -> 1.

    >>> one, half = torch.ones(1, dtype=torch.float64), torch.full((1,), 0.5, dtype=torch.float64)
    >>> k, kdot = dual_activation("relu", one, var2=one, cov=half)
    >>> round(kdot.item(), 12)
    0.333333333333
    """
    a, b, c = (torch.as_tensor(t, dtype=torch.float64) for t in (var1, var2, cov))
    if a.ndim != 1 or not a.shape == b.shape == c.shape:
        raise SpecError(
            f"var1 {tuple(a.shape)}, var2 {tuple(b.shape)}, cov {tuple(c.shape)}: expected three equal shapes (n,)"
        )
    excess = c.abs() - (a * b).clamp_min(0.0).sqrt()
    if not bool((a >= 0).all() and (b >= 0).all() and (excess <= 1e-9 * (a + b)).all()):
        raise SpecError("not a covariance: expected var1, var2 >= 0 and |cov| <= sqrt(var1 var2), all finite")
    dual = get_activation(activation).dual
    with torch.no_grad():
        value, slope = dual.pair(dual.features(a), dual.features(b), c, True)
    assert slope is not None
    return value, slope
