"""A Gaussian matrix that is never stored: only what it does to the directions asked for so far.

Conditionally on the answers already given, the action of a Gaussian matrix on a new direction is a known
part plus a fresh independent Gaussian. The known part is what the mean field equations call the response.

Source: Bolthausen, arXiv:1201.2891 (the conditioning); docs/theory/dmft.md for its use here.
Letters: S particles, q (a, S) orthonormal directions on the input side, x (a, S) their images; m (b, S)
orthonormal directions on the output side, y (b, S) their images under the transpose; <u, v> = u . v / S.
"""

from collections.abc import Callable

import numpy as np

Draw = Callable[[int], np.ndarray]


class Rows:
    """Rows of length S that grow in number; the storage doubles when it is full."""

    __slots__ = ("_data", "count")

    def __init__(self, num_particles: int, capacity: int = 32) -> None:
        self._data = np.empty((capacity, num_particles))
        self.count = 0

    @property
    def view(self) -> np.ndarray:
        """(count, S), no copy."""
        return self._data[: self.count]

    def append(self, rows: np.ndarray) -> None:
        """Add rows at the end."""
        need = self.count + len(rows)
        if need > len(self._data):
            grown = np.empty((max(need, 2 * len(self._data)), self._data.shape[1]))
            grown[: self.count] = self.view
            self._data = grown
        self._data[self.count : need] = rows
        self.count = need


class RevealedMatrix:
    """W = kept * W(0) + m^T learned q between two layers of S particles, W(0) revealed direction by
    direction.

    Args:
        num_particles: S, the same on both sides.
        std: Standard deviation of the entries of W(0).
        draw_out: Fresh standard normal rows for the output side (they answer W q).
        draw_in: Fresh standard normal rows for the input side (they answer W^T m).
        responses: Keep W(0)^T the transpose of W(0). Without, the two are independent matrices, which is
        the
            approximation of gradient independence.
        answers_back: Reveal W(0)^T at all; without, m only spans what the learned part needs.
    """

    def __init__(
        self,
        num_particles: int,
        *,
        std: float,
        draw_out: Draw,
        draw_in: Draw,
        responses: bool = True,
        answers_back: bool = True,
    ) -> None:
        self.num_particles = num_particles
        self.std = std
        self.responses, self.answers_back = responses, answers_back
        self._draw_out, self._draw_in = draw_out, draw_in
        self.q, self.x = Rows(num_particles), Rows(num_particles)
        self.m, self.y = Rows(num_particles), Rows(num_particles)
        self._learned, self._buffer = np.zeros((32, 32)), np.zeros((32, 32))
        self._known_x: list[np.ndarray] = []
        self._known_y: list[np.ndarray] = []

    @property
    def ranks(self) -> tuple[int, int]:
        """Directions revealed so far: (input side, output side)."""
        return self.q.count, self.m.count

    @property
    def learned(self) -> np.ndarray:
        """(b, a) learned part in the two bases, a writable view."""
        return self._learned[: self.m.count, : self.q.count]

    @property
    def buffer(self) -> np.ndarray:
        """(b, a) momentum buffer of the learned part, a writable view."""
        return self._buffer[: self.m.count, : self.q.count]

    def known_forward(self) -> np.ndarray:
        """(a, b): the part of W(0) q_k that was known when q_k was asked, in coordinates of the basis m."""
        return _padded(self._known_x, self.m.count)

    def known_backward(self) -> np.ndarray:
        """(b, a): the part of W(0)^T m_j that was known when m_j was asked, in coordinates of the
        basis q.
        """
        return _padded(self._known_y, self.q.count)

    def ask_forward(self, vectors: np.ndarray, *, floor: float) -> np.ndarray:
        """Coordinates (P, a) of `vectors` (P, S) in the basis q, revealing W(0) on what is new above
        `floor`.
        """
        coordinates, new = reveal(vectors, self.q, floor=floor)
        if len(new):
            known = new @ self.y.view.T / self.num_particles if self.responses else np.zeros((len(new), 0))
            self._known_x.append(known)
            self.x.append(self._answer(known, self.m.view, self._draw_out(len(new))))
            self.q.append(new)
            self._make_room()
        return coordinates

    def ask_backward(self, vectors: np.ndarray, *, floor: float) -> np.ndarray:
        """Coordinates (P, b) of `vectors` (P, S) in the basis m, revealing W(0)^T on what is new above
        `floor`.
        """
        coordinates, new = reveal(vectors, self.m, floor=floor)
        if len(new):
            known = new @ self.x.view.T / self.num_particles if self.responses else np.zeros((len(new), 0))
            self._known_y.append(known)
            if self.answers_back:
                self.y.append(self._answer(known, self.q.view, self._draw_in(len(new))))
            self.m.append(new)
            self._make_room()
        return coordinates

    def forward(self, coordinates: np.ndarray, *, kept: float) -> np.ndarray:
        """W applied to vectors given by their coordinates (P, a): (P, S)."""
        image = (kept * coordinates) @ self.x.view
        image += (coordinates @ self.learned.T) @ self.m.view
        return image

    def backward(self, coordinates: np.ndarray, *, kept: float, learns: bool = True) -> np.ndarray:
        """W^T applied to vectors given by their coordinates (P, b): (P, S); without `learns`, W(0)^T
        alone.
        """
        image = (kept * coordinates) @ self.y.view
        if learns:
            image += (coordinates @ self.learned) @ self.q.view
        return image

    def _answer(self, known: np.ndarray, opposite: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        fresh = self.std * fresh
        if not self.responses or not len(opposite):
            return fresh
        return fresh + (known - fresh @ opposite.T / self.num_particles) @ opposite

    def _make_room(self) -> None:
        rows, columns = self._learned.shape
        if self.m.count <= rows and self.q.count <= columns:
            return
        shape = (max(rows, 2 * self.m.count), max(columns, 2 * self.q.count))
        for name in ("_learned", "_buffer"):
            grown = np.zeros(shape)
            grown[:rows, :columns] = getattr(self, name)
            setattr(self, name, grown)


def reveal(vectors: np.ndarray, basis: Rows, *, floor: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of `vectors` in `basis` enlarged by new orthonormal directions, and those directions
    (not yet added).

    Args:
        vectors: (P, S).
        basis: Orthonormal rows under <u, v> = u . v / S.
        floor: Mean square below which a residual direction is dropped.

    Returns:
        coordinates (P, count + new) and new (new, S).
    """
    size = vectors.shape[1]
    old = basis.view
    coordinates = vectors @ old.T / size
    # Pythagoras: no direction can exceed the floor if the whole residual is below it (rounding is 1e-16 of
    # the total).
    missing = (np.einsum("ij,ij->", vectors, vectors) / size) - np.einsum("ij,ij->", coordinates, coordinates)
    if missing <= floor:
        return coordinates, vectors[:0]
    residual = vectors - coordinates @ old
    again = residual @ old.T / size
    residual -= again @ old
    coordinates += again
    values, directions = np.linalg.eigh(residual @ residual.T / size)
    keep = values > floor
    if not keep.any():
        return coordinates, vectors[:0]
    directions = directions[:, keep]
    # A sign that depends neither on the order of the samples nor on the eigenvalue routine.
    directions = directions * np.where(directions.sum(0) < 0, -1.0, 1.0)
    new = (directions / np.sqrt(values[keep])).T @ residual
    new -= (new @ old.T / size) @ old
    values, directions = np.linalg.eigh(new @ new.T / size)
    new = (directions / np.sqrt(values)) @ directions.T @ new
    return np.concatenate([coordinates, residual @ new.T / size], axis=1), new


def _padded(blocks: list[np.ndarray], width: int) -> np.ndarray:
    rows = [np.pad(block, ((0, 0), (0, width - block.shape[1]))) for block in blocks]
    return np.concatenate(rows) if rows else np.zeros((0, width))
