"""Laws of one number in the covariance SDE, without sampling: a variance, or the correlation of two inputs.

Each follows a diffusion of its own, dx = mu(x) dt + sqrt(2 D) dB, whose density is found on a grid: fitted finite
volumes in x, Crank-Nicolson in time after four damped steps. Mass that leaves at the cap is the share stopped.

Source: arXiv:2206.02768, Eq. 1.4 and theorem 3.9; fluxes: Scharfetter & Gummel 1969.
Letters: x = ln V, D = 1, mu = k (e^x - 1) - 1; or x = artanh rho, D = 1/2, mu = nu(rho) / (1 - rho^2) + rho / 2.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.linalg import solve_banded

from limes.core.errors import ScopeError, SpecError
from limes.numerics.contour import Real
from limes.theory.checks import check_number, check_whole
from limes.theory.initialization.covariance_sde import CovarianceProblem
from limes.theory.initialization.shapes import ShapedReLU

SPREAD = 8.5


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CovarianceLaw:
    """Distribution of ln V or of rho at the end.

    Args:
        values: (G,) cell centres, increasing.
        edges: (G + 1,) of the cells.
        mass: (G,) probability of each cell; sums to 1 - stopped.
        stopped: Probability that the cap was passed before.
        problem: What was solved.
    """

    values: Real
    edges: Real
    mass: Real
    stopped: float
    problem: CovarianceProblem = field(repr=False)

    @property
    def mean(self) -> float:
        """Given that the path was not stopped."""
        return float(self.mass @ self.values / self.mass.sum())

    @property
    def std(self) -> float:
        """Given that the path was not stopped."""
        return math.sqrt(float(self.mass @ (self.values - self.mean) ** 2 / self.mass.sum()))

    def quantile(self, level: float) -> float:
        """The value below which a share `level` of the paths ended, of those not stopped."""
        below = np.concatenate([[0.0], np.cumsum(self.mass)]) / self.mass.sum()
        return float(np.interp(level, below, self.edges))


def variance_law(
    problem: CovarianceProblem, index: int = 0, *, cap: float = 1e6, num_cells: int = 2000, num_steps: int = 800
) -> CovarianceLaw:
    """Law of ln V^aa at depth_ratio.

    For shaped relu it is normal with mean ln V0 - T and variance 2 T. For a smooth shape with growth k > 0 the process
    explodes with positive probability, `stopped` at the cap.

    Args:
        problem: Covariance at the first layer, depth over width, shape.
        index: a.
        cap: Where the path stops, in units of the first variance.
        num_cells, num_steps: Of the grid.

    Returns:
        `CovarianceLaw` of ln V.

    **Accuracy**: 1e-4 in mean and deviation with the defaults; second order in cells and steps.
    **Source**: arXiv:2206.02768, theorem 3.9.

    >>> law = variance_law(CovarianceProblem([[1.0]], 1.0))
    >>> round(law.mean, 3), round(law.std**2, 3)
    (-1.0, 2.0)
    """
    num_cells, num_steps = check_whole("num_cells", num_cells, least=50), check_whole("num_steps", num_steps, least=8)
    index = check_whole("index", index, least=0)
    if index >= problem.num_inputs:
        raise SpecError(f"index is {index}; expected 0 to {problem.num_inputs - 1}")
    cap = check_number("cap", cap, low=1.0, open_low=True)
    k, t = problem.shape.growth, problem.depth_ratio
    start = math.log(float(problem.covariance[index, index]))
    reach = SPREAD * math.sqrt(2.0 * t)
    low = start - (1.0 + max(k, 0.0)) * t - reach
    high = min(start + math.log(cap), start + max(-k - 1.0, 0.0) * t + reach if k <= 0.0 else math.inf)
    edges = np.linspace(low, high, num_cells + 1)
    mass = _propagate(edges, start, lambda x: k * np.expm1(x) - 1.0, diffusion=1.0, time=t, num_steps=num_steps)
    values = 0.5 * (edges[1:] + edges[:-1])
    return CovarianceLaw(
        values=values, edges=edges, mass=mass, stopped=max(0.0, 1.0 - float(mass.sum())), problem=problem
    )


def correlation_law(
    problem: CovarianceProblem, first: int = 0, second: int = 1, *, num_cells: int = 2000, num_steps: int = 800
) -> CovarianceLaw:
    """Law of the correlation of two inputs at depth_ratio, in a shaped relu network.

    Args:
        problem: Covariance at the first layer, depth over width, a `ShapedReLU`.
        first, second: The inputs.
        num_cells, num_steps: Of the grid, which is even in artanh rho.

    Returns:
        `CovarianceLaw` of rho.

    Raises:
        ScopeError: A smooth shape: its correlation does not move by itself, but with both variances.
        SpecError: The inputs are the same, or parallel.

    **Accuracy**: 1e-4 with the defaults; second order in cells and steps. **Source**: arXiv:2206.02768, Eq. 1.4.

    >>> law = correlation_law(CovarianceProblem([[1.0, 0.3], [0.3, 1.0]], 1.0, ShapedReLU(0.0, -1.0)))
    >>> round(law.mean, 2), round(law.std, 2)
    (0.34, 0.59)
    """
    num_cells, num_steps = check_whole("num_cells", num_cells, least=50), check_whole("num_steps", num_steps, least=8)
    shape = problem.shape
    if not isinstance(shape, ShapedReLU):
        raise ScopeError(
            "the correlation under a smooth shape depends on both variances; sample it by solve_covariance_sde"
        )
    first, second = check_whole("first", first, least=0), check_whole("second", second, least=0)
    if first == second or max(first, second) >= problem.num_inputs:
        raise SpecError(f"inputs {first} and {second}: expected two different ones of {problem.num_inputs}")
    v = problem.covariance
    rho = float(v[first, second] / (v[first, first] * v[second, second]).sqrt())
    if abs(rho) >= 1.0 - 1e-12:
        raise SpecError(f"inputs {first} and {second} are parallel (correlation {rho:g}); they stay so at any depth")
    start, t = math.atanh(rho), problem.depth_ratio
    reach = SPREAD * math.sqrt(t) + 0.5 * t
    push = float(shape.correlation_drift(torch.tensor(-1.0, dtype=torch.float64)))
    edges = np.linspace(start - reach, start + reach + push * t, num_cells + 1)

    def drift(x: Real) -> Real:
        correlation = np.tanh(x)
        nu = shape.correlation_drift(torch.from_numpy(correlation)).numpy()
        # cosh^2 x = 1 / (1 - rho^2) without its cancellation; nu itself is 0 where rho rounds to 1.
        return np.asarray(nu * np.cosh(np.minimum(np.abs(x), 300.0)) ** 2 + 0.5 * correlation)

    mass = _propagate(edges, start, drift, diffusion=0.5, time=t, num_steps=num_steps)
    values = np.tanh(0.5 * (edges[1:] + edges[:-1]))
    return CovarianceLaw(
        values=values, edges=np.tanh(edges), mass=mass, stopped=max(0.0, 1.0 - float(mass.sum())), problem=problem
    )


def _propagate(
    edges: Real, start: float, drift: Callable[[Real], Real], *, diffusion: float, time: float, num_steps: int
) -> Real:
    """(G,) mass of each cell after `time`, begun at one point; what crosses an outer edge is lost."""
    h = edges[1] - edges[0]
    centres = 0.5 * (edges[1:] + edges[:-1])
    peclet = np.clip(drift(edges) * h / diffusion, -600.0, 600.0)
    rate = diffusion / h**2
    right, left = rate * _bernoulli(-peclet), rate * _bernoulli(peclet)
    # Mass of cell i leaves to the right by right[i + 1] and to the left by left[i].
    bands = np.zeros((3, len(centres)))
    bands[0, 1:], bands[1], bands[2, :-1] = left[1:-1], -(right[1:] + left[:-1]), right[1:-1]
    # The start is shared by the two nearest centres so that its mean is exact.
    place = (start - centres[0]) / h
    index = int(np.clip(math.floor(place), 0, len(centres) - 2))
    mass = np.zeros(len(centres))
    mass[index], mass[index + 1] = 1.0 - (place - index), place - index
    step = time / num_steps
    for _ in range(4):
        mass = _implicit(bands, mass, 0.5 * step)
    for _ in range(num_steps - 2):
        mass = _implicit(bands, mass + 0.5 * step * _apply(bands, mass), 0.5 * step)
    return mass


def _bernoulli(w: Real) -> Real:
    small = np.abs(w) < 1e-5
    safe = np.where(small, 1.0, w)
    return np.where(small, 1.0 - 0.5 * w, safe / np.expm1(safe))


def _apply(bands: Real, mass: Real) -> Real:
    out = bands[1] * mass
    out[:-1] += bands[0, 1:] * mass[1:]
    out[1:] += bands[2, :-1] * mass[:-1]
    return out


def _implicit(bands: Real, mass: Real, step: float) -> Real:
    matrix = -step * bands
    matrix[1] += 1.0
    return np.asarray(solve_banded((1, 1), matrix, mass))
