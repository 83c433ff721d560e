"""Linear algebra with the failures said in words.

Source: textbook. Letters: A a symmetric matrix, v and w its eigenvectors and eigenvalues.
"""

import torch
from torch import Tensor

from limes.core.errors import ConvergenceError


def symmetric(matrix: Tensor, *, name: str = "matrix") -> Tensor:
    """The symmetric part, after checking that the rest is rounding.

    Raises:
        ConvergenceError: The matrix is not square, or differs from its transpose by more than 1e-8 of its size.

    >>> symmetric(torch.eye(2)).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ConvergenceError(f"{name} of shape {tuple(matrix.shape)}: expected a square matrix")
    gap = (matrix - matrix.T).abs().max().item()
    size = matrix.abs().max().item()
    if not gap <= 1e-8 * size:
        raise ConvergenceError(f"{name} differs from its transpose by {gap:.3g}, its size is {size:.3g}: symmetrize it")
    return 0.5 * (matrix + matrix.T)


def factor_positive(matrix: Tensor) -> Tensor:
    """Lower Cholesky factor, or a sentence that says how far the matrix is from positive definite.

    Raises:
        ConvergenceError: An eigenvalue is zero or negative to rounding.

    >>> factor_positive(torch.tensor([[4.0]], dtype=torch.float64)).item()
    2.0
    """
    factor, info = torch.linalg.cholesky_ex(matrix)
    if info.item() == 0:
        return factor
    smallest = torch.linalg.eigvalsh(matrix)[0].item()
    raise ConvergenceError(
        f"the matrix has an eigenvalue {smallest:.3g}, expected all above rounding: add a ridge or drop repeats"
    )


def positive_eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (ascending, negative rounding set to 0) and eigenvectors of a positive semidefinite matrix.

    Raises:
        ConvergenceError: An eigenvalue is below -1e-9 of the largest.

    >>> positive_eigh(torch.eye(2, dtype=torch.float64))[0].tolist()
    [1.0, 1.0]
    """
    values, vectors = torch.linalg.eigh(symmetric(matrix))
    if values[0] < -1e-9 * values[-1].abs():
        raise ConvergenceError(f"smallest eigenvalue {values[0].item():.3g}: expected a positive semidefinite matrix")
    return values.clamp_min(0.0), vectors
