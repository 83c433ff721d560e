"""From the runs of a particle solver to its result: status, sentence, and the error where the caller
wants one.
"""

from collections.abc import Sequence
from typing import Any

from limes.core.errors import ConvergenceError
from limes.core.status import SolveStatus
from limes.theory.dynamics.problem import Columns
from limes.theory.dynamics.result import DMFTResult, summarise
from limes.theory.dynamics.trajectory import Trajectory


def conclude(
    trajectories: Sequence[Trajectory],
    *,
    problem: Any,
    columns: Columns,
    num_particles: int,
    seconds: float,
    full_rank: bool,
    throw: bool,
) -> DMFTResult:
    """Summarise the runs; `full_rank` allows ranks up to the number of particles (a network of that
    width).
    """
    rank = max(run.rank for run in trajectories)
    steps = [run.diverged_at for run in trajectories if run.diverged_at is not None]
    status, message = SolveStatus.CONVERGED, ""
    if steps:
        status = SolveStatus.DIVERGED
        message = (
            f"the learning dynamics diverge at step {min(steps)} of {problem.num_times - 1} with lr {problem.lr:g}; "
            "lower lr, or pass throw=False for the part before"
        )
    elif 2 * rank > num_particles and not full_rank:
        status = SolveStatus.ILL_CONDITIONED
        message = (
            f"{rank} directions were revealed with {num_particles} particles, more than half; raise "
            f"num_particles to at least {1 << (4 * rank - 1).bit_length()}, raise the tolerance, or pass throw=False"
        )
    stats = {
        "cpu_seconds": seconds,
        "rank": float(rank),
        "num_particles": float(num_particles),
        "num_scrambles": float(len(trajectories)),
    }
    for index, matrix in enumerate(trajectories[0].matrices):
        stats[f"forward_rank_{index + 1}"], stats[f"backward_rank_{index + 1}"] = map(float, matrix.ranks)
    result = summarise(trajectories, problem=problem, columns=columns, status=status, stats=stats)
    if message and throw:
        raise ConvergenceError(message, result=result)
    return result
