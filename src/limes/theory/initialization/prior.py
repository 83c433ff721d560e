"""Prior predictive distribution: what a random bias-free network of given widths puts out for one input.

With all weights Gaussian, |f|^2 = sigma^2 chi2_n prod_l chi2_{K_l}, all independent: n outputs, K_l = d_l for linear
networks and Binomial(d_l, 1/2) active units for relu. Any layer without an active unit makes f = 0.

Source: Zavatone-Veth & Pehlevan, arXiv:2104.11734; Noci et al., arXiv:2106.06615; the evaluation is ours,
docs/theory/prior_predictive.md.
Letters: L hidden layers, d_l widths, n outputs, q0 = |x|^2 / D, t = |f|^2 / E |f|^2 (dead networks included in the
mean), M(s) = E t^s.
"""

import math
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from limes.core.errors import ScopeError, SpecError
from limes.numerics.contour import Real
from limes.theory.checks import as_floats, check_number, check_whole
from limes.theory.initialization.mellin import Ladder, LayerFactor

MAX_WIDTH = 10_000_000
MAX_DEPTH = 100_000


@dataclass(frozen=True, eq=False)
class PriorProblem:
    """A bias-free network at initialization and the length of its input.

    Args:
        widths: (L,) hidden widths, input side first; empty for a linear model.
        activation: "relu" or "linear".
        weight_var: Variance of a weight times its fan-in; None keeps the signal: 2 for relu, 1 for linear.
        readout_var: The same for the last layer.
        input_var: |x|^2 / D, the mean square of the input's entries.
        num_outputs: n.

    Raises:
        SpecError: A width, a variance or the number of outputs is out of range, in one sentence.
        ScopeError: Another activation.

    >>> PriorProblem((3, 5)).atom
    0.15234375
    """

    widths: tuple[int, ...]
    activation: Literal["relu", "linear"] = "relu"
    weight_var: float | None = field(default=None, kw_only=True)
    readout_var: float = field(default=1.0, kw_only=True)
    input_var: float = field(default=1.0, kw_only=True)
    num_outputs: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        settle = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731
        if self.activation not in ("relu", "linear"):
            raise ScopeError(
                f"activation {self.activation!r}: finite widths are covered exactly for 'relu' and 'linear' only; "
                "use the kernels of infinite width, or the covariance SDE, for others"
            )
        try:
            widths = tuple(self.widths)
        except TypeError:
            raise SpecError(
                f"widths {self.widths!r}: expected a sequence of hidden widths such as (128, 128)"
            ) from None
        settle("widths", tuple(check_whole(f"widths[{i}]", width) for i, width in enumerate(widths)))
        if len(widths) > MAX_DEPTH or max(self.widths, default=1) > MAX_WIDTH:
            raise SpecError(
                f"{len(widths)} layers, largest width {max(self.widths)}: expected at most {MAX_DEPTH} and "
                f"{MAX_WIDTH}; use the joint limit beyond"
            )
        var = (2.0 if self.activation == "relu" else 1.0) if self.weight_var is None else self.weight_var
        settle("weight_var", check_number("weight_var", var, low=0.0, open_low=True))
        for name in ("readout_var", "input_var"):
            settle(name, check_number(name, getattr(self, name), low=0.0, open_low=True))
        settle("num_outputs", check_whole("num_outputs", self.num_outputs))

    @property
    def log_mean_square(self) -> float:
        """ln E |f|^2."""
        gain = float(self.weight_var or 0.0) * (0.5 if self.activation == "relu" else 1.0)
        fixed = math.log(self.input_var) + math.log(self.readout_var) + math.log(self.num_outputs)
        return fixed + len(self.widths) * math.log(gain)

    @property
    def atom(self) -> float:
        """P(f = 0): the probability that a hidden layer has no active unit."""
        if self.activation == "linear":
            return 0.0
        return -math.expm1(sum(math.log1p(-(2.0**-width)) if width < 1000 else 0.0 for width in self.widths))

    @property
    def inverse_width_sum(self) -> float:
        """b = sum_l 1 / d_l, the ratio of depth to width that decides the shape of the distribution."""
        return math.fsum(1.0 / width for width in self.widths)

    @property
    def factors(self) -> tuple[LayerFactor, ...]:
        """Of the Mellin transform of t: the readout, then each distinct width."""
        gated = self.activation == "relu"
        hidden = sorted(Counter(self.widths).items())
        first = LayerFactor(width=self.num_outputs, count=1, gated=False)
        return (first, *(LayerFactor(width=width, count=count, gated=gated) for width, count in hidden))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PriorResult:
    """The distribution at the radii asked for.

    Args:
        radii: (R,) values of |f|.
        density: (R,) density of f, a vector of n numbers, at any point of that length; without the atom at zero.
        log_density: (R,) its logarithm, finite where the density is too small or too large for a float.
        below: (R,) P(|f| <= radius), the atom included.
        above: (R,) P(|f| > radius), with full relative accuracy in the tail.
        log_above: (R,) its logarithm.
        atom: P(f = 0).
        mass_error: Difference between the transform at zero and 1 - atom: a check of the quadrature in use.
        problem: What was solved.
    """

    radii: Real
    density: Real
    log_density: Real
    below: Real
    above: Real
    log_above: Real
    atom: float
    mass_error: float
    problem: PriorProblem = field(repr=False)

    def to_arrays(self) -> dict[str, Real]:
        """The arrays by name, for tables and reports."""
        names = ("radii", "density", "log_density", "below", "above", "log_above")
        return {name: getattr(self, name) for name in names}


class _Contours:
    """The three ladders of a problem, made when first used."""

    def __init__(self, problem: PriorProblem) -> None:
        self.factors = problem.factors
        self.pole = max(factor.pole for factor in self.factors)

    @cached_property
    def density(self) -> Ladder:
        return Ladder(self.factors, low=self.pole, high=math.inf, divided=False)

    @cached_property
    def above(self) -> Ladder:
        return Ladder(self.factors, low=0.0, high=math.inf, divided=True)

    @cached_property
    def below(self) -> Ladder:
        return Ladder(self.factors, low=self.pole, high=0.0, divided=True)


def solve_prior(problem: PriorProblem, radii: Any) -> PriorResult:
    """Density, distribution function and tail of the output of a random network, at any finite widths.

    Args:
        problem: Widths, activation, variances, input.
        radii: (R,) values of |f|, in the output's own unit, 0 or more.

    Returns:
        `PriorResult`.

    Raises:
        SpecError: A radius is negative or not finite, or there is none.
        ConvergenceError: A radius so far in a tail, or so close to zero, that no contour resolves it.

    **Accuracy**: 1e-11 relative or better in density, below and above, far tails included, for widths up to 10,000 and
    depths up to 1,000 (docs/theory/prior_predictive.md has the comparisons).
    **Source**: arXiv:2104.11734 and arXiv:2106.06615; contours: limes, docs/theory/prior_predictive.md.

    >>> result = solve_prior(PriorProblem((1,), "linear"), [0.5, 2.0])     # Bessel's K_0(|f|) / pi
    >>> result.density.round(8).tolist()
    [0.29425173, 0.03625355]
    """
    r = np.atleast_1d(as_floats("radii", radii))
    if r.ndim != 1 or r.size == 0 or not bool(np.isfinite(r).all()) or bool((r < 0).any()):
        raise SpecError(f"radii {r.tolist()}: expected finite lengths of an output, 0 or more")
    contours, alive = _Contours(problem), 1.0 - problem.atom
    mass, center, _ = _at(problem, 0.0)
    log_density, below, above, log_above = _curves(problem, contours, r, alive, center)
    with np.errstate(over="ignore"):
        density = np.exp(log_density)
    return PriorResult(
        radii=r,
        density=density,
        log_density=log_density,
        below=below,
        above=above,
        log_above=log_above,
        atom=problem.atom,
        mass_error=math.exp(mass) - alive,
        problem=problem,
    )


def _curves(problem: PriorProblem, contours: _Contours, radii: Real, alive: float, center: float) -> list[Real]:
    """ln density, below, above, ln above."""
    log_density = np.full(len(radii), _log_density_at_zero(problem))
    below, above = np.full(len(radii), problem.atom), np.full(len(radii), alive)
    log_above = np.full(len(radii), math.log(alive) if alive else -math.inf)
    away = np.flatnonzero(radii > 0.0)
    if len(away) == 0:
        return [log_density, below, above, log_above]
    logs, n = np.log(radii[away]), problem.num_outputs
    log_t = 2.0 * logs - problem.log_mean_square
    mantissa, exponent = contours.density.invert_all(log_t)
    # dP/d|f| = (2 / |f|) * integral, spread over a sphere of area 2 pi^(n/2) / Gamma(n/2) |f|^(n-1).
    sphere = 0.5 * n * math.log(math.pi) - math.lgamma(0.5 * n) + n * logs
    log_density[away] = np.log(np.maximum(mantissa, 5e-324)) + exponent - sphere
    tail, core = away[log_t > center], away[log_t <= center]
    if len(tail):
        mantissa, exponent = contours.above.invert_all(log_t[log_t > center])
        log_above[tail] = np.log(np.maximum(mantissa, 5e-324)) + exponent
        above[tail] = np.exp(log_above[tail])
        below[tail] = 1.0 - above[tail]
    if len(core):
        mantissa, exponent = contours.below.invert_all(log_t[log_t <= center])
        inside = mantissa * np.exp(exponent)
        below[core], above[core], log_above[core] = problem.atom + inside, alive - inside, np.log(alive - inside)
    return [log_density, below, above, log_above]


def _log_density_at_zero(problem: PriorProblem) -> float:
    """ln E (2 pi R)^(-n/2), with R the variance of an output given the hidden layers; infinite where that diverges."""
    n = problem.num_outputs
    hidden = problem.factors[1:]
    if any(factor.pole >= -0.5 * n for factor in hidden):
        return math.inf
    value = sum(factor.slopes(-0.5 * n)[0] for factor in hidden)
    return value - 0.5 * n * (math.log(2.0 * math.pi) + problem.log_mean_square - math.log(n))


def _at(problem: PriorProblem, c: float) -> tuple[float, float, float]:
    """ln M(c) and its first two derivatives."""
    rows = [factor.slopes(c) for factor in problem.factors]
    first, second, third = (math.fsum(column) for column in zip(*rows, strict=True))
    return first, second, third


def prior_moment(problem: PriorProblem, order: float) -> float:
    """E |f|^order, dead networks included.

    Args:
        problem: Widths, activation, variances, input.
        order: Any real number for which the mean exists; 2 gives the variance (times n), 4 over 2 squared the kurtosis.

    Returns:
        The moment; inf where it diverges or exceeds the largest float.

    **Accuracy**: 1e-12 relative, times the order. **Source**: arXiv:2104.11734, section 3 (products of moments).

    >>> problem = PriorProblem((3, 5))
    >>> round(prior_moment(problem, 4) / prior_moment(problem, 2) ** 2, 9)      # 3 (1 + 5/3) (1 + 5/5)
    16.0
    """
    order = check_number("order", order)
    if 0.5 * order <= max(factor.pole for factor in problem.factors) or (order < 0 and problem.atom > 0):
        return math.inf
    if order == 0.0:
        return 1.0
    with np.errstate(over="ignore"):
        return float(np.exp(_at(problem, 0.5 * order)[0] + 0.5 * order * problem.log_mean_square))


def prior_log_moments(problem: PriorProblem) -> tuple[float, float]:
    """Mean and variance of ln |f|^2, given that the network is not dead.

    **Accuracy**: 1e-12 relative. **Source**: derivatives of ln M at zero, limes, docs/theory/prior_predictive.md.

    >>> mean, variance = prior_log_moments(PriorProblem((), "linear"))          # of a normal variable
    >>> round(mean, 6), round(variance, 6)
    (-1.270363, 4.934802)
    """
    _, mean, variance = _at(problem, 0.0)
    return mean + problem.log_mean_square, variance


def sample_prior(problem: PriorProblem, num_draws: int, *, generator: torch.Generator) -> Tensor:
    """Exact draws of the outputs, without any weight matrix: products of chi-squares with binomial freedom.

    Args:
        problem: Widths, activation, variances, input.
        num_draws: Independent networks.
        generator: Of all draws.

    Returns:
        (num_draws, num_outputs) float64.

    **Source**: arXiv:2106.06615, section 3. **Accuracy**: exact in distribution.

    >>> sample_prior(PriorProblem((4, 4)), 3, generator=torch.Generator().manual_seed(0)).shape
    torch.Size([3, 1])
    """
    num_draws = check_whole("num_draws", num_draws)
    seed = int(torch.randint(2**62, (1,), generator=generator))
    draw = np.random.Generator(np.random.Philox(seed))
    log_square = np.full(num_draws, problem.log_mean_square - math.log(problem.num_outputs))
    for factor in problem.factors[1:]:
        for _ in range(factor.count):
            freedom = draw.binomial(factor.width, 0.5, num_draws) if factor.gated else np.full(num_draws, factor.width)
            with np.errstate(divide="ignore"):
                log_square += np.log(draw.standard_gamma(0.5 * freedom)) - math.log(factor.reference)
    normal = draw.standard_normal((num_draws, problem.num_outputs))
    return torch.from_numpy(np.exp(0.5 * log_square)[:, None] * normal)
