"""S-transforms of the random matrices that stand between a spectrum and what a learner sees of it.

A random matrix that is free of the covariance multiplies the ridge: kappa' = kappa * S(df), with df the degrees of
freedom at kappa'. That one function is all that a deterministic equivalent needs to know about the matrix.

Source: Atanasov, Zavatone-Veth & Pehlevan, arXiv:2405.00592, sections 3 and 5.
Letters: df degrees of freedom (not divided by the number of modes), N rows, M modes.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from limes.core.errors import SpecError
from limes.numerics.contour import Real
from limes.theory.scaling.checks import check_size


class STransform(Protocol):
    """What is needed of a random matrix."""

    @property
    def capacity(self) -> float:
        """Degrees of freedom that cannot be exceeded: its rank."""
        ...

    def value(self, df: Real) -> Real:
        """S(df), at least 1, for df below the capacity."""
        ...

    def log_slope(self, df: Real) -> Real:
        """d log S / d df."""
        ...


@dataclass(frozen=True, slots=True)
class Wishart:
    """A^T A / N with N rows of independent Gaussian entries: random features, or samples.

    Args:
        num_rows: N; math.inf is the identity.

    **Source**: arXiv:2405.00592, Eq. 25 (white Wishart). **Accuracy**: closed form.

    >>> Wishart(4.0).value(np.array(2.0)).item()
    2.0
    """

    num_rows: float

    def __post_init__(self) -> None:
        check_size("num_rows", self.num_rows)

    @property
    def capacity(self) -> float:
        """N."""
        return self.num_rows

    def value(self, df: Real) -> Real:
        """1 / (1 - df/N)."""
        return 1.0 / (1.0 - df / self.num_rows)

    def log_slope(self, df: Real) -> Real:
        """1 / (N - df)."""
        return 1.0 / (self.num_rows - df) if self.num_rows != math.inf else np.zeros_like(df)


@dataclass(frozen=True, slots=True)
class Projection:
    """(M/N) times the projection on N random directions out of M: features made orthogonal.

    Args:
        num_rows: N, at most num_modes.
        num_modes: M.

    **Source**: arXiv:2405.00592, section 2 (projections). **Accuracy**: closed form.

    >>> Projection(4.0, 8.0).value(np.array(2.0)).item()       # milder than Wishart's 2
    1.5
    """

    num_rows: float
    num_modes: float

    def __post_init__(self) -> None:
        for name in ("num_rows", "num_modes"):
            check_size(name, getattr(self, name))
        if self.num_rows > self.num_modes:
            raise SpecError(
                f"num_rows {self.num_rows:g} is above num_modes {self.num_modes:g}; a projection has at most as many "
                "directions as there are modes"
            )

    @property
    def capacity(self) -> float:
        """N."""
        return self.num_rows

    def value(self, df: Real) -> Real:
        """(1 - df/M) / (1 - df/N)."""
        return (1.0 - df / self.num_modes) / (1.0 - df / self.num_rows)

    def log_slope(self, df: Real) -> Real:
        """1/(N - df) - 1/(M - df)."""
        return 1.0 / (self.num_rows - df) - 1.0 / (self.num_modes - df)
