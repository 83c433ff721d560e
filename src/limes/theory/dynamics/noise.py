"""Where a solver's Gaussian rows come from: scrambled Sobol points, or independent numbers.

One source per population of particles. Sobol rows make the particle averages accurate; independent rows make the run a
sample of a real network whose width is the number of particles.
"""

import numpy as np

from limes.core.errors import SpecError
from limes.numerics.sobol import SobolRows
from limes.theory.dynamics.revealed import Draw

NOISES = ("sobol", "independent")


def noise_sources(kind: str, *, num_particles: int, seed: int, scramble: int, count: int) -> list[Draw]:
    """`count` sources of standard normal rows, independent of each other and of every other scramble.

    Args:
        kind: One of `NOISES`.
        num_particles: Length of a row; a power of two for "sobol".
        seed: Seed of the solver.
        scramble: Index of the randomization.
        count: Number of populations.
    """
    if kind not in NOISES:
        raise SpecError(f"noise is {kind!r}; expected one of {', '.join(NOISES)}")
    seeds = np.random.SeedSequence([seed, scramble]).spawn(count)
    if kind == "sobol":
        return [SobolRows(num_particles, seed=int(s.generate_state(1, np.uint64)[0])).take for s in seeds]
    return [_independent(np.random.default_rng(s), num_particles) for s in seeds]


def _independent(rng: np.random.Generator, num_particles: int) -> Draw:
    return lambda num_rows: rng.standard_normal((num_rows, num_particles))
