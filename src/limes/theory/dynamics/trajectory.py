"""What one run of a particle solver leaves behind: outputs, coordinates of the fields in the revealed bases, samples.

Letters: T times, P_all samples (training first), C outputs, S particles, a and b ranks of the revealed bases.
"""

from dataclasses import dataclass, field

import numpy as np

from limes.core.errors import SpecError
from limes.theory.dynamics.revealed import RevealedMatrix


@dataclass(kw_only=True, slots=True, eq=False)
class FieldStore:
    """Inner products over particles of a field at any two times, from stored values or from coordinates.

    Args:
        values: One (P, S) array of particle values per time, or of (P, rank) coordinates in a common orthonormal basis.
        num_particles: S where `values` are particle values; 1 where they are coordinates.
    """

    values: list[np.ndarray] = field(default_factory=list)
    num_particles: int = 1

    def kernel(self, t: int, s: int) -> np.ndarray:
        """(P, P): <field_mu(t) field_nu(s)>."""
        left, right = self.values[t], self.values[s]
        if not len(left) or not len(right):
            raise SpecError(f"the kernel at times {t} and {s} was not kept; solve again with two_time=True")
        # A basis only grows: what was recorded earlier has fewer coordinates, the missing ones are zero.
        common = min(left.shape[1], right.shape[1])
        return left[:, :common] @ right[:, :common].T / self.num_particles


@dataclass(kw_only=True, slots=True, eq=False)
class TableStore:
    """A kernel known at all pairs of times.

    Args:
        table: (T, P, T, P).
    """

    table: np.ndarray

    def kernel(self, t: int, s: int) -> np.ndarray:
        """(P, P)."""
        return self.table[t, :, s]


@dataclass(kw_only=True, slots=True, eq=False)
class Trajectory:
    """One run of a particle solver.

    Args:
        outputs: (T, P_all, C), f(0) subtracted; NaN from a divergence on.
        features: One store per hidden layer.
        gradients: One store per hidden layer, rows ordered (sample, output).
        preactivations: h by (layer, time): (P_all, S).
        backfields: z by (layer, time): (P_all, C, S).
        matrices: The revealed matrices between hidden layers.
        diverged_at: Step at which the outputs stopped being finite, or None.
    """

    outputs: np.ndarray
    features: list[FieldStore | TableStore]
    gradients: list[FieldStore | TableStore]
    preactivations: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)
    backfields: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)
    matrices: list[RevealedMatrix] = field(default_factory=list)
    diverged_at: int | None = None

    @property
    def rank(self) -> int:
        """Largest number of directions revealed on either side of any matrix."""
        return max((max(matrix.ranks) for matrix in self.matrices), default=0)
