"""Deep linear networks from a balanced start: every singular mode of the target is learned along a curve of its own.

Whitened inputs, loss half the squared error. Weights that are aligned with the target's singular directions stay so; if
all D layers start with the same strength a^(1/D) in a mode, the product a of the layers follows

    da/dt = D a^(2 - 2/D) (s - a),      D = 2: a(t) = s / (1 + (s/a0 - 1) exp(-2 s t))

with s the target's singular value: a plateau, then a step, the longer and the sharper the deeper the network.

Source: Saxe, McClelland & Ganguli, arXiv:1312.6120, sections 1 and 2; docs/theory/balanced_linear.md.
Letters: D layers, s target strengths, a products, a0 their start, r modes.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.integrate import quad, solve_ivp

from limes.core.errors import ConvergenceError, SpecError
from limes.theory.checks import check_count, check_number
from limes.theory.solvable.checks import Real, check_array


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BalancedLinearProblem:
    """A deep linear network, its target, and when to look.

    Args:
        strengths: (r,) positive singular values of the target.
        start: Product of the layers' strengths in each mode at the start, positive.
        depth: Layers of weights D, at least 1.
        times: (T,) increasing, in units of gradient flow with rate 1.
    """

    strengths: Real
    start: float
    depth: int
    times: Real

    def __post_init__(self) -> None:
        """Check shapes and ranges; arrays are copied.

        Raises:
            SpecError: Strengths or start are not positive, times do not increase, or there is no layer.
        """
        strengths, times = check_array("strengths", self.strengths), check_array("times", self.times)
        if (strengths <= 0.0).any():
            raise SpecError(f"strengths {strengths.tolist()}: expected positive singular values; leave out those of 0")
        if (times < 0.0).any() or (np.diff(times) <= 0.0).any():
            raise SpecError(f"times {times.tolist()}: expected increasing numbers of at least 0")
        object.__setattr__(self, "strengths", strengths)
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "start", check_number("start", self.start, low=0.0, open_low=True))
        object.__setattr__(self, "depth", check_count("depth", self.depth))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BalancedLinearResult:
    """Learned strengths in time.

    Args:
        times: (T,) as requested.
        products: (T, r) a, the end-to-end strength of each mode.
        test_loss: (T,) half the squared error, sum over modes of (s - a)^2 / 2.
        problem: What was asked.
    """

    times: Real
    products: Real
    test_loss: Real
    problem: BalancedLinearProblem


def solve_balanced_linear(problem: BalancedLinearProblem) -> BalancedLinearResult:
    """Strength of each mode and loss in time.

    Args:
        problem: `BalancedLinearProblem`.

    Returns:
        `BalancedLinearResult`.

    Raises:
        ConvergenceError: The integrator gave up, at extreme strengths and depths.

    **Source**: arXiv:1312.6120, sections 1.2 and 2. **Accuracy**: closed form for depths 1 and 2, 1e-9 relative beyond.

    >>> problem = BalancedLinearProblem(strengths=[1.0], start=0.05, depth=2, times=[1.0, 4.0])
    >>> solve_balanced_linear(problem).products[:, 0].round(8).tolist()
    [0.28000456, 0.99366658]
    """
    columns = [_mode(float(s), problem) for s in problem.strengths]
    products = np.array(columns).T
    loss = 0.5 * ((problem.strengths - products) ** 2).sum(1)
    return BalancedLinearResult(times=problem.times, products=products, test_loss=loss, problem=problem)


def learning_time(strength: float, *, start: float, depth: int, share: float = 0.5) -> float:
    """When a mode reaches a share of its strength: the wait grows as log(1/start) at two layers, as a power beyond.

    Args:
        strength: s, of the target.
        start: a0, below share x strength.
        depth: Layers D.
        share: Between 0 and 1.

    Returns:
        Time, in units of gradient flow with rate 1.

    Raises:
        SpecError: A number is out of range, or the start lies beyond.

    **Source**: arXiv:1312.6120, section 1.2 (two layers); the integral of da / (D a^(2 - 2/D) (s - a)).
    **Accuracy**: 1e-10 relative.

    >>> round(learning_time(1.0, start=0.05, depth=2), 10) == round(math.log(19.0) / 2.0, 10)
    True
    """
    s = check_number("strength", strength, low=0.0, open_low=True)
    a0 = check_number("start", start, low=0.0, open_low=True)
    aim = s * check_number("share", share, low=0.0, below=1.0, open_low=True)
    depth = check_count("depth", depth)
    if a0 >= aim:
        raise SpecError(f"start is {a0:g}; expected less than {aim:g}, the share of the strength that is asked for")
    power = 2.0 / depth - 1.0
    rate = lambda u: math.exp(power * u) / (depth * (s - math.exp(u)))  # noqa: E731
    return float(quad(rate, math.log(a0), math.log(aim), epsabs=0.0, epsrel=1e-12, limit=200)[0])


def _mode(s: float, problem: BalancedLinearProblem) -> Real:
    a0, depth, times = problem.start, problem.depth, problem.times
    if depth == 1:
        return np.asarray(s + (a0 - s) * np.exp(-times))
    if depth == 2:
        return np.asarray(s / (1.0 + (s / a0 - 1.0) * np.exp(-2.0 * s * times)))
    if times[-1] == 0.0:
        return np.full(len(times), a0)
    # In the logarithm, where the plateau is as easy as the rest.
    power = 1.0 - 2.0 / depth
    found = solve_ivp(
        lambda _, u: depth * np.exp(power * u) * (s - np.exp(u)),
        (0.0, float(times[-1])),
        [math.log(a0)],
        t_eval=times,
        method="LSODA",
        rtol=1e-12,
        atol=1e-13,
    )
    if found.status != 0:
        raise ConvergenceError(f"mode of strength {s:g} at depth {depth}: {found.message}")
    return np.asarray(np.exp(found.y[0]))
