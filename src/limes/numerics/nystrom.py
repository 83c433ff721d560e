"""Largest eigenvalues of a positive operator that is too big to write down, from its products with a random block.

Source: Halko, Martinsson & Tropp, arXiv:0909.4061 (range finder); Tropp et al., arXiv:1706.05736 (Nystrom's form).
Letters: n dimension, Q (n, m) orthonormal block, Z = A Q, A' = Z (Q' Z)^-1 Z' the approximation, A - A' >= 0.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from limes.numerics.lanczos import Product, largest_eigenpairs

# Products that estimate how far the approximation is from the operator.
ERROR_PRODUCTS = 20


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class NystromPairs:
    """The largest eigenvalues, from below.

    Attributes:
        values: (m,) float64, decreasing.
        vectors: (n, m) orthonormal.
        error: Norm of what is left out: the k-th eigenvalue lies between values[k] and values[k] + error.
    """

    values: Tensor
    vectors: Tensor
    error: float


def nystrom_eigenpairs(product: Product, size: int, *, num: int, generator: torch.Generator) -> NystromPairs:
    """The largest eigenpairs of a positive semidefinite operator.

    Args:
        product: From (n,) to (n,) float64, symmetric and positive.
        size: n.
        num: Eigenpairs, at most n; with n of them the result is exact.
        generator: Draws the first block, which one product turns towards the largest eigenvectors.

    Accuracy: `error`, by 20 Lanczos products with what is left out; rounding is 1e-14 of the largest eigenvalue.
    """
    num = min(num, size)
    block = torch.randn(size, num, generator=generator, dtype=torch.float64)
    exact = num == size
    if not exact:
        block = _images(product, torch.linalg.qr(block)[0])
    block = torch.linalg.qr(block)[0]
    images = _images(product, block)
    small = block.T @ images
    # A shift of the size of rounding keeps the factor real; it is taken off the eigenvalues again.
    shift = 1e-14 * float(small.diagonal().max())
    moved = images + shift * block
    factor = torch.linalg.cholesky(0.5 * (small + small.T) + shift * torch.eye(num, dtype=torch.float64))
    vectors, roots, _ = torch.linalg.svd(
        torch.linalg.solve_triangular(factor, moved.T, upper=False).T, full_matrices=False
    )
    values = (roots**2 - shift).clamp_min(0.0)
    error = 0.0 if exact else _left_out(product, values, vectors, generator)
    return NystromPairs(values=values, vectors=vectors, error=error)


def _images(product: Product, block: Tensor) -> Tensor:
    return torch.stack([product(column) for column in block.T.contiguous()], 1)


def _left_out(product: Product, values: Tensor, vectors: Tensor, generator: torch.Generator) -> float:
    """Largest eigenvalue of the operator less its approximation."""

    def rest(vector: Tensor) -> Tensor:
        return product(vector) - vectors @ (values * (vectors.T @ vector))

    start = torch.randn(len(vectors), generator=generator, dtype=torch.float64)
    found = largest_eigenpairs(rest, start, tolerance=1e-2, max_products=ERROR_PRODUCTS)
    return max(float(found.values[0] + found.residuals[0]), 0.0)
