"""Many linear relaxations driven by one common polynomial: exact in the rates, collocation in time.

A mode with rate d under a drive q is int_0^c e^(-d (c - s)) q(s) ds. With q a polynomial through a few nodes
of a step, these integrals are phi functions, whatever the rate: a stiff system costs no more than a slow one.

Source: exponential integrators of collocation type, Hochbruck & Ostermann, Acta Numerica 19 (2010) 209, section 2.2.
Letters: c (n,) nodes of a step of length 1, z (K,) rates times the step; phi_0 = exp, and
phi_{j+1}(x) = (phi_j(x) - 1/j!) / x.
"""

import math

import numpy as np

from limes.numerics.contour import Real

_TERMS = 20


def phi_functions(x: Real, count: int) -> list[Real]:
    """phi_1 .. phi_count of nonpositive arguments.

    **Accuracy**: 1e-13 relative up to phi_5: a series near zero, the recursion elsewhere.

    >>> [round(float(value[0]), 12) for value in phi_functions(np.array([0.0]), 3)]
    [1.0, 0.5, 0.166666666667]
    """
    small = x > -1.0
    far, near = np.where(small, -1.0, x), np.where(small, x, 0.0)
    values, latest = [], np.exp(far)
    for j in range(1, count + 1):
        latest = (np.expm1(far) if j == 1 else latest - 1.0 / math.factorial(j - 1)) / far
        series = np.zeros_like(near)
        for k in reversed(range(_TERMS)):
            series = series * near + 1.0 / math.factorial(k + j)
        values.append(np.where(small, series, latest))
    return values


def step_nodes(count: int) -> tuple[Real, Real]:
    """Chebyshev points of [0, 1] with both ends, and the matrix that integrates a polynomial from 0 to each of them.

    **Accuracy**: exact for polynomials of degree count - 1.

    >>> nodes, matrix = step_nodes(3)
    >>> (matrix @ nodes**2).round(12).tolist()
    [0.0, 0.041666666667, 0.333333333333]
    """
    nodes = 0.5 * (1.0 - np.cos(np.pi * np.arange(count) / (count - 1)))
    powers = np.arange(count)
    return nodes, (nodes[:, None] ** (powers + 1) / (powers + 1)) @ np.linalg.inv(nodes[:, None] ** powers)


def relaxation_weights(z: Real, nodes: Real) -> Real:
    """(n, n, K): int_0^{c_i} e^(-z (c_i - s)) l_j(s) ds, with l_j the Lagrange polynomials of the nodes.

    **Accuracy**: 1e-12.

    >>> nodes = step_nodes(3)[0]
    >>> round(float(relaxation_weights(np.array([2.0]), nodes)[2, :, 0].sum()), 12)       # (1 - exp(-2)) / 2
    0.432332358382
    """
    count = len(nodes)
    table = np.zeros((count, count, len(z)))
    for i, c in enumerate(nodes):
        phis = phi_functions(-c * z, count)
        for m, phi in enumerate(phis):
            table[i, m] = c ** (m + 1) * math.factorial(m) * phi
    return np.einsum("imk,mj->ijk", table, np.linalg.inv(nodes[:, None] ** np.arange(count)))
