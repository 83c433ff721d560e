"""Langevin sampling of exp(-E), many chains at once: leapfrog steps from fresh momenta, made exact by Metropolis.

One leapfrog step per draw is the Langevin equation discretized by Euler (unadjusted) or MALA (adjusted); several are
Hamiltonian Monte Carlo. Unadjusted chains have a bias of second order in the step, which `step_bias` measures.

Source: Roberts & Tweedie 1996 (MALA); Neal, arXiv:1206.1901 (Hamiltonian Monte Carlo, leapfrog).
Letters: C chains in n dimensions, q positions, p momenta, h step, T draws, K observables.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from limes.core.errors import ConvergenceError, SpecError
from limes.numerics.chains import ChainEstimate, chain_estimate, effective_size, split_rhat

Potential = Callable[[Tensor], tuple[Tensor, Tensor]]
Observe = Callable[[Tensor], Tensor]
Progress = Callable[[float], object]

# Spread of a move's step about h, for one step and for several: orbits of about half a period send q to -q, and at one
# length even functions would then never mix.
SPREADS = {True: 0.2, False: 0.6}
# Share of moves with a step between 0 and h: chains in a steep place leave it.
SHORT_SHARE = 0.1
# Optimal in many dimensions: Roberts & Rosenthal 1998 (one step), Beskos et al., arXiv:1001.4460 (many).
TARGETS = {True: 0.574, False: 0.75}
# Without a Metropolis test the step must be small enough not to need one.
UNADJUSTED_TARGET = 0.98


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LangevinSample:
    """What the chains saw, and how far to trust it.

    Args:
        draws: (T, C, K) observables after the warm-up.
        last: (C, n) where the chains ended.
        acceptance: (C,) mean probability that a move is accepted, after the warm-up.
        step_size: h.
        num_leapfrog: Steps per draw.
        num_gradients: Evaluations of the gradient by each chain, warm-up included.
        adjusted: Whether moves were accepted or rejected: exact but for the warm-up.
    """

    draws: Tensor = field(repr=False)
    last: Tensor = field(repr=False)
    acceptance: Tensor
    step_size: float
    num_leapfrog: int
    num_gradients: int
    adjusted: bool

    @property
    def estimate(self) -> ChainEstimate:
        """Mean of each observable and its standard error over chains."""
        return chain_estimate(self.draws)

    @property
    def rhat(self) -> Tensor:
        """(K,) see `split_rhat`."""
        return split_rhat(self.draws)

    @property
    def effective_size(self) -> Tensor:
        """(K,) see `limes.numerics.chains.effective_size`."""
        return effective_size(self.draws)


def sample_langevin(
    potential: Potential,
    start: Tensor,
    *,
    num_draws: int,
    num_warmup: int,
    generator: torch.Generator,
    num_leapfrog: int = 1,
    adjusted: bool = True,
    step_size: float | None = None,
    spread: float | None = None,
    observe: Observe | None = None,
    progress: Progress | None = None,
) -> LangevinSample:
    """Draws from the density exp(-E) by independent chains that share one step size.

    Args:
        potential: Positions (C, n) to energies (C,) and gradients (C, n); an infinite energy is a wall.
        start: (C, n) float64, wider than the target if R-hat is to mean something.
        num_draws: Kept for each chain, after every move.
        num_warmup: Moves that are thrown away; the step is adapted in them, unless it is given.
        generator: Of all momenta and decisions.
        num_leapfrog: Steps per move; 1 is Langevin's equation.
        adjusted: Accept or reject every move, which removes the bias of the step.
        step_size: Fixed; None adapts it to an acceptance of 0.57 (one step), 0.75 (several), 0.98 (unadjusted).
        spread: Relative spread of an adjusted move's step about h, so that no orbit closes; None for the usual one.
        observe: Positions to observables (C, K); None keeps the positions.
        progress: Told the share of the moves that are done.

    Returns:
        `LangevinSample`.

    Raises:
        SpecError: A count or a shape is out of range.
        ConvergenceError: An energy at the start is not finite, or unadjusted chains ran away.

    **Accuracy**: adjusted: exact once the warm-up has forgotten the start; unadjusted: a bias of order h^2.

    >>> gaussian = lambda q: (0.5 * (q**2).sum(1), q)
    >>> generator = torch.Generator().manual_seed(0)
    >>> start = torch.zeros(64, 1, dtype=torch.float64)
    >>> sample = sample_langevin(gaussian, start, num_draws=200, num_warmup=100, generator=generator)
    >>> bool(abs(sample.draws.var() - 1.0) < 0.05), bool(sample.rhat < 1.05)
    (True, True)
    """
    _check(start, num_draws=num_draws, num_warmup=num_warmup, num_leapfrog=num_leapfrog, step_size=step_size)
    if spread is not None and not 0.0 <= spread < 1.0:
        raise SpecError(f"spread is {spread:g}: expected a number from 0 to below 1")
    chains = _Chains(potential, start, generator=generator, num_leapfrog=num_leapfrog, adjusted=adjusted, spread=spread)
    whole = num_warmup + num_draws
    tell = progress if progress is not None else lambda share: None
    steps = _Steps(start, target=chains.target, fixed=step_size)
    for k in range(num_warmup):
        steps.adapt(chains.move(steps.current), last_half=2 * k >= num_warmup)
        tell((k + 1) / whole)
    step = steps.final
    total, draws = torch.zeros(len(start), dtype=torch.float64), []
    for k in range(num_draws):
        total += chains.move(torch.full((len(start), 1), step, dtype=torch.float64))
        draws.append(chains.q if observe is None else observe(chains.q))
        tell((num_warmup + k + 1) / whole)
    if not bool(chains.q.isfinite().all()):
        raise ConvergenceError(f"the chains ran away at a step of {step:.3g}; lower it, or sample with adjusted=True")
    return LangevinSample(
        draws=torch.stack(draws),
        last=chains.q,
        acceptance=total / num_draws,
        step_size=step,
        num_leapfrog=num_leapfrog,
        num_gradients=1 + whole * num_leapfrog,
        adjusted=adjusted,
    )


class _Chains:
    """Positions with their energies and gradients, and the move."""

    def __init__(
        self,
        potential: Potential,
        start: Tensor,
        *,
        generator: torch.Generator,
        num_leapfrog: int,
        adjusted: bool,
        spread: float | None,
    ) -> None:
        self.q = start.clone()
        self.target = TARGETS[num_leapfrog == 1] if adjusted else UNADJUSTED_TARGET
        self._potential, self._generator = potential, generator
        self._steps, self._adjusted = num_leapfrog, adjusted
        self._spread = SPREADS[num_leapfrog == 1] if spread is None else spread
        self._energy, self._gradient = potential(self.q)
        if not bool(self._energy.isfinite().all()):
            raise ConvergenceError("the energy at the start is not finite; start where the density is positive")

    def move(self, h: Tensor) -> Tensor:
        """One move of every chain at its step (C, 1); the probabilities (C,) of its acceptance."""
        p = draw_momenta(self.q, self._generator)
        before = self._energy + 0.5 * (p**2).sum(1)
        if self._adjusted:
            h = h * self._factors(len(p))
        q, energy, gradient = self.q, self._energy, self._gradient
        for _ in range(self._steps):
            p = p - 0.5 * h * gradient
            q = q + h * p
            energy, gradient = self._potential(q)
            p = p - 0.5 * h * gradient
        change = (before - energy - 0.5 * (p**2).sum(1)).nan_to_num(nan=-math.inf)
        probability = change.clamp_max(0.0).exp()
        if self._adjusted:
            taken = torch.rand(len(p), generator=self._generator, dtype=torch.float64) < probability
            q = torch.where(taken[:, None], q, self.q)
            gradient = torch.where(taken[:, None], gradient, self._gradient)
            energy = torch.where(taken, energy, self._energy)
        self.q, self._energy, self._gradient = q, energy, gradient
        return probability

    def _factors(self, count: int) -> Tensor:
        """Random factors (C, 1) on the step, drawn without looking at the chains."""
        place, kind = torch.rand(2, count, 1, generator=self._generator, dtype=torch.float64)
        return torch.where(kind < SHORT_SHARE, place, 1.0 + self._spread * (2.0 * place - 1.0))


def draw_momenta(positions: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal momenta, one for each coordinate: the noise of Langevin's equation.

    >>> draw_momenta(torch.zeros(2, 3), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3])
    """
    return torch.randn(positions.shape, generator=generator, dtype=torch.float64)


class _Steps:
    """The step of each chain in the warm-up, by stochastic approximation, and the one of all chains afterwards.

    A common step would be right for the many chains and freeze the few that start where the density is steep.
    """

    def __init__(self, start: Tensor, *, target: float, fixed: float | None) -> None:
        count, dim = start.shape
        first = math.log(0.5 * dim**-0.25 if fixed is None else fixed)
        self._log = torch.full((count, 1), first, dtype=torch.float64)
        self._sum, self._kept, self._count = torch.zeros_like(self._log), 0, 0
        self._target, self._fixed = target, fixed

    @property
    def current(self) -> Tensor:
        """(C, 1)."""
        return self._log.exp()

    @property
    def final(self) -> float:
        """Median over chains of the mean over the last half of the warm-up."""
        return math.exp(float((self._sum / self._kept).median())) if self._fixed is None else self._fixed

    def adapt(self, acceptance: Tensor, *, last_half: bool) -> None:
        """Towards larger steps where more than the target was accepted."""
        if self._fixed is not None:
            return
        self._count += 1
        self._log = self._log + (acceptance[:, None] - self._target) * self._count**-0.6
        if last_half:
            self._sum, self._kept = self._sum + self._log, self._kept + 1


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StepBias:
    """What the step does to the means of unadjusted chains.

    Args:
        bias: (K,) mean at the step less the mean at step 0, by the difference to half the step: 4/3 of it.
        error: (K,) its standard error over chains.
        coarse: Chains at the step.
        fine: Chains at half of it.
    """

    bias: Tensor
    error: Tensor
    coarse: LangevinSample
    fine: LangevinSample


def step_bias(
    potential: Potential,
    start: Tensor,
    *,
    step_size: float,
    num_draws: int,
    num_warmup: int,
    generator: torch.Generator,
    num_leapfrog: int = 1,
    observe: Observe | None = None,
) -> StepBias:
    """Bias of unadjusted chains, measured by halving the step at the same length of a move in time.

    Args:
        potential, start, observe: See `sample_langevin`.
        step_size: h of the coarse chains.
        num_draws: Of each chain, coarse and fine alike.
        num_warmup: Moves thrown away.
        generator: Of both sets of chains.
        num_leapfrog: Of the coarse chains; the fine ones take twice as many (for one step: half as long a move).

    Returns:
        `StepBias`.

    **Accuracy**: to fourth order in the step, within `error`.

    >>> quadratic = lambda q: (0.5 * (q**2).sum(1), q)
    >>> start, generator = torch.zeros(256, 1, dtype=torch.float64), torch.Generator().manual_seed(0)
    >>> found = step_bias(quadratic, start, step_size=1.0, num_draws=1500, num_warmup=50, generator=generator,
    ...                   observe=torch.square)
    >>> bool(abs(found.bias - 1 / 3) < 0.06)             # the variance is 1 / (1 - h^2 / 4)
    True
    """

    def run(h: float, steps: int) -> LangevinSample:
        return sample_langevin(
            potential,
            start,
            num_draws=num_draws,
            num_warmup=num_warmup,
            generator=generator,
            num_leapfrog=steps,
            adjusted=False,
            step_size=h,
            observe=observe,
        )

    coarse = run(step_size, num_leapfrog)
    fine = run(0.5 * step_size, 1 if num_leapfrog == 1 else 2 * num_leapfrog)
    first, second = coarse.estimate, fine.estimate
    return StepBias(
        bias=4.0 / 3.0 * (first.value - second.value),
        error=4.0 / 3.0 * first.error.hypot(second.error),
        coarse=coarse,
        fine=fine,
    )


def _check(start: Tensor, *, num_draws: int, num_warmup: int, num_leapfrog: int, step_size: float | None) -> None:
    if start.ndim != 2 or len(start) < 2 or start.shape[1] < 1 or start.dtype != torch.float64:
        raise SpecError(
            f"start of shape {tuple(start.shape)} and {start.dtype}: expected float64 (num_chains, dim), two chains"
        )
    for name, value, least in (
        ("num_draws", num_draws, 1),
        ("num_warmup", num_warmup, 0),
        ("num_leapfrog", num_leapfrog, 1),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise SpecError(f"{name} is {value!r}; expected a whole number of at least {least}")
    if step_size is not None and not 0.0 < step_size < math.inf:
        raise SpecError(f"step_size is {step_size!r}; expected a finite number above 0, or None to adapt it")
    if step_size is None and num_warmup < 20:
        raise SpecError(f"num_warmup is {num_warmup}; adapting the step takes at least 20 moves, or give step_size")
