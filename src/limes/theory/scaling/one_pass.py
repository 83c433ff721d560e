"""One-pass SGD on random features: fresh batches, whose noise feeds back through a Volterra equation.

    L_n = F_n + (eta^2/B) sum_{m < n} K_{n-1-m} (L_m + sigma2),     L(t) = F(t) + kappa int K(t-s) (L(s) + sigma2) ds

F is the loss without batch noise, K what one unit of noise in the gradient does later; both come from the contour.

Source: Paquette et al., arXiv:2405.15074, section 2 (the Volterra equation); Bordelon et al., arXiv:2402.01092,
section 5; docs/theory/random_features.md.
Letters: eta step size, B batch size, kappa = eta / B in continuous time, sigma2 label noise, H covariance of features.
"""

import math
import time as clock_time
from collections.abc import Callable

import numpy as np
from scipy.interpolate import make_interp_spline

from limes.core.errors import ScopeError, SpecError
from limes.core.status import SolveStatus
from limes.numerics.contour import Complex, Real
from limes.numerics.volterra import solve_continuous, solve_steps
from limes.theory.scaling.clocks import Clock, Nodes
from limes.theory.scaling.equations import (
    Modes,
    Sizes,
    follow,
    integrate,
    pair_sums,
    sizes_of,
    spectral_edge,
)
from limes.theory.scaling.problem import RandomFeatureProblem
from limes.theory.scaling.result import RandomFeatureResult
from limes.theory.scaling.ridge import final_losses

MAX_STEPS = 2_000_000
_PER_DECADE = 24
# Below this share of its start the kernel is rounding of the contour.
_UNDERFLOW = 3e-12


def solve_one_pass(problem: RandomFeatureProblem, grid: Real, *, num_nodes: int) -> RandomFeatureResult:
    """Losses of one-pass SGD at checked times; called by `solve_random_features`."""
    start = clock_time.process_time()
    modes = Modes(lam=problem.spectrum, power=problem.target_power, count=problem.multiplicity)
    sizes = sizes_of(problem.num_features, math.inf)
    edge = float(spectral_edge(modes, sizes)[0])
    gain = stability(problem, edge)
    if gain >= 1.0:
        _refuse(problem, gain)
    finite = grid[np.isfinite(grid)]
    if problem.lr is None:
        curve, other = (_flow(problem, modes, sizes, finite, share, num_nodes) for share in (1.0, 0.75))
    else:
        curve, other = (_steps(problem, modes, sizes, finite, edge, per) for per in (_PER_DECADE, _PER_DECADE // 2))
    error = np.abs(curve - other)
    if len(finite) < len(grid):
        floor = final_losses(problem)[0]
        curve = np.append(curve, (floor + gain * problem.noise_var) / (1.0 - gain))
        error = np.append(error, 0.0)
    return RandomFeatureResult(
        times=grid,
        test_loss=curve,
        train_loss=curve + problem.noise_var,
        independent_features=None,
        independent_data=None,
        independent_both=None,
        error=error,
        status=SolveStatus.CONVERGED,
        stats={"seconds": clock_time.process_time() - start, "gain": gain, "num_nodes": float(num_nodes)},
        problem=problem,
    )


def stability(problem: RandomFeatureProblem, edge: float) -> float:
    """Total feedback of batch noise, (1/B) tr H (2/eta - H)^-1 or kappa tr H / 2: the loss grows where it reaches 1."""
    if problem.lr is None:
        return 0.5 * problem.batch_noise * problem.trace
    if not problem.lr * edge < 2.0:
        raise SpecError(
            f"lr is {problem.lr:g}: SGD diverges in any batch size, since the largest eigenvalue it meets is "
            f"{edge:.4g}; expected lr below {2.0 / edge:.4g}"
        )
    modes = Modes(lam=problem.spectrum, power=problem.target_power, count=problem.multiplicity)
    target, features = 2.0 / problem.lr, 1.0 / problem.num_features
    top = float(modes.lam.max())

    def outside(y: float) -> tuple[float, float]:
        df = float((modes.count * modes.lam / (y - modes.lam)).sum())
        return y * (1.0 + features * df), df

    # The larger root of y (1 + df(y)/N) = 2/eta: beyond the minimum that is the edge.
    low, high = _beyond_edge(outside, top, target)
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if outside(middle)[0] < target else (low, middle)
    return outside(0.5 * (low + high))[1] / float(problem.batch_size or math.inf)


def _beyond_edge(outside: Callable[[float], tuple[float, float]], top: float, target: float) -> tuple[float, float]:
    """A bracket of the larger root: the map is below `target` at the left end, above at the right."""
    gaps = np.exp(np.linspace(math.log(1e-9), math.log(max(4.0 * target / top, 4.0)), 400))
    values = np.array([outside(top * (1.0 + gap))[0] for gap in gaps])
    lowest = int(np.argmin(values))
    return top * (1.0 + gaps[lowest]), 4.0 * target + 4.0 * top


def _refuse(problem: RandomFeatureProblem, gain: float) -> None:
    if problem.lr is None:
        raise SpecError(
            f"batch_noise is {problem.batch_noise:g}: the loss grows without bound, since noise feeds back {gain:.3g} "
            f"times; expected batch_noise below {2.0 / problem.trace:.4g}"
        )
    raise SpecError(
        f"lr {problem.lr:g} with batch_size {problem.batch_size:g}: the loss grows without bound, since noise feeds "
        f"back {gain:.3g} times; lower lr, or use a batch larger than {float(problem.batch_size or 1.0) * gain:.4g}"
    )


def _steps(problem: RandomFeatureProblem, modes: Modes, sizes: Sizes, grid: Real, edge: float, per_decade: int) -> Real:
    if not len(grid):
        return grid
    count = int(grid[-1]) + 1
    if count > MAX_STEPS:
        raise ScopeError(
            f"{count - 1} steps: at most {MAX_STEPS} are summed one by one; use batch_noise = lr / batch_size "
            "in continuous time (time = lr x steps)"
        )
    clock = Clock(ridge=0.0, lr=problem.lr, momentum=0.0, inertia=0.0)
    steps = _sample_steps(count, per_decade)
    forced, kernel = (np.empty(len(steps)) for _ in range(2))
    for i, step in enumerate(steps):
        if step == 0:
            forced[i], kernel[i] = problem.total_power, _initial_kernel(modes, sizes)
        else:
            forced[i], kernel[i] = _sources(modes, sizes, [clock.nodes(float(step), edge, 32)])[:, 0]
    every = np.arange(count, dtype=float)
    rate = float(problem.lr or 0.0) ** 2 / float(problem.batch_size or math.inf)
    memory = rate * _interpolate(steps, kernel, offset=1.0, relative=True)(every)
    loss = _interpolate(steps, forced, offset=1.0, relative=False)(every)
    # The source is L + sigma2: solve for that sum.
    total = solve_steps(loss + problem.noise_var, memory)
    return total[grid.astype(int)] - problem.noise_var


def _flow(problem: RandomFeatureProblem, modes: Modes, sizes: Sizes, grid: Real, share: float, num_nodes: int) -> Real:
    if not len(grid):
        return grid
    scale = 0.1 / (modes.trace * sizes.features[0] + modes.lam.max())
    horizon = float(grid[-1])
    if horizon == 0.0:
        return np.array([problem.total_power])
    decades = math.log10(1.0 + horizon / scale)
    num_points = int(share * (32 + 16 * decades))
    samples = scale * np.expm1(np.linspace(0.0, math.log1p(horizon / scale), int(share * (_PER_DECADE * decades + 24))))
    clock = Clock(ridge=0.0, lr=None, momentum=0.0, inertia=0.0)
    late = _sources(modes, sizes, [clock.nodes(float(t), 0.0, num_nodes) for t in samples[1:]])
    forced = np.concatenate([[problem.total_power], late[0]])
    kernel = np.concatenate([[_initial_kernel(modes, sizes)], late[1]])
    f = _interpolate(samples, forced, offset=scale, relative=False)
    k = _interpolate(samples, kernel, offset=scale, relative=True)
    sigma2, rate = problem.noise_var, problem.batch_noise
    total = solve_continuous(lambda t: f(t) + sigma2, lambda t: rate * k(t), horizon, scale=scale, num_nodes=num_points)
    return total(grid) - sigma2


def _initial_kernel(modes: Modes, sizes: Sizes) -> float:
    """K at time 0: (sum lam^2 + (sum lam)^2 / N), the square of the random features' covariance on average."""
    return float(modes.count @ modes.lam**2) + float(sizes.features[0]) * modes.trace**2


def _sources(modes: Modes, sizes: Sizes, nodes: list[Nodes]) -> Real:
    """(2, T): F and K on T contours of equal length."""
    many = sizes.take(np.zeros(len(nodes), dtype=np.intp))
    x = follow(modes, many, np.stack([item.path for item in nodes], axis=1))[1:].T
    omega = np.stack([item.omega for item in nodes])
    forced = integrate(modes, many, 0.0, x, omega, np.ones_like(x)).test
    # K has no factor 1/z: noise enters as a kick, not as a source that stays.
    kick = omega * np.stack([item.z for item in nodes])
    kernel = np.zeros(len(nodes))
    for second, other in ((x, kick), (x.conj(), kick.conj())):
        kernel += 2.0 * (kick[:, :, None] * other[:, None, :] * _kick(modes, many, x, second)).real.sum((1, 2))
    return np.stack([forced, kernel])


def _kick(modes: Modes, sizes: Sizes, x: Complex, second: Complex) -> Complex:
    sums, n = pair_sums(modes, x, second), sizes.features[:, None, None]
    xx = x[:, :, None] * second[:, None, :]
    return sums.b + n * xx * sums.a**2 / (1.0 - n * sums.b)


def _sample_steps(count: int, per_decade: int) -> Real:
    """Steps at which the contour is evaluated: all early ones, then equally many in every decade."""
    dense = np.arange(min(count, 2 * per_decade))
    if count <= 2 * per_decade:
        return dense.astype(float)
    decades = math.log10((count - 1) / dense[-1])
    late = np.geomspace(dense[-1], count - 1, max(8, int(per_decade * decades)) + 1)
    return np.unique(np.concatenate([dense, np.round(late)])).astype(float)


def _interpolate(times: Real, values: Real, *, offset: float, relative: bool) -> Callable[[Real], Real]:
    """Quintic spline of log values in log time; zero beyond an underflow where `relative` (a kernel)."""
    good = np.flatnonzero(values <= (_UNDERFLOW * values[0] if relative else 0.0))
    end = good[0] if len(good) else len(times)
    if end < 2:
        return lambda t: np.where(np.asarray(t) <= times[0], values[0], 0.0)
    u, logs = np.log(times[:end] / offset + 1.0), np.log(values[:end])
    spline = make_interp_spline(u, logs, k=min(5, end - 1))
    last = times[end - 1]
    return lambda t: np.where(t <= last, np.exp(spline(np.log(np.minimum(t, last) / offset + 1.0))), 0.0)
