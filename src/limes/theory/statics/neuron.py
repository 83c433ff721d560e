"""Averages over one hidden neuron whose law is tilted by exp(t^2 a^2 / 2), a = delta . phi(h).

Two ways: a trapezoidal grid in the few directions that the inputs span, and particles that are carried from tilt to
tilt (reweighted, resampled, moved) where there are too many directions. Neither inverts the kernel of the inputs.

Moves are of two kinds. Proposals that keep the prior do not take a neuron from the bulk to the strongly tilted ones and
back, whose share then stays what the path of tilts made it; Hamiltonian moves do.

Source: sequential Monte Carlo, Del Moral, Doucet & Jasra 2006; prior-keeping moves, Cotter et al., arXiv:1202.0709;
Hamiltonian moves, Neal, arXiv:1206.1901.
Letters: h = directions z with z standard normal in R^r, phi (Q, P + M) activations on training and test inputs,
E = t^2 a^2 / 2 the energy won by the tilt.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from limes.core.errors import ConvergenceError, ScopeError
from limes.numerics.langevin import TARGETS, sample_langevin

Elementwise = Callable[[Tensor], Tensor]

SPACING = {1: 0.01, 2: 0.06, 3: 0.24}
MAX_ENTRIES = 60_000_000
MAX_BRIDGES = 400
TRUSTED_SHARE = 0.5
KEPT_SHARE = 0.95
SMALLEST_MOVE = 0.05
ORBIT_SPREAD = 0.2
NUM_LEAPFROG = 8
LOST_SHARE = 1e-3
EDGE_SHARE = 1e-14


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Moments:
    """Tilted averages on all P + M inputs.

    Args:
        log_partition: ln E exp(t^2 a^2 / 2) under the prior.
        kernel: <phi phi'>.
        fourth: <phi phi' a^2> - <phi a><phi' a>.
        edge_share: Weight on the rim of the grid; 0 for particles.
    """

    log_partition: float
    kernel: Tensor
    fourth: Tensor
    edge_share: float = 0.0


class Neuron(Protocol):
    """What a solver needs."""

    def moments(self, delta: Tensor, strength: float) -> Moments | None:
        """At the tilt t = `strength` along `delta` (P,); None where the average does not exist."""


def directions_of(inputs: Tensor) -> Tensor:
    """(P + M, r) with directions @ directions' = x.x' / D, r their rank."""
    left, values, _ = torch.linalg.svd(inputs / math.sqrt(inputs.shape[1]), full_matrices=False)
    rank = max(int((values > 1e-14 * values[0]).sum()), 1)
    return left[:, :rank] * values[:rank]


def weighted(phi: Tensor, weights: Tensor, a: Tensor, log_partition: float, edge_share: float = 0.0) -> Moments:
    """Moments from nodes (Q, P + M) with weights that sum to one."""
    scaled = phi * weights[:, None]
    first = scaled.T @ a
    return Moments(
        log_partition=log_partition,
        kernel=scaled.T @ phi,
        fourth=(scaled * (a**2)[:, None]).T @ phi - torch.outer(first, first),
        edge_share=edge_share,
    )


class Grid:
    """The trapezoidal rule in r <= 3 directions: exact to rounding for smooth activations.

    Args:
        directions: (P + M, r).
        phi: The activation.
        radius: Half the side of the grid, in prior deviations.
        stride: 2 takes every second point: its difference to 1 says what the grid misses.

    Raises:
        ScopeError: More directions or entries than a grid can hold.
    """

    def __init__(self, directions: Tensor, phi: Elementwise, *, radius: float = 12.0, stride: int = 1) -> None:
        rank = directions.shape[1]
        if not self.fits(directions, radius=radius):
            raise ScopeError(
                f"a grid of radius {radius:g} over the {rank} directions of {len(directions)} inputs is too large; "
                "use method='sampling'"
            )
        half = round(radius / SPACING[rank] / 2) * 2
        line = torch.arange(-half, half + 1, stride, dtype=torch.float64) * SPACING[rank]
        z = torch.cartesian_prod(*[line] * rank).reshape(-1, rank)
        self._log_weights = -0.5 * (z**2).sum(1) + rank * math.log(float(line[1] - line[0]) / math.sqrt(2 * math.pi))
        self._edge = (z.abs() >= 0.98 * float(line[-1])).any(1)
        self._phi = phi(z @ directions.T)

    def prior(self) -> tuple[Tensor, Tensor]:
        """Activations (Q, P + M) at the nodes and their weights without any tilt."""
        return self._phi, self._log_weights.exp()

    @staticmethod
    def fits(directions: Tensor, *, radius: float = 12.0) -> bool:
        """Whether such a grid is small enough."""
        rank = directions.shape[1]
        return rank in SPACING and (2 * radius / SPACING[rank] + 1) ** rank * len(directions) <= MAX_ENTRIES

    def moments(self, delta: Tensor, strength: float) -> Moments | None:
        """See `Neuron`."""
        a = self._phi[:, : len(delta)] @ delta
        logs = self._log_weights + 0.5 * strength**2 * a**2
        log_partition = float(logs.logsumexp(0))
        weights = (logs - log_partition).exp()
        edge = float(weights[self._edge].sum())
        # A tilt that outgrows the Gaussian piles all weight up on the rim.
        if not math.isfinite(log_partition) or edge > LOST_SHARE:
            return None
        return weighted(self._phi, weights, a, log_partition, edge)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tilt:
    """The energy won, a sum of t^2 (delta . phi)^2 / 2.

    Args:
        parts: Pairs of t^2 and delta (P,).
    """

    parts: tuple[tuple[float, Tensor], ...] = ()

    def __call__(self, values: Tensor) -> Tensor:
        """Energies (Q,) of activations (Q, P + M)."""
        total = torch.zeros(len(values), dtype=torch.float64)
        for square, delta in self.parts:
            total = total + 0.5 * square * (values[:, : len(delta)] @ delta) ** 2
        return total

    def slope(self, values: Tensor) -> Tensor:
        """Its derivatives (Q, P) by the activations on the training inputs."""
        pulls = [square * torch.outer(values[:, : len(delta)] @ delta, delta) for square, delta in self.parts]
        return torch.stack(pulls).sum(0)

    def towards(self, other: "Tilt", share: float) -> "Tilt":
        """A mixture, `share` of it the other."""
        if share == 1.0:
            return other
        pairs = [*((1.0 - share, part) for part in self.parts), *((share, part) for part in other.parts)]
        return Tilt(parts=tuple((weight * square, delta) for weight, (square, delta) in pairs))


class Particles:
    """Equal-weight particles of the tilted law, carried along as the tilt changes.

    Args:
        directions: (P + M, r).
        phi: The activation.
        derivative: phi'.
        num_particles: Q.
        generator: Of all draws.
        num_sweeps: Prior-keeping moves of every particle after each change of tilt.
        num_orbits: Hamiltonian ones, `NUM_LEAPFROG` gradients each.
    """

    def __init__(
        self,
        directions: Tensor,
        phi: Elementwise,
        derivative: Elementwise,
        *,
        num_particles: int,
        generator: torch.Generator,
        num_sweeps: int = 10,
        num_orbits: int = 3,
    ) -> None:
        self._directions, self._phi, self._derivative = directions, phi, derivative
        self._generator, self._sweeps, self._orbits, self._step = generator, num_sweeps, num_orbits, 0.3
        self._z = self._normal(num_particles)
        self._values = phi(self._z @ directions.T)
        self._tilt = Tilt()
        self._log_partition = 0.0

    def _normal(self, num: int) -> Tensor:
        return torch.randn(num, self._directions.shape[1], generator=self._generator, dtype=torch.float64)

    def moments(self, delta: Tensor, strength: float) -> Moments | None:
        """See `Neuron`: the particles where they are, reweighted; None where too few of them would count."""
        a = self._values[:, : len(delta)] @ delta
        logs = 0.5 * strength**2 * a**2 - self._tilt(self._values)
        total = float(logs.logsumexp(0))
        weights = (logs - total).exp()
        if not math.isfinite(total) or 1.0 / float((weights**2).sum()) < TRUSTED_SHARE * len(logs):
            return None
        return weighted(self._values, weights, a, self._log_partition + total - math.log(len(logs)))

    def at_rest(self, delta: Tensor) -> Moments:
        """Averages at the tilt that the particles followed last, all of them counting alike."""
        a = self._values[:, : len(delta)] @ delta
        return weighted(self._values, torch.full_like(a, 1.0 / len(a)), a, self._log_partition)

    def follow(self, delta: Tensor, strength: float) -> None:
        """Carry the particles to a tilt, or, where they are there already, make them forget their places.

        Raises:
            ConvergenceError: They do not arrive: the tilted law has no finite averages there, or nearly so.
        """
        if not self._carry(delta, strength):
            raise ConvergenceError("the particles do not reach the tilted law; raise num_particles or lower gamma0")

    def _carry(self, delta: Tensor, strength: float) -> bool:
        """Along mixtures of old and new energy, each step short enough that nearly all particles keep counting."""
        old, new, done = self._tilt, Tilt(parts=((strength**2, delta),)), 0.0
        for _ in range(MAX_BRIDGES):
            gain = new(self._values) - old(self._values)
            step = _largest_step(gain, 1.0 - done)
            logs = step * gain
            total = float(logs.logsumexp(0))
            self._log_partition += total - math.log(len(logs))
            self._resample((logs - total).exp())
            done = 1.0 if step >= 1.0 - done else done + step
            self._rejuvenate(old.towards(new, done))
            if done == 1.0:
                self._tilt = new
                return bool(self._values.isfinite().all())
        return False

    def _resample(self, weights: Tensor) -> None:
        start = float(torch.rand(1, generator=self._generator, dtype=torch.float64))
        places = (torch.arange(len(weights), dtype=torch.float64) + start) / len(weights)
        chosen = torch.searchsorted(weights.cumsum(0), places).clamp_max(len(weights) - 1)
        self._z, self._values = self._z[chosen], self._values[chosen]

    def _rejuvenate(self, energy: Tilt) -> None:
        self._orbit(energy)
        current = energy(self._values)
        for _ in range(self._sweeps):
            # One step size for all would suit the many particles in the bulk and freeze the few that are far out.
            spread = torch.rand(len(self._z), 1, generator=self._generator, dtype=torch.float64)
            move = SMALLEST_MOVE ** (1.0 - spread)
            proposal = (1.0 - move**2).sqrt() * self._z + move * self._normal(len(self._z))
            values = self._phi(proposal @ self._directions.T)
            there = energy(values)
            threshold = torch.rand(len(there), generator=self._generator, dtype=torch.float64).log()
            taken = threshold < there - current
            self._z = torch.where(taken[:, None], proposal, self._z)
            self._values = torch.where(taken[:, None], values, self._values)
            current = torch.where(taken, there, current)

    def _orbit(self, energy: Tilt) -> None:
        train = self._directions[: len(energy.parts[0][1])]

        def potential(z: Tensor) -> tuple[Tensor, Tensor]:
            h = z @ train.T
            values = self._phi(h)
            pull = energy.slope(values) * self._derivative(h)
            return 0.5 * (z**2).sum(1) - energy(values), z - pull @ train

        moved = sample_langevin(
            potential,
            self._z,
            num_draws=self._orbits,
            num_warmup=0,
            num_leapfrog=NUM_LEAPFROG,
            step_size=self._step,
            # other moves mix what orbits of one length would not
            spread=ORBIT_SPREAD,
            generator=self._generator,
            observe=lambda z: z[:, :0],
        )
        # Slow enough to change nothing within one law; the tilt changes by small steps.
        self._step = min(self._step * math.exp(float(moved.acceptance.mean()) - TARGETS[False]), 1.0)
        self._z = moved.last
        self._values = self._phi(self._z @ self._directions.T)


def _largest_step(gain: Tensor, rest: float) -> float:
    """The largest step of at most `rest` after which `KEPT_SHARE` of the particles still count.

    Half, as is common, is too bold: a small cone of strongly tilted neurons (relu) then has heavy-tailed weights.
    """

    def effective(step: float) -> float:
        weights = torch.softmax(step * gain, 0)
        return float(1.0 / (weights**2).sum()) / len(weights)

    if effective(rest) >= KEPT_SHARE:
        return rest
    low, high = 0.0, rest
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if effective(middle) >= KEPT_SHARE else (low, middle)
    return low
