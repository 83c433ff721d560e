"""The common course of every particle solver: check, predict the cost, run the randomizations, summarise."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from limes.theory.checks import check_count, check_number
from limes.theory.dynamics.cost import check_cost, predict_cost
from limes.theory.dynamics.finish import conclude
from limes.theory.dynamics.noise import noise_sources
from limes.theory.dynamics.particles import Network, Particles, Recording
from limes.theory.dynamics.problem import columns_of
from limes.theory.dynamics.result import DMFTResult


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Numerical settings of a particle solver; see `solve_dmft_mlp` for their meaning."""

    num_particles: int
    tolerance: float
    num_scrambles: int
    seed: int
    noise: str = "sobol"
    two_time: bool = True
    field_times: Collection[int] | None = None
    memory_limit: float = 4.0
    time_limit: float = 600.0
    progress: Callable[[float], None] | None = None

    def __post_init__(self) -> None:
        check_count("num_particles", self.num_particles, least=2)
        check_number("tolerance", self.tolerance, low=0.0, below=1.0)
        check_count("num_scrambles", self.num_scrambles, least=1)
        check_count("seed", self.seed, least=0)


def run_particles(problem: Any, network: Network, *, settings: Settings, throw: bool) -> DMFTResult:
    """Run every randomization of `problem` on the engine.

    Raises:
        SpecError: A setting is out of range, or the predicted cost is beyond a limit.
        ConvergenceError: With `throw`, on divergence or ranks too close to the number of particles.
    """
    recording = _recording(settings, last=problem.num_times - 1)
    num_layers = problem.depth + (1 if network.residual else 0)
    cost = predict_cost(
        problem,
        num_particles=settings.num_particles,
        num_scrambles=settings.num_scrambles,
        two_time=settings.two_time,
        num_matrices=num_layers - 1,
    )
    check_cost(cost, memory_limit=settings.memory_limit, time_limit=settings.time_limit)
    columns = columns_of(problem)
    start = time.process_time()
    runs = []
    for scramble in range(settings.num_scrambles):
        on_time = _reporter(settings, scramble=scramble, num_times=problem.num_times)
        sources = noise_sources(
            settings.noise,
            num_particles=settings.num_particles,
            seed=settings.seed,
            scramble=scramble,
            count=1 if network.residual else num_layers,
        )
        particles = Particles(
            problem,
            columns,
            network=network,
            sources=sources * num_layers if network.residual else sources,
            num_particles=settings.num_particles,
            tolerance=settings.tolerance,
            recording=recording,
        )
        runs.append(particles.run(on_time))
    return conclude(
        runs,
        problem=problem,
        columns=columns,
        num_particles=settings.num_particles,
        seconds=time.process_time() - start,
        full_rank=settings.noise == "independent",
        throw=throw,
    )


def _reporter(settings: Settings, *, scramble: int, num_times: int) -> Callable[[int], None] | None:
    """From a finished time of a randomization to the share of all work that is done."""
    if settings.progress is None:
        return None
    report = settings.progress
    # A step costs as the rank it works at, which grows about as the number of queries to the power 0.68.
    return lambda t: report((scramble + ((t + 1) / num_times) ** 1.68) / settings.num_scrambles)


def _recording(settings: Settings, *, last: int) -> Recording:
    times = (0, last) if settings.field_times is None else tuple(settings.field_times)
    for t in times:
        check_number("field_times", t, low=0, below=last + 1)
    return Recording(field_times=times, two_time=settings.two_time)
