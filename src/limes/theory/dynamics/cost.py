"""What a particle run will cost, predicted before it starts, and the refusal beyond a limit.

The ranks of the revealed bases decide time and memory. They are bounded by the number of queries (times *
samples * outputs) and saturate below it for smooth activations; the rule used here was fitted to tanh runs
from 200 to 3200 queries.
"""

from dataclasses import dataclass
from typing import Any

from limes.core.errors import SpecError

# Measured on one core: operations per second in products of few rows with long ones, at ranks averaged
# over a run, which rise as the root of the number of rows from MANY on (4 to 128 samples, 50 to 200 steps);
# and the interpreter's share for each layer and step.
FLOPS = 1.5e10
MANY = 12
OVERHEAD = 2e-4
_KINKED = ("relu", "leaky_relu")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """A prediction, good to a factor of about two.

    Args:
        rank: Directions on the larger side of a matrix.
        seconds: CPU time of all scrambles.
        gibibytes: Peak memory of all scrambles.
    """

    rank: int
    seconds: float
    gibibytes: float


def predict_cost(
    problem: Any, *, num_particles: int, num_scrambles: int, two_time: bool = True, num_matrices: int | None = None
) -> Cost:
    """Rank, CPU seconds and memory of a particle run of `problem` (an `MLPProblem` or `ResNetProblem`).

    Args:
        problem: The problem.
        num_particles: Particles per layer.
        num_scrambles: Independent randomizations.
        two_time: Whether top and bottom fields are kept at all times.
        num_matrices: Square matrices; None is depth - 1.

    Accuracy: a factor of about two.
    Source: docs/theory/dmft.md, section on cost.

    >>> import numpy as np
    >>> from limes.theory.dynamics.problem import MLPProblem
    >>> problem = MLPProblem(
    ...     inputs=np.eye(4), targets=np.ones(4), depth=2, activation="tanh", gamma0=1.0, lr=0.3, num_times=50
    ... )
    >>> predict_cost(problem, num_particles=1024, num_scrambles=4).rank
    128
    """
    columns = problem.num_samples + problem.num_test
    vectors = columns * problem.num_outputs
    queries = problem.num_times * vectors
    kinked = problem.activation.name.startswith(_KINKED)
    rank = queries if kinked else min(queries, round(3.5 * queries**0.68))
    rank = min(rank, num_particles)
    matrices = problem.depth - 1 if num_matrices is None else num_matrices
    # Four products of the queries with both bases per step, at the mean rank.
    products = 8.0 * matrices * problem.num_times * (columns + vectors) * rank * num_particles
    fields = 40.0 * problem.depth * problem.num_times * (columns + vectors) * num_particles
    stored = problem.num_times * (columns + vectors) if two_time else 0
    rows = 4 * 1.5 * rank * matrices + stored + 6 * problem.depth * (columns + vectors)
    # Coordinates of every query in the bases, whose ranks grow to their final values.
    coordinates = matrices * problem.num_times * (columns + vectors) * 0.7 * rank
    speed = FLOPS * max(1.0, columns / MANY) ** 0.5
    return Cost(
        rank=rank,
        seconds=num_scrambles * ((products + fields) / speed + OVERHEAD * problem.num_times * problem.depth),
        gibibytes=num_scrambles * (rows * num_particles + coordinates) * 8.0 / 2**30,
    )


def check_cost(cost: Cost, *, memory_limit: float, time_limit: float) -> None:
    """Refuse a run whose predicted cost is beyond the limits (GiB, CPU seconds)."""
    if cost.gibibytes <= memory_limit and cost.seconds <= time_limit:
        return
    raise SpecError(
        f"this run is predicted to take {cost.seconds:.3g} CPU seconds (limit {time_limit:g}) and "
        f"{cost.gibibytes:.3g} GiB (limit {memory_limit:g}) at rank {cost.rank}; use fewer particles, "
        "scrambles, samples or times, set two_time=False, or raise time_limit and memory_limit"
    )
