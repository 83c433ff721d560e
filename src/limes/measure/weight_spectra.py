"""Singular values of a weight against the bulk that its own random initialization had.

Source: Marchenko & Pastur 1967 (bulk); Johnstone 2001 and Ma, arXiv:1010.1144 (fluctuation of its edge).
Letters: W (n, m) weight, s deviation of its entries at initialization, sigma singular values, q = min / max of n, m.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from limes.core.errors import SpecError

# The largest of a random matrix passes the edge by this many Tracy-Widom units once in thousands of draws.
MARGIN = 4.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WeightSpectrum:
    """Singular values of one weight, and what its initialization would have.

    Attributes:
        singular_values: (min(n, m),) float64, decreasing.
        init_std: Deviation of the entries that the bulk belongs to.
        fitted: Whether `init_std` was fitted to the median singular value, because no initialization was given.
        bulk_low: Lower edge of the bulk, init_std |sqrt n - sqrt m|.
        bulk_high: Upper edge, init_std (sqrt n + sqrt m).
        outlier_edge: Upper edge with its margin: what lies above is no fluctuation.
        num_outliers: Singular values above it.
        stable_rank: |W|_F^2 / |W|_2^2.
    """

    singular_values: Tensor
    init_std: float
    fitted: bool
    bulk_low: float
    bulk_high: float
    outlier_edge: float
    num_outliers: int
    stable_rank: float

    @property
    def spectral_norm(self) -> float:
        """The largest singular value."""
        return self.singular_values[0].item()

    @property
    def frobenius_norm(self) -> float:
        """Root of the sum of squares."""
        return self.singular_values.norm().item()

    @property
    def outlier_energy(self) -> float:
        """Share of the squared Frobenius norm in the outliers."""
        power = self.singular_values.square()
        total = power.sum().item()
        return power[: self.num_outliers].sum().item() / total if total else 0.0


def weight_spectrum(
    weight: Tensor, *, initial: Tensor | None = None, init_std: float | None = None, margin: float = MARGIN
) -> WeightSpectrum:
    """Singular values of a weight, and how many stand out of the bulk of its own initialization.

    Args:
        weight: (n, m), or (n, ...) with the rest flattened, as for convolutions.
        initial: The same weight at initialization, whose root mean square is taken; or
        init_std: that deviation itself. Without either it is fitted: the bulk whose median is the median singular
            value, which a few outliers cannot move but a weight that has grown as a whole does.
        margin: Tracy-Widom units beyond the edge, for matrices of finite size.

    Raises:
        SpecError: Fewer than two axes, an entry that is not finite, a shape or deviation that does not fit.

    Source: Marchenko & Pastur 1967; Ma, arXiv:1010.1144, for centre and unit of the largest value of real matrices.
    **Accuracy**: singular values in float64.

    >>> found = weight_spectrum(torch.diag(torch.tensor([5.0, 0.1])), init_std=0.1)
    >>> found.num_outliers, round(found.bulk_high, 4), round(found.stable_rank, 4)
    (1, 0.2828, 1.0004)
    """
    matrix = _matrix(weight)
    sigma = torch.linalg.svdvals(matrix)
    rows, columns = matrix.shape
    if initial is not None:
        if initial.shape != weight.shape:
            raise SpecError(f"initial of shape {tuple(initial.shape)}: expected {tuple(weight.shape)}, the weight's")
        init_std = _matrix(initial).square().mean().sqrt().item()
    fitted = init_std is None
    if init_std is None:
        init_std = sigma.quantile(0.5).item() / (math.sqrt(max(rows, columns)) * _median_singular(rows, columns))
    if not 0 <= init_std < math.inf:
        raise SpecError(f"init_std {init_std}: expected the finite deviation of the weight's entries at initialization")
    edge = outlier_edge(rows, columns, margin=margin) * init_std
    largest = sigma[0].item()
    return WeightSpectrum(
        singular_values=sigma.cpu(),
        init_std=init_std,
        fitted=fitted,
        bulk_low=init_std * abs(math.sqrt(rows) - math.sqrt(columns)),
        bulk_high=init_std * (math.sqrt(rows) + math.sqrt(columns)),
        outlier_edge=edge,
        num_outliers=int((sigma > edge).sum()),
        stable_rank=(sigma.square().sum().item() / largest**2) if largest > 0 else 0.0,
    )


def outlier_edge(rows: int, columns: int, *, margin: float = MARGIN) -> float:
    """Singular value above which one of a random (rows, columns) matrix of unit deviation hardly ever lies.

    Source: Ma, arXiv:1010.1144. **Accuracy**: the law behind it is approximate to order min(rows, columns)^(-2/3).

    >>> round(outlier_edge(1000, 1000, margin=0.0) / (2 * 1000**0.5), 3)
    1.0
    """
    if rows < 1 or columns < 1 or margin < 0:
        raise SpecError(f"a matrix of {rows} x {columns}, margin {margin}: expected positive sizes, margin at least 0")
    n, m = math.sqrt(rows - 0.5), math.sqrt(columns - 0.5)
    unit = (n + m) * (1.0 / n + 1.0 / m) ** (1.0 / 3.0)
    return math.sqrt((n + m) ** 2 + margin * unit)


def _matrix(weight: Tensor) -> Tensor:
    if weight.dim() < 2 or not weight.is_floating_point() or not weight.numel():
        raise SpecError(f"a weight of shape {tuple(weight.shape)}, {weight.dtype}: expected two or more real axes")
    matrix = weight.detach().double().flatten(1)
    if not bool(matrix.isfinite().all()):
        raise SpecError(f"{int((~matrix.isfinite()).sum())} entries of the weight are not finite")
    return matrix


@lru_cache(maxsize=256)
def _median_singular(rows: int, columns: int) -> float:
    """Median of the Marchenko-Pastur law's singular values, in units of init_std x the root of the longer side."""
    q = min(rows, columns) / max(rows, columns)
    low, high = (1.0 - math.sqrt(q)) ** 2, (1.0 + math.sqrt(q)) ** 2
    # With x = mid - half cos(angle) the density has no root at its ends, and an even rule is accurate.
    angle = (np.arange(4096) + 0.5) * math.pi / 4096
    half = (high - low) / 2
    x = (low + high) / 2 - half * np.cos(angle)
    mass = np.cumsum((half * np.sin(angle)) ** 2 / x)
    return float(np.sqrt(np.interp(0.5 * mass[-1], mass, x)))
