"""How feature learning changes the law: a linear network whose random features are trained too.

f = (1/N) w . A psi with w(0) = 0 and A(0) Gaussian; w descends with rate 1 and A with rate gamma. With
v = w* - A^T w / N and g = Lambda v,

    dw/dt = A g,    dA/dt = gamma w (Q g)^T,    Q = 1 (all of A moves) or A(0)^T A(0) / N (projected features)

At infinite width A^T A / N = 1 + gamma b b^T / (1 + gamma C) at all times, with b = w* - v, C = |w|^2 / N and
|b|^2 = C (1 + gamma C), so that the dynamics close on M numbers (docs/theory/feature_learning.md):

    db/dt = (1 + gamma C) g + gamma b (b.g) / (1 + gamma C)

Source: Bordelon, Atanasov & Pehlevan, arXiv:2409.17858, section 2; the closed form is ours.
Letters: h_k = b_k / w*_k the learned share of a mode, p_k target power, lam_k eigenvalues, tau effective time.
"""

import math
import time as clock_time
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from scipy.integrate import cumulative_simpson
from scipy.interpolate import make_interp_spline

from limes.core.errors import ConvergenceError, ScopeError, SpecError
from limes.core.status import SolveStatus
from limes.numerics.contour import Real
from limes.numerics.ode import relaxation_weights, step_nodes
from limes.theory.checks import check_number, check_whole
from limes.theory.scaling.checks import as_nonnegative, check_size, check_times
from limes.theory.scaling.problem import RandomFeatureProblem
from limes.theory.scaling.random_features import loss_table

Method = Literal["exact", "surrogate"]


@dataclass(frozen=True, slots=True, eq=False)
class FeatureLearningProblem:
    """A linear network on a spectrum, with trained features.

    Args:
        spectrum: (K,) eigenvalues, nonnegative.
        target_power: (K,) variance of the target in each mode, lam_k w_k^2.
        gamma: Strength of feature learning; 0 is random features (lazy).
        num_features: Width of the projected model; math.inf for no limit.
        multiplicity: (K,) modes that each entry stands for; None is one each.

    Raises:
        SpecError: A value is out of range.

    >>> FeatureLearningProblem([1.0, 0.5], [1.0, 0.1], gamma=1.0).gamma
    1.0
    """

    spectrum: Any
    target_power: Any
    gamma: float = field(kw_only=True)
    num_features: float = field(default=math.inf, kw_only=True)
    multiplicity: Any = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        settle = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731
        settle("spectrum", as_nonnegative("spectrum", self.spectrum))
        settle("target_power", as_nonnegative("target_power", self.target_power, size=len(self.spectrum)))
        counts = np.ones(len(self.spectrum)) if self.multiplicity is None else self.multiplicity
        settle("multiplicity", as_nonnegative("multiplicity", counts, size=len(self.spectrum)))
        settle("gamma", check_number("gamma", self.gamma, low=0.0))
        settle("num_features", check_size("num_features", self.num_features))
        if not (self.multiplicity @ self.spectrum) > 0.0:
            raise SpecError("spectrum is all zero; expected at least one positive eigenvalue")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FeatureLearningResult:
    """Loss and effective time, (T,) float64 each.

    Args:
        times: As requested.
        test_loss: E(f - y*)^2 without 1/2.
        alignment: gamma C: how much faster than lazy the features let the readout learn.
        effective_time: Integral of 1 + gamma C: the time that a lazy learner would need, approximately.
        error: Change of the loss from two thirds of the steps.
        status: CONVERGED.
        stats: Seconds.
        problem: What was asked.
    """

    times: Real
    test_loss: Real
    alignment: Real
    effective_time: Real
    error: Real
    status: SolveStatus
    stats: dict[str, float]
    problem: FeatureLearningProblem = field(repr=False)

    @property
    def transition_time(self) -> float:
        """When gamma C reaches 1, lazy before and rich after; math.inf if it never does in the recorded times."""
        above = np.flatnonzero(self.alignment >= 1.0)
        if not len(above):
            return math.inf
        i = int(above[0])
        if i == 0:
            return float(self.times[0])
        logs = np.log(np.maximum(self.alignment[i - 1 : i + 1], 1e-300))
        share = -logs[0] / (logs[1] - logs[0])
        early, late = np.maximum(self.times[i - 1 : i + 1], 1e-300)
        return float(early ** (1.0 - share) * late**share)


def solve_feature_learning(
    problem: FeatureLearningProblem, times: Any, *, method: Method = "exact", steps_per_fold: int = 12
) -> FeatureLearningResult:
    """Population gradient flow of a linear network with trained features.

    Args:
        problem: Spectrum, target, gamma, width.
        times: (T,) increasing, finite.
        method: "exact" for infinite width. "surrogate" moves a lazy learner's clock, d tau/dt = 1 + gamma C, at any
            width: right exponents, a loss too large by 12 % late, on the way by more at large gamma.
        steps_per_fold: Steps while the effective time grows by a factor e.

    Returns:
        `FeatureLearningResult`.

    Raises:
        ScopeError: "exact" at finite width: the dynamics then depend on the draw of the features.
        SpecError: Times or the method are unusable.
        ConvergenceError: The last time was not reached in 20000 steps.

    **Source**: arXiv:2409.17858, section 2 and Appendix B; docs/theory/feature_learning.md.
    **Accuracy**: `error`; 1e-10 relative with the defaults. The surrogate is an approximation whatever its tolerance.

    >>> problem = FeatureLearningProblem([1.0], [1.0], gamma=0.0)
    >>> round(float(solve_feature_learning(problem, [1.0]).test_loss[0]), 9)         # exp(-2)
    0.135335283
    """
    if method not in ("exact", "surrogate"):
        raise SpecError(f"method is {method!r}; expected 'exact' or 'surrogate'")
    steps_per_fold = check_whole("steps_per_fold", steps_per_fold, least=8)
    grid = check_times(times, whole=False, allow_inf=False)
    if method == "exact" and problem.num_features != math.inf:
        raise ScopeError(
            f"num_features {problem.num_features:g} with method 'exact': closed equations exist at infinite width; "
            "use method='surrogate', or train networks with simulate_feature_learning"
        )
    start = clock_time.process_time()
    run = _exact if method == "exact" else _surrogate
    loss, alignment, tau = run(problem, grid, steps_per_fold)
    coarse = run(problem, grid, 2 * steps_per_fold // 3)[0]
    return FeatureLearningResult(
        times=grid,
        test_loss=loss,
        alignment=alignment,
        effective_time=tau,
        error=np.abs(loss - coarse),
        status=SolveStatus.CONVERGED,
        stats={"seconds": clock_time.process_time() - start},
        problem=problem,
    )


Curves = tuple[Real, Real, Real]
_MAX_STEPS, _MAX_SWEEPS, _NODES = 20_000, 60, 6


def _alignment(norm: Any, gamma: float) -> Any:
    """gamma C from |b|^2 = C (1 + gamma C)."""
    return 0.5 * (np.sqrt(1.0 + 4.0 * gamma * norm) - 1.0)


def _exact(problem: FeatureLearningProblem, grid: Real, steps_per_fold: int) -> Curves:
    # Modes without eigenvalue are never learned, whatever the features do.
    seen = problem.spectrum > 0.0
    lost = float(problem.multiplicity[~seen] @ problem.target_power[~seen])
    march = _March(
        lam=problem.spectrum[seen],
        power=(problem.multiplicity * problem.target_power)[seen],
        gamma=problem.gamma,
    )
    scale = 0.1 / max(float(march.lam.max()), math.sqrt(march.gamma * float(march.power @ march.lam)))
    zeros = np.zeros(len(march.lam))
    state, t, tau, turn = (zeros, zeros + 1.0), 0.0, 0.0, np.zeros(_NODES)
    blocks = [np.array([[0.0], [0.0], [march.power.sum()], [0.0]])]
    for number in range(1, _MAX_STEPS):
        step = scale * math.expm1(number / steps_per_fold) - tau
        state, turn, block = march.step(state, turn, step)
        blocks.append(block[:, 1:] + np.array([[t], [tau], [0.0], [0.0]]))
        t, tau = float(blocks[-1][0, -1]), tau + step
        if t >= grid[-1] and number >= 4:
            break
    else:
        raise ConvergenceError(f"time {grid[-1]:g} was not reached in {_MAX_STEPS} steps (at {t:g}); ask for less time")
    times, *columns = np.concatenate(blocks, axis=1)
    columns[1] += lost
    clock, wanted = np.log1p(times / scale), np.log1p(grid / scale)
    tau_at, loss_at, rise = (make_interp_spline(clock, v, k=5)(wanted) for v in _as_logs(columns, scale))
    return np.exp(loss_at), rise, scale * np.expm1(tau_at)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _March:
    """The exact dynamics in effective time: h' = lam (1 - h) + turn h for what is learned, and the same for f = 1 - h.

    Only the number `turn`, common to all modes, is nonlinear. With q = exp(-int turn), q h decays with rate lam under
    the drive lam q, and q f under dq/dtau: integrals that are exact whatever the rate. Both are carried along, since
    each has digits where the other is nearly 1.
    """

    lam: Real
    power: Real
    gamma: float

    def step(self, state: tuple[Real, Real], turn: Real, step: float) -> tuple[tuple[Real, Real], Real, Real]:
        """The state (h, f) and `turn` after a step; and (t, tau, loss, alignment) at its nodes, t and tau from 0."""
        nodes, integrate = step_nodes(_NODES)
        weights = relaxation_weights(self.lam * step, nodes)
        fading = np.exp(-nodes[:, None] * (self.lam * step))
        change, ones = math.inf, np.ones(len(self.lam))
        for _ in range(_MAX_SWEEPS):
            fade = np.exp(-step * (integrate @ turn))
            drives = np.stack([np.outer(fade, step * self.lam), np.outer(-step * turn * fade, ones)])
            h, f = (fading * np.stack(state)[:, None] + np.einsum("ijk,sjk->sik", weights, drives)) / fade[:, None]
            alignment = _alignment(h**2 @ (self.power / self.lam), self.gamma)
            new = self.gamma * ((h * f) @ self.power) / (1.0 + alignment) ** 2
            before, change, turn = change, step * np.abs(new - turn).max(), new
            # Sums over many decades of modes have rounding of their own: stop where it keeps the change from falling.
            if change <= 1e-14 or 0.5 * before < change < 1e-11:
                break
        else:
            raise ConvergenceError(f"a step of effective time {step:g} did not settle; raise steps_per_fold")
        loss = f**2 @ self.power
        block = np.stack([step * (integrate @ (1.0 / (1.0 + alignment))), step * nodes, loss, alignment])
        return (h[-1], f[-1]), np.full(_NODES, turn[-1]), block


def _as_logs(columns: list[Real], scale: float) -> tuple[Real, Real, Real]:
    """Quantities in which the curves are smooth in the logarithm of time."""
    tau, loss, alignment = columns
    return np.log1p(tau / scale), np.log(np.maximum(loss, 1e-300)), alignment


def _surrogate(problem: FeatureLearningProblem, grid: Real, steps_per_fold: int) -> Curves:
    seen = problem.spectrum > 0.0
    lam, count = problem.spectrum[seen], problem.multiplicity[seen]
    weights, gamma = count * problem.target_power[seen] / lam, problem.gamma

    def alignment(tau: Real) -> Real:
        return _alignment(np.expm1(-lam * tau[:, None]) ** 2 @ weights, gamma)

    # t(tau) = int d tau / (1 + gamma C), by Simpson's rule on a grid in ln tau that ends beyond the last time.
    scale = 0.1 / max(float(lam.max()), math.sqrt(gamma * float(weights @ lam**2)))
    folds = math.log1p(max(float(grid[-1]), scale) * (1.0 + float(_alignment(weights.sum(), gamma))) / scale)
    u = np.linspace(0.0, folds, 8 * math.ceil(0.5 * folds * steps_per_fold) + 9)
    tau = scale * np.expm1(u)
    t = cumulative_simpson((tau + scale) / (1.0 + alignment(tau)), x=u, initial=0.0)
    found = scale * np.expm1(make_interp_spline(np.log1p(t / scale), u, k=5)(np.log1p(grid / scale)))
    found = np.maximum(found, 0.0)
    lazy = RandomFeatureProblem(problem.spectrum, problem.target_power, multiplicity=problem.multiplicity)
    loss = np.full(len(grid), lazy.total_power)
    later = grid > 0.0
    if later.any():
        loss[later] = loss_table(
            lazy, num_features=problem.num_features, num_samples=math.inf, times=found[later], num_nodes=32
        )
    return loss, alignment(found), found


def circle_task(target_decay: float, *, activation_power: float = 1.0) -> tuple[float, float]:
    """(a, b) of the task y = sum_k k^-target_decay cos(k theta) for a network with activation ReLU^activation_power.

    Args:
        target_decay: q, above 1/2.
        activation_power: p: 1 is ReLU.

    Returns:
        a = 2 q and b = 2 p: decay of the target power, and of the tangent kernel's eigenvalues on the circle.

    Raises:
        SpecError: A value is out of range.

    **Source**: arXiv:2409.17858, section 5.1. **Accuracy**: asymptotic; ReLU's eigenvalues fall as k^-2.00 from k = 8.

    >>> circle_task(1.0)
    (2.0, 2.0)
    """
    q = check_number("target_decay", target_decay, low=0.5, open_low=True)
    p = check_number("activation_power", activation_power, low=0.5, open_low=True)
    return 2.0 * q, 2.0 * p
