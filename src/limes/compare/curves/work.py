"""The work behind a study: theory solved point by point, and the model itself simulated in independent draws.

A simulated cell is one problem at one size. Its random stream is a hash of what it is, so that cells are independent,
reproducible one by one, and need not be run again where a record of them is at hand.
"""

import hashlib
import json
from collections.abc import Callable, Hashable, Mapping, MutableMapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch

from limes.compare.curves.study import Array, Points
from limes.core.errors import SpecError
from limes.core.rng import stream
from limes.numerics.ensemble import Estimate, limit_estimate, mean_estimate

K = TypeVar("K", bound=Hashable)
Progress = Callable[[str, float], None]
# (problem, size, number of draws, generator) -> metric -> (number of draws, ...)
Simulator = Callable[[Any, int, int, torch.Generator], Mapping[str, Array]]


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawPlan:
    """How much is simulated.

    Attributes:
        num_draws: Independent runs of each problem at each size, at least 2.
        sizes: Of the simulated systems, increasing; several are extrapolated in 1/size. Empty where the problem itself
            has all sizes.
        terms: Corrections that are fitted in the extrapolation.
        power: Order in 1/size of the first of them.
        seed: Of all draws.
    """

    num_draws: int
    sizes: tuple[int, ...] = ()
    terms: int = 1
    power: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_draws < 2:
            raise SpecError(f"num_draws is {self.num_draws}; a standard error needs at least 2 independent draws")
        if list(self.sizes) != sorted(set(self.sizes)) or min(self.sizes, default=1) < 1:
            raise SpecError(f"sizes {list(self.sizes)}: expected increasing whole numbers of at least 1")
        if 1 < len(self.sizes) <= self.terms:
            raise SpecError(
                f"sizes {list(self.sizes)}: an extrapolation with {self.terms} corrections needs at least "
                f"{self.terms + 1} of them, or give one size alone"
            )

    def sentence(self, unit: str) -> str:
        """What was simulated."""
        if not self.sizes:
            return f"{self.num_draws} draws"
        sizes = ", ".join(str(size) for size in self.sizes)
        orders = [self.power * (term + 1) for term in range(self.terms)]
        how = " and ".join("1/size" if order == 1 else f"1/size^{order}" for order in orders)
        tail = f", extrapolated in {how}" if len(self.sizes) > 1 else ", at that size"
        return f"{self.num_draws} draws at {sizes} {unit}{tail}"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Samples:
    """What the draws of one problem gave.

    Attributes:
        plan: How they were drawn.
        values: metric -> for each size (num_draws, ...).
    """

    plan: DrawPlan
    values: Mapping[str, list[Array]]

    def estimates(self, metric: str) -> list[Estimate]:
        """Mean, or limit as the size grows, of each entry of a metric."""
        groups = [np.asarray(group).reshape(len(group), -1) for group in self.values[metric]]
        columns = [[group[:, i] for group in groups] for i in range(groups[0].shape[1])]
        plan = self.plan
        if len(plan.sizes) < 2:
            return [mean_estimate(column[0]) for column in columns]
        return [limit_estimate(plan.sizes, list(column), power=plan.power, terms=plan.terms) for column in columns]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Work:
    """Solves and simulates, tells how far it is, and keeps what was drawn.

    Attributes:
        plan: What to simulate; None for the theory alone.
        recorded: Draws of earlier runs by cell; new ones are added.
        progress: Told the phase and the share of it that is done.
    """

    plan: DrawPlan | None = None
    recorded: MutableMapping[str, Any] = field(default_factory=dict)
    progress: Progress | None = None

    def solve(self, solver: Callable[[Any], Any], groups: Mapping[K, Sequence[Any]]) -> dict[K, list[Any]]:
        """The solver's result for each problem of each group."""
        total, done = sum(map(len, groups.values())), 0
        found: dict[K, list[Any]] = {}
        for key, problems in groups.items():
            found[key] = []
            for problem in problems:
                found[key].append(solver(problem))
                done += 1
                self._tell("theory", done / total)
        return found

    def simulate(
        self,
        simulator: Simulator,
        groups: Mapping[K, Sequence[Any]],
        *,
        name: str,
        cost: Callable[[Any, int], float],
    ) -> dict[K, list[Samples]]:
        """Draws of each problem at all sizes of the plan, or nothing without one.

        Args:
            simulator: Draws a cell.
            groups: Problems by any key.
            name: Of the theory, in the records.
            cost: Of a cell, relative to others.
        """
        if self.plan is None:
            return {}
        sizes = self.plan.sizes or (0,)
        problems = [problem for group in groups.values() for problem in group]
        cells = [(index, size) for index in range(len(problems)) for size in sizes]
        total, done = sum(cost(problems[index], size) for index, size in cells), 0.0
        found: list[dict[str, list[Array]]] = [{} for _ in problems]
        # Large systems first: a mistake or a lack of memory shows at once, and the time left is not underestimated.
        for index, size in sorted(cells, key=lambda cell: -cell[1]):
            for metric, values in self._cell(self.plan, simulator, problems[index], size, name).items():
                found[index].setdefault(metric, []).insert(0, np.asarray(values, dtype=np.float64))
            done += cost(problems[index], size)
            self._tell("simulation", done / total)
        samples = iter(Samples(plan=self.plan, values=values) for values in found)
        return {key: [next(samples) for _ in group] for key, group in groups.items()}

    def _cell(self, plan: DrawPlan, simulator: Simulator, problem: Any, size: int, name: str) -> Mapping[str, Any]:
        content = json.dumps(asdict(problem), default=lambda array: np.asarray(array).tolist(), sort_keys=True)
        key = f"{name}/{hashlib.sha256(content.encode()).hexdigest()[:16]}/{size}/{plan.num_draws}/{plan.seed}"
        if key not in self.recorded:
            drawn = simulator(problem, size, plan.num_draws, stream(plan.seed, "data", key))
            self.recorded[key] = {metric: np.asarray(values).tolist() for metric, values in drawn.items()}
        values: Mapping[str, Any] = self.recorded[key]
        return values

    def _tell(self, phase: str, share: float) -> None:
        if self.progress is not None:
            self.progress(phase, share)


def points_of(x: Array, results: Sequence[Any], samples: Sequence[Samples], metric: str) -> Points:
    """One number of several problems: by the theory, and over the draws of each."""
    predicted = np.array([getattr(result, metric) for result in results], dtype=float)
    return points_from(x, predicted, [sample.estimates(metric)[0] for sample in samples])


def points_from(x: Array, predicted: Array, estimates: Sequence[Estimate]) -> Points:
    """Estimates beside what the theory says there."""
    return Points(
        x=np.asarray(x, dtype=float),
        predicted=predicted,
        mean=np.array([estimate.value for estimate in estimates]),
        error=np.array([estimate.error for estimate in estimates]),
        degrees_of_freedom=min(estimate.degrees_of_freedom for estimate in estimates),
    )
