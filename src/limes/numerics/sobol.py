"""Scrambled Sobol points in natural order, one dimension at a time, as rows of standard normals.

A solver that asks for Gaussian rows one after another does not know beforehand how many dimensions it needs. Sobol
engines hand out points, all dimensions of one at a time; this one hands out dimensions, all points of one at a time.

Source: Joe & Kuo's direction numbers as shipped in `torch.quasirandom`; random linear scrambling with a digital shift
(Matousek 1998).
Letters: S points (2^k), d dimensions, x the points as 30-bit integers.
"""

from functools import lru_cache

import numpy as np
import torch
from scipy.special import ndtri

from limes.core.errors import SpecError

MAX_DIMENSIONS = torch.quasirandom.SobolEngine.MAXDIM
_BITS = torch.quasirandom.SobolEngine.MAXBIT
_CHUNK = 16
_PLACES = np.arange(_BITS - 1, -1, -1)


@lru_cache(maxsize=4)
def _direction_bits(dimensions: int) -> np.ndarray:
    """(dimensions, _BITS directions, _BITS bits), most significant bit first, as float64 zeros and ones."""
    state = torch.quasirandom.SobolEngine(dimensions).sobolstate.numpy()
    return ((state[:, :, None] >> _PLACES) & 1).astype(np.float64)


class SobolRows:
    """The dimensions of one scrambled Sobol point set, in order, each mapped to standard normals.

    Args:
        num_points: S, a power of two, at most 2^30.
        seed: Of the scrambling; different seeds give independent unbiased estimates.

    >>> rows = SobolRows(8, seed=0).take(2)
    >>> rows.shape, bool((np.sort(rows[0])[:4] < 0).all())
    ((2, 8), True)
    """

    def __init__(self, num_points: int, *, seed: int) -> None:
        if num_points < 2 or num_points & (num_points - 1) or num_points > 2**_BITS:
            raise SpecError(f"num_points is {num_points}; Sobol points need a power of two from 2 to 2^{_BITS}")
        self.num_points = num_points
        self._rng = np.random.default_rng(seed)
        self._ready = np.empty((0, num_points))
        self.num_taken = 0
        self._num_made = 0

    def take(self, num_rows: int) -> np.ndarray:
        """The next `num_rows` dimensions: (num_rows, S) float64, each row a stratified standard normal sample."""
        while len(self._ready) < num_rows:
            self._ready = np.concatenate([self._ready, self._make()])
        rows, self._ready = self._ready[:num_rows], self._ready[num_rows:]
        self.num_taken += num_rows
        return rows

    def _make(self) -> np.ndarray:
        if self._num_made + _CHUNK > MAX_DIMENSIONS:
            raise SpecError(f"more than {MAX_DIMENSIONS} Sobol dimensions were asked for; use independent noise")
        first, last = self._num_made, self._num_made + _CHUNK
        self._num_made = last
        # Powers of two keep the table of direction numbers from being rebuilt for every chunk.
        table = _direction_bits(max(256, 1 << (last - 1).bit_length()) if last <= 16384 else MAX_DIMENSIONS)
        return ndtri(self._uniform(table[first:last]))

    def _uniform(self, bits: np.ndarray) -> np.ndarray:
        """Natural order by doubling: the points of index 2^b..2^(b+1)-1 are the first 2^b shifted by direction b."""
        count = len(bits)
        num_directions = self.num_points.bit_length() - 1
        mixing = np.tril(self._rng.integers(0, 2, (count, _BITS, _BITS)), -1) + np.eye(_BITS)
        mixed = np.einsum("dij,dkj->dki", mixing, bits[:, :num_directions], optimize=True).astype(np.int64) & 1
        directions = (mixed << _PLACES).sum(-1)
        x = np.empty((count, self.num_points), dtype=np.int64)
        x[:, 0] = self._rng.integers(0, 2**_BITS, count)
        for b in range(num_directions):
            x[:, 1 << b : 2 << b] = x[:, : 1 << b] ^ directions[:, b, None]
        # The centre of each cell: never 0 or 1, so the inverse normal is finite.
        return (x + 0.5) * 2.0**-_BITS
