"""Lanczos' method for a symmetric operator given by its products: largest algebraic eigenvalues, and quadrature.

Source: Golub & Van Loan, Matrix Computations, chapter 10; Wu & Simon 2000 (thick restart).
Letters: n dimension, V (n, j) orthonormal basis, A the operator, T (j, j) = V' A V, theta Ritz value.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]
# Products without progress, once the residual is small, after which it will not get smaller.
PATIENCE = 15


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Eigenpairs:
    """The largest algebraic eigenvalues of a symmetric operator.

    Attributes:
        values: (num,) float64, decreasing.
        vectors: (n, num), orthonormal, in the dtype of the start.
        residuals: (num,) float64, norm of A v - value v: each value is within that of an eigenvalue.
        num_products: Products with A that were made.
        converged: Whether every residual met the tolerance.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    num_products: int
    converged: bool


def largest_eigenpairs(
    product: Product,
    start: Tensor,
    *,
    num: int = 1,
    tolerance: float = 1e-6,
    max_products: int = 1000,
    max_vectors: int = 60,
) -> Eigenpairs:
    """Largest algebraic eigenvalues by Lanczos with full reorthogonalization and thick restarts.

    The sign is right even where the spectrum is symmetric, which power iteration (largest absolute value) is not.

    Args:
        product: From (n,) to (n,), symmetric.
        start: (n,), not zero; a vector close to the wanted one saves products.
        num: Eigenpairs wanted, at least 1.
        tolerance: Accept when every residual is at most this times the operator's largest Ritz value in size.
        max_products: Stop after so many products.
        max_vectors: Basis vectors held in memory; more means fewer products in all.

    Accuracy: residuals are computed, not estimated; where the rounding of `product` keeps them above the tolerance, it
    stops and says that it has not converged.
    """
    n = start.numel()
    num = min(num, n)
    max_vectors = min(max(max_vectors, 2 * num + 3), n)
    basis = torch.empty(max_vectors, n, dtype=start.dtype, device=start.device)
    images = torch.empty_like(basis)
    candidate, held, products = start / start.norm(), 0, 0
    best, since_best = float("inf"), 0
    while True:
        basis[held] = candidate
        images[held] = product(candidate)
        products, held = products + 1, held + 1
        small = (basis[:held] @ images[:held].T).double()
        ritz, rotation = torch.linalg.eigh(0.5 * (small + small.T))
        chosen = rotation[:, -min(num, held) :].flip(1).to(start.dtype)
        vectors, mapped = chosen.T @ basis[:held], chosen.T @ images[:held]
        values = ritz[-min(num, held) :].flip(0)
        rest = mapped - values[:, None].to(start.dtype) * vectors
        residuals = rest.double().norm(dim=1)
        small_enough = residuals <= tolerance * ritz.abs().max()
        if (held >= num and bool(small_enough.all())) or products >= max_products or held == n:
            break
        largest = residuals.max().item() if held >= num else float("inf")
        best, since_best = (largest, 0) if largest < 0.9 * best else (best, since_best + 1)
        if since_best >= PATIENCE and best <= sqrt(torch.finfo(start.dtype).eps) * ritz.abs().max():
            # The products' own rounding: no tolerance below it can be met.
            break
        # The residual of the first pair that is not done yet: the Krylov direction, and after a restart still it.
        worst = int((~small_enough).double().argmax()) if held >= num else 0
        direction = _orthogonal(rest[worst], basis[:held])
        if direction is None:
            direction = _orthogonal(_fresh(start, products), basis[:held])
            if direction is None:
                break
        if held == max_vectors:
            keep = rotation[:, -max(num + 2, held // 3) :].to(start.dtype)
            kept = keep.shape[1]
            basis[:kept], images[:kept] = keep.T @ basis[:held], keep.T @ images[:held]
            held = kept
        candidate = direction
    return Eigenpairs(
        values=values,
        vectors=vectors.T.contiguous(),
        residuals=residuals,
        num_products=products,
        converged=len(values) == num and (held == n or bool(small_enough.all())),
    )


def lanczos_quadrature(product: Product, start: Tensor, num_steps: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights of the Gauss quadrature of the operator's spectral measure at `start`.

    Args:
        product: From (n,) to (n,), symmetric.
        start: (n,), not zero.
        num_steps: Products; fewer are made if the Krylov space ends before.

    Returns:
        (k,) nodes and (k,) weights, float64; weights are non-negative and sum to 1, and moments up to 2k - 1 of
        start' A^m start / start' start are exact.
    """
    nodes, vectors = torch.linalg.eigh(_lanczos_matrix(product, start, num_steps))
    return nodes, vectors[0] ** 2


Rule = tuple[Tensor, Tensor]


def lanczos_bracket(product: Product, start: Tensor, num_steps: int) -> tuple[Rule, Rule]:
    """Two quadratures of a positive operator's spectral measure at `start` whose errors have opposite signs.

    Args:
        product: From (n,) to (n,), symmetric, positive semidefinite.
        start: (n,), not zero.
        num_steps: Products, at least 2.

    Returns:
        (nodes, weights) of Gauss, below the integral of every function whose even derivatives are positive; and of
        Gauss-Radau with a node at 0, above it where the odd ones are negative, as for exp(-t x) and for (1 - x)^(2 t)
        up to x = 1. The two are one where the Krylov space ends.

    Source: Golub & Meurant, Matrices, Moments and Quadrature, chapter 6.
    """
    matrix = _lanczos_matrix(product, start, num_steps)
    nodes, vectors = torch.linalg.eigh(matrix)
    gauss = nodes.clamp_min(0.0), vectors[0] ** 2
    size = len(matrix)
    if size < max(min(num_steps, start.numel()), 2) or size == start.numel():
        return gauss, gauss
    matrix = matrix.clone()
    corner = torch.zeros(size - 1, dtype=torch.float64)
    corner[-1] = matrix[-1, -2] ** 2
    matrix[-1, -1] = torch.linalg.solve(matrix[:-1, :-1], corner)[-1]
    nodes, vectors = torch.linalg.eigh(matrix)
    return gauss, (nodes.clamp_min(0.0), vectors[0] ** 2)


def _lanczos_matrix(product: Product, start: Tensor, num_steps: int) -> Tensor:
    """The operator in the orthonormal basis of the Krylov space of `start`, float64."""
    basis = [start / start.norm()]
    images: list[Tensor] = []
    while True:
        images.append(product(basis[-1]))
        if len(images) == min(num_steps, start.numel()):
            break
        direction = _orthogonal(images[-1], torch.stack(basis))
        if direction is None:
            break
        basis.append(direction)
    small = (torch.stack(basis) @ torch.stack(images).T).double()
    return 0.5 * (small + small.T)


def _orthogonal(vector: Tensor, basis: Tensor) -> Tensor | None:
    """The unit part of `vector` outside the basis; None when there is none beyond rounding."""
    before = vector.norm()
    # Twice is enough (Kahan): the first pass leaves rounding of the size of what it removed.
    for _ in range(2):
        vector = vector - basis.T @ (basis @ vector)
    size = vector.norm()
    if not size > 10 * torch.finfo(vector.dtype).eps * max(before.item(), torch.finfo(vector.dtype).tiny):
        return None
    return vector / size


def _fresh(start: Tensor, seed: int) -> Tensor:
    """Another direction, after an invariant subspace that may lack the wanted one."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(start.numel(), generator=generator, dtype=torch.float64).to(start.dtype).to(start.device)
