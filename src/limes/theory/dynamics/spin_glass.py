"""The spherical p = 2 spin glass: the first lesson in dynamical mean field theory, with everything in
closed form.

One symmetric Gaussian matrix J drives linear dynamics s(t+1) = s(t) + eta J s(t). Its two-time correlation
and its response obey a closed recursion, and here both are also finite sums over Catalan numbers, so that
each step can be checked.

Source: Cugliandolo & Dean, J. Phys. A 28 (1995) 4213 (the continuous-time model);
docs/theory/p2_spin_glass.md.
Letters: C(t, s) correlation, R(t, s) response of s(t) to a field in step s, eta step size, T times.
"""

from dataclasses import dataclass
from math import comb

import numpy as np
from scipy.special import ive

from limes.core.errors import SpecError
from limes.theory.checks import check_count, check_number


@dataclass(frozen=True, kw_only=True, slots=True)
class SpinGlassProblem:
    """Discrete dynamics of the spherical p = 2 model from a random start.

    Args:
        eta: Step size, positive.
        num_times: Times 0 .. num_times - 1.

    Raises:
        SpecError: A value is out of range.
    """

    eta: float
    num_times: int

    def __post_init__(self) -> None:
        check_number("eta", self.eta, low=0.0, open_low=True)
        check_count("num_times", self.num_times, least=1)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SpinGlassResult:
    """Two-time functions, before normalisation to the sphere.

    Args:
        correlation: (T, T), C(t, s) per spin, C(0, 0) = 1.
        response: (T, T), R(t, s), zero for t <= s.
        problem: The problem.
    """

    correlation: np.ndarray
    response: np.ndarray
    problem: SpinGlassProblem

    @property
    def overlap(self) -> np.ndarray:
        """(T, T): the correlation of the spins on the sphere, C(t, s) / sqrt(C(t, t) C(s, s))."""
        scale = np.sqrt(np.diag(self.correlation))
        return self.correlation / np.outer(scale, scale)


def solve_spin_glass(problem: SpinGlassProblem) -> SpinGlassResult:
    """March the mean field recursion forward in time.

    Args:
        problem: Step size and horizon.

    Accuracy: rounding.
    Source: docs/theory/p2_spin_glass.md.

    >>> result = solve_spin_glass(SpinGlassProblem(eta=0.1, num_times=41))
    >>> round(float(result.overlap[40, 0]), 8)
    0.33508653
    """
    eta, num_times = problem.eta, problem.num_times
    c, r = np.zeros((num_times, num_times)), np.zeros((num_times, num_times))
    c[0, 0] = 1.0
    for t in range(num_times - 1):
        r[t + 1] = r[t] + eta * (r[t] @ r)
        r[t + 1, t] += eta
        for s in range(t + 2):
            # J at step t meets J in the past of s(t), and J in the past of s(s): one term for each.
            c[t + 1, s] = c[s, t] + eta * (c[s, : t + 1] @ r[t, : t + 1] + c[t, : t + 1] @ r[s, : t + 1])
            c[s, t + 1] = c[t + 1, s]
    return SpinGlassResult(correlation=c, response=r, problem=problem)


def spin_glass_closed_form(problem: SpinGlassProblem) -> SpinGlassResult:
    """The same functions as sums over the moments of the semicircle law.

    Args:
        problem: Step size and horizon.

    Accuracy: rounding; all terms are positive.
    Source: docs/theory/p2_spin_glass.md.

    >>> float(spin_glass_closed_form(SpinGlassProblem(eta=0.5, num_times=3)).correlation[2, 0])
    1.25
    """
    num_times, eta = problem.num_times, problem.eta
    power = [_moment_sum(n, eta) for n in range(2 * num_times - 1)]
    c = np.array([[power[t + s] for s in range(num_times)] for t in range(num_times)])
    r = np.array([[eta * power[t - 1 - s] if t > s else 0.0 for s in range(num_times)] for t in range(num_times)])
    return SpinGlassResult(correlation=c, response=r, problem=problem)


def spin_glass_flow_overlap(t: float, s: float) -> float:
    """Overlap of the gradient flow (eta -> 0 at fixed time eta * steps) between times t and s.

    Args:
        t: First time, at least 0.
        s: Second time, at least 0.

    Raises:
        SpecError: A time is negative.

    Accuracy: that of the Bessel function, 1e-14.
    Source: Cugliandolo & Dean, J. Phys. A 28 (1995) 4213; docs/theory/p2_spin_glass.md.

    >>> round(spin_glass_flow_overlap(4.0, 0.0), 4)
    0.304
    """
    if min(t, s) < 0:
        raise SpecError(f"times are {t} and {s}; expected at least 0")
    return float(_flow_norm(t + s) / np.sqrt(_flow_norm(2 * t) * _flow_norm(2 * s)))


def _moment_sum(n: int, eta: float) -> float:
    """E (1 + eta x)^n over the semicircle of radius 2, whose even moments are the Catalan numbers."""
    return float(sum(comb(n, k) * eta**k * (comb(k, k // 2) // (k // 2 + 1)) for k in range(0, n + 1, 2)))


def _flow_norm(x: float) -> float:
    """I_1(2x) / x times exp(-2x): the factor cancels in every overlap, since the arguments balance."""
    return 1.0 if x == 0 else float(ive(1, 2 * x) / x)
