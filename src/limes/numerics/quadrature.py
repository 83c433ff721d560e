"""Integrals against the standard normal density, and Hermite series of functions of one Gaussian variable.

Source: textbook quadrature (the trapezoidal rule converges exponentially for analytic integrands that decay).
Letters: z ~ N(0, 1), h step of the rule, he_n Hermite polynomial normalized to E he_n(z)^2 = 1, q a variance.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from limes.core.errors import ConvergenceError

# The integrand carries e^(-z^2/4) even against he_n of any order, so beyond +-12.5 less than 1e-16 is left.
_HALF_WIDTH = 12.5
_MAX_TERMS = 4096
_MAX_NODES = 8192


@lru_cache(maxsize=16)
def normal_nodes(num_nodes: int) -> tuple[Tensor, Tensor]:
    """Trapezoidal nodes and weights for E f(z), z ~ N(0, 1).

    Args:
        num_nodes: Number of equally spaced nodes on [-12.5, 12.5].

    Returns:
        Nodes and weights, each (num_nodes,) float64; the weights sum to 1.

    **Accuracy**: an integrand analytic in a strip |Im z| < d has relative error near exp(-2 pi d / h).

    >>> z, weights = normal_nodes(128)
    >>> round((weights @ z**4).item(), 12)
    3.0
    """
    z = torch.linspace(-_HALF_WIDTH, _HALF_WIDTH, num_nodes, dtype=torch.float64)
    weights = torch.exp(-0.5 * z * z)
    return z, weights / weights.sum()


@lru_cache(maxsize=8)
def _weighted_hermite(num_nodes: int, num_terms: int) -> Tensor:
    """(num_nodes, num_terms): weight times normalized he_n at the nodes, by the stable three-term recursion."""
    z, weights = normal_nodes(num_nodes)
    # sqrt(weight) goes in first: he_n alone overflows where the weight underflows.
    root = weights.sqrt()
    columns = [root, z * root]
    for n in range(2, num_terms):
        columns.append((z * columns[-1] - math.sqrt(n - 1) * columns[-2]) / math.sqrt(n))
    return torch.stack(columns[:num_terms], 1) * root[:, None]


def normal_expectation(function: Callable[[Tensor], Tensor], variance: Tensor, *, num_nodes: int = 512) -> Tensor:
    """E f(sqrt(variance) z), z ~ N(0, 1), for each variance.

    Args:
        function: Elementwise on float64 tensors.
        variance: (...) nonnegative float64.
        num_nodes: Nodes of the trapezoidal rule.

    Returns:
        (...) float64. Differentiable in `variance` where the function is.

    **Accuracy**: rounding for functions analytic within about 0.25 sqrt(variance) of the real axis; h^2 at a kink.

    >>> normal_expectation(torch.cos, torch.tensor(1.0, dtype=torch.float64)).item()  # = exp(-1/2)
    0.60653065971...
    """
    z, weights = normal_nodes(num_nodes)
    parts = variance.sqrt().reshape(-1).split(max(1, 4_000_000 // num_nodes))
    return torch.cat([function(part[:, None] * z) @ weights for part in parts]).reshape(variance.shape)


def _series(function: Callable[[Tensor], Tensor], std: Tensor, num_nodes: int, num_terms: int) -> tuple[Tensor, Tensor]:
    """Coefficients (num_terms, P), and E f^2 (P,), in chunks that keep the table of values small."""
    z, weights = normal_nodes(num_nodes)
    table = _weighted_hermite(num_nodes, num_terms)
    coefficients, squares = [], []
    for part in std.split(max(1, 4_000_000 // num_nodes)):
        values = function(part[:, None] * z)
        coefficients.append(values @ table)
        squares.append((values * values) @ weights)
    return torch.cat(coefficients).T.contiguous(), torch.cat(squares)


def hermite_series(function: Callable[[Tensor], Tensor], variance: Tensor, *, tolerance: float = 1e-13) -> Tensor:
    """c_n(q) = E f(sqrt(q) z) he_n(z), with as many terms as the tolerance needs.

    Args:
        function: Elementwise on float64 tensors, analytic near the real axis.
        variance: (P,) nonnegative.
        tolerance: Largest relative weight that the N returned terms may miss: of E f^2, and in their last quarter
            of q E f'^2 = sum_n n c_n^2, whose tail is the longer one.

    Returns:
        (N, P) float64; N is the same for all variances.

    Raises:
        ConvergenceError: 4096 terms or 8192 nodes do not reach the tolerance: a kink, or too large a variance.

    **Accuracy**: by Parseval the missing weight is known exactly; it bounds the error of any E f(u) f(v) built from it.

    >>> one = torch.ones(1, dtype=torch.float64)
    >>> round(hermite_series(torch.sin, one)[1].item(), 12)  # = exp(-1/2)
    0.606530659713
    """
    std = variance.sqrt()
    # A plan is made once for a quarter octave of standard deviations: deep networks come back to the same ones.
    edges = [max(std.min().item(), 1e-8), max(std.max().item(), 1e-8)]
    bins = math.floor(4.0 * math.log2(edges[0])), math.ceil(4.0 * math.log2(edges[1]))
    num_nodes, num_terms = _plan(function, *bins, tolerance)
    return _series(function, std, num_nodes, num_terms)[0]


@lru_cache(maxsize=512)
def _plan(function: Callable[[Tensor], Tensor], low: int, high: int, tolerance: float) -> tuple[int, int]:
    """Numbers of nodes and terms that are enough between the standard deviations 2^(low/4) and 2^(high/4)."""
    std = torch.tensor([2.0 ** (low / 4), 2.0 ** (high / 4)], dtype=torch.float64)
    num_terms, floor = 16, torch.ones(2, dtype=torch.float64)
    missing, coefficients = floor, std
    while num_terms <= _MAX_TERMS:
        # 2 pi / h must exceed twice the local frequency sqrt(n) of he_n.
        num_nodes = max(256, 16 * math.ceil(2.0 * math.sqrt(num_terms) + 8.0))
        coefficients, squares = _series(function, std, num_nodes, num_terms)
        missing = (squares - (coefficients**2).sum(0)).abs()
        energy = torch.arange(num_terms, dtype=torch.float64)[:, None] * coefficients**2
        floor = squares.clamp_min(1e-300)
        # The difference of two sums of order E f^2 cannot resolve less than rounding: the last terms then decide.
        small = energy[-(num_terms // 4) :].sum(0) <= tolerance * energy.sum(0).clamp_min(1e-300)
        if bool(((missing <= max(tolerance, 1e-13) * floor) & small).all()):
            return _enough_nodes(function, std, num_nodes, num_terms), num_terms
        num_terms += num_terms // 2
    raise ConvergenceError(
        f"the Hermite series of this function misses {(missing / floor).max().item():.1e} of its weight after "
        f"{_MAX_TERMS} terms at variance {std[1].item() ** 2:.3g}, expected {tolerance:.0e}: give the activation a "
        "closed-form dual if it has a kink, or lower the variance",
        result=coefficients,
    )


def _enough_nodes(function: Callable[[Tensor], Tensor], std: Tensor, num_nodes: int, num_terms: int) -> int:
    """The first number of nodes whose doubling changes no coefficient beyond rounding."""
    before = _series(function, std, num_nodes, num_terms)[0]
    while num_nodes < _MAX_NODES:
        after = _series(function, std, 2 * num_nodes, num_terms)[0]
        scale = after.abs().max(0).values.clamp_min(1e-300)
        if bool(((after - before).abs().max(0).values <= 1e-14 * scale).all()):
            return num_nodes
        num_nodes, before = 2 * num_nodes, after
    return num_nodes
