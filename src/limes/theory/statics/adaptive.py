"""Adaptive kernel of a mean-field Bayesian network with one hidden layer, through its concave dual.

Posterior exp(-b g^2 N sum (f - y)^2 / 2 - |theta|^2 / 2) with f = (1 / (g N)) sum_i w_i phi(h_i). As N grows

    -(1/N) ln Z = max_d  b g^2 (d.y - |d|^2 / 2) - ln E exp(b^2 g^2 (d.phi(h))^2 / 2),      h ~ N(0, x.x' / D),

strictly concave in the residuals d = y - f: one saddle, found by Newton's method.

Source: Lauditi, Bordelon & Pehlevan, arXiv:2502.07998; the dual, its certificate and the fluctuations:
docs/theory/adaptive_kernels.md.
Letters: P samples, M test inputs, d residuals, b inverse temperature, g gamma0, Phi kernel of the tilted neuron,
a = d.phi, r = y - d - b Phi d: the gradient over b g^2.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from limes.core.errors import ConvergenceError, ScopeError, SpecError
from limes.theory.activations import Activation, get_activation
from limes.theory.checks import check_whole
from limes.theory.statics.data import checked_samples, checked_strengths, settle
from limes.theory.statics.neuron import EDGE_SHARE, Grid, Moments, Neuron, Particles, directions_of

Method = Literal["auto", "quadrature", "sampling"]
TOLERANCE = 1e-13
MAX_STEPS = 200
NUM_ROUNDS = 40


@dataclass(frozen=True, eq=False)
class AdaptiveProblem:
    """Data, activation, feature-learning strength, temperature.

    Args:
        inputs: (P, D); they enter as x.x' / D, which may be singular.
        targets: (P,).
        test_inputs: (M, D), or None.
        activation: Name or object; "erf" is erf(x).
        gamma0: Feature-learning strength; towards 0 the network becomes the NNGP.
        inverse_temperature: Multiplies the SUM over samples of (f - y)^2 / 2.

    Raises:
        SpecError: A shape or a number is out of range.

    >>> AdaptiveProblem([[1.0]], [1.0], gamma0=0.5).gamma0
    0.5
    """

    inputs: Any
    targets: Any
    test_inputs: Any = None
    activation: str | Activation = field(default="erf", kw_only=True)
    gamma0: float = field(default=1.0, kw_only=True)
    inverse_temperature: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        settle(
            self,
            **checked_samples(self.inputs, self.targets, self.test_inputs, self.activation, allow_zero=False),
            **checked_strengths(gamma0=self.gamma0, inverse_temperature=self.inverse_temperature),
        )

    @property
    def phi(self) -> Activation:
        """The activation itself."""
        return get_activation(self.activation)

    @property
    def strength(self) -> float:
        """b g, the tilt per unit of residual."""
        return self.inverse_temperature * self.gamma0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AdaptiveResult:
    """The saddle, and how sure it is.

    Args:
        residuals: (P,) targets less outputs.
        train_mean: (P,) outputs on the training inputs.
        test_mean: (M,).
        train_fluctuation: (P,) width times the variance of the outputs over posterior networks, at leading order,
            fluctuations of the kernel included.
        test_fluctuation: (M,).
        kernel: (P, P) adapted kernel Phi.
        readout_second_moment: <w^2>.
        log_evidence: (1/N) ln Z at leading order; negative.
        log_det: ln det of minus the dual's Hessian over b g^2, the next order of the evidence.
        residual: |r|, which bounds the distance of `residuals` from the saddle (the dual is strongly concave).
        gap: b g^2 |r|^2 / 2, which bounds what the evidence lacks.
        train_error, test_error, kernel_error, log_evidence_error: Of the averages over the neuron: against a grid of
            half the points, or the standard error over replicas; for `train_error` with the Newton step that is left.
        num_iterations: Newton steps.
        method: "quadrature" or "sampling".
        problem: What was solved.
    """

    residuals: Tensor
    train_mean: Tensor
    test_mean: Tensor
    train_fluctuation: Tensor
    test_fluctuation: Tensor
    kernel: Tensor
    readout_second_moment: float
    log_evidence: float
    log_det: float
    residual: float
    gap: float
    train_error: Tensor
    test_error: Tensor
    kernel_error: Tensor
    log_evidence_error: float
    num_iterations: int
    method: str
    problem: AdaptiveProblem = field(repr=False)


def solve_adaptive(
    problem: AdaptiveProblem,
    *,
    method: Method = "auto",
    num_particles: int = 4096,
    num_replicas: int = 8,
    seed: int = 0,
) -> AdaptiveResult:
    """The adapted kernel, the predictions and the evidence of an infinitely wide network that learns features.

    Args:
        problem: Data, activation, gamma0, temperature.
        method: "quadrature" where the inputs span at most three directions, "sampling" for any; "auto" chooses.
        num_particles: Of each replica, for sampling.
        num_replicas: Independent solutions, whose spread is the standard error, for sampling.
        seed: Of the particles.

    Returns:
        `AdaptiveResult`.

    Raises:
        SpecError: An unknown method, or too few replicas or particles.
        ScopeError: Quadrature in more directions than a grid can hold.
        ConvergenceError: Newton's method stopped above its tolerance, or the particles do not come to rest.

    **Source**: arXiv:2502.07998; docs/theory/adaptive_kernels.md.
    **Accuracy**: quadrature: 1e-12 for smooth activations, 3e-6 for kinked ones, stated in the `error` fields.
    Sampling: the standard errors returned; with kinked activations and strong tilts a bias of a few of them remains
    (docs/theory/adaptive_kernels.md), which falls with num_particles.

    >>> fit = solve_adaptive(AdaptiveProblem([[1.0]], [2.0], activation="linear", gamma0=1.0))
    >>> round(fit.kernel.item(), 6), fit.residual < 1e-12          # u of the linear network
    (1.903212, True)
    """
    if method not in ("auto", "quadrature", "sampling"):
        raise SpecError(f"method {method!r}: expected auto, quadrature or sampling")
    particles = check_whole("num_particles", num_particles, least=64)
    # Their spread is the error: one has none.
    replicas = check_whole("num_replicas", num_replicas, least=2)
    seed = check_whole("seed", seed, least=0)
    directions = directions_of(torch.cat([problem.inputs, problem.test_inputs]))
    if method == "quadrature" or (method == "auto" and Grid.fits(directions)):
        return _by_quadrature(problem, directions)
    return _by_sampling(problem, directions, num_particles=particles, num_replicas=replicas, seed=seed)


def dual_value(problem: AdaptiveProblem, residuals: Tensor, neuron: Neuron) -> float:
    """The dual at any residuals (P,): it lies below -(1/N) ln Z everywhere but at the saddle.

    **Source**: arXiv:2502.07998; docs/theory/adaptive_kernels.md. **Accuracy**: of the averages that `neuron` takes.

    >>> problem = AdaptiveProblem([[1.0]], [2.0])
    >>> dual_value(problem, torch.zeros(1, dtype=torch.float64), Grid(directions_of(problem.inputs), torch.erf))
    0.0
    """
    moments = neuron.moments(residuals, problem.strength)
    return -math.inf if moments is None else _value(problem, residuals, moments)


def _value(problem: AdaptiveProblem, delta: Tensor, moments: Moments) -> float:
    scale = problem.inverse_temperature * problem.gamma0**2
    value = scale * float(delta @ problem.targets - 0.5 * delta @ delta) - moments.log_partition
    # ln of a normalized sum is zero only to rounding.
    return value if bool(delta.any()) else 0.0


def _residual(problem: AdaptiveProblem, delta: Tensor, moments: Moments) -> Tensor:
    size = len(delta)
    return problem.targets - delta - problem.inverse_temperature * moments.kernel[:size, :size] @ delta


def _newton_step(problem: AdaptiveProblem, delta: Tensor, moments: Moments) -> Tensor:
    return torch.linalg.solve(_bend(problem, moments), _residual(problem, delta, moments))


def _bend(problem: AdaptiveProblem, moments: Moments) -> Tensor:
    """Minus the Hessian of the dual over b g^2."""
    size, beta = len(problem.targets), problem.inverse_temperature
    bend = torch.eye(size, dtype=torch.float64) + beta * moments.kernel[:size, :size]
    return bend + beta * problem.strength**2 * moments.fourth[:size, :size]


def _ascend(
    problem: AdaptiveProblem, neuron: Neuron, delta: Tensor, moments: Moments
) -> tuple[Tensor, Moments, float] | None:
    """One Newton step with an Armijo line search on the dual, and its length; None where nothing rises any more."""
    scale = problem.inverse_temperature * problem.gamma0**2
    gradient = _residual(problem, delta, moments)
    step, share = _newton_step(problem, delta, moments), 1.0
    value, slope = _value(problem, delta, moments), scale * float(gradient @ step)
    for _ in range(60):
        place = delta + share * step
        found = neuron.moments(place, problem.strength)
        if found is not None:
            rises = _value(problem, place, found) >= value + 1e-4 * share * slope
            if rises or float(_residual(problem, place, found).norm()) < 0.5 * float(gradient.norm()):
                return place, found, share
        share *= 0.5
    return None


def _climb(problem: AdaptiveProblem, neuron: Grid) -> tuple[Tensor, Moments, int]:
    """Newton's method from zero, where every average exists."""
    delta = torch.zeros_like(problem.targets)
    moments = neuron.moments(delta, problem.strength)
    assert moments is not None
    bound, count = TOLERANCE * float(problem.targets.norm()), 0
    while float(_residual(problem, delta, moments).norm()) > bound and count < MAX_STEPS:
        found = _ascend(problem, neuron, delta, moments)
        if found is None:
            break
        delta, moments, _ = found
        count += 1
    return delta, moments, count


def _left(problem: AdaptiveProblem, delta: Tensor, moments: Moments) -> str:
    """What is wrong with where Newton's method ended; empty where nothing is."""
    left, bound = float(_residual(problem, delta, moments).norm()), TOLERANCE * float(problem.targets.norm())
    # Rounding in the averages can hold Newton's method just above the bound.
    return f"Newton's method stopped at a residual of {left:.3g}, above {bound:.3g}" if left > 1e3 * bound else ""


def _by_quadrature(problem: AdaptiveProblem, directions: Tensor) -> AdaptiveResult:
    radius, wrong = 12.0, ""
    while True:
        try:
            neuron = Grid(directions, problem.phi.value, radius=radius)
        except ScopeError as too_large:
            # What stopped the last grid is the news, not the size of the next one.
            if wrong:
                raise ConvergenceError(f"{wrong}; lower gamma0") from too_large
            raise
        delta, moments, count = _climb(problem, neuron)
        wrong = _left(problem, delta, moments)
        # A grid whose rim carries weight stops Newton's method too: only a wider one can tell.
        if moments.edge_share <= EDGE_SHARE and not wrong:
            break
        radius *= 1.5
    coarse = Grid(directions, problem.phi.value, radius=radius, stride=2).moments(delta, problem.strength)
    if coarse is None:
        raise ScopeError("every second point of the grid already loses the neuron's law; use method='sampling'")
    fine = _result(problem, delta, moments)
    rough = _result(problem, delta, coarse)
    error = {name: (fine[name] - rough[name]).abs() for name in ("train_mean", "test_mean", "kernel")}
    return AdaptiveResult(
        **fine,
        train_error=error["train_mean"],
        test_error=error["test_mean"],
        kernel_error=error["kernel"],
        log_evidence_error=abs(fine["log_evidence"] - rough["log_evidence"]),
        num_iterations=count,
        method="quadrature",
        problem=problem,
    )


def _result(problem: AdaptiveProblem, delta: Tensor, moments: Moments) -> dict[str, Any]:
    size, beta, strength = len(delta), problem.inverse_temperature, problem.strength
    residual = _residual(problem, delta, moments)
    ridge = moments.kernel[:size, :size] + torch.eye(size, dtype=torch.float64) / beta
    # Particles leave noise in the saddle equation, which test outputs would multiply: regression takes its part away.
    mean = moments.kernel[:, :size] @ (beta * delta + torch.linalg.solve(ridge, residual))
    # Covariance of w phi / g over one tilted neuron; data then take away what they determine.
    spread = (moments.kernel + strength**2 * moments.fourth) / problem.gamma0**2
    noise = torch.eye(size, dtype=torch.float64) / (beta * problem.gamma0**2)
    rows = spread[:, :size]
    left = spread.diagonal() - (rows * torch.linalg.solve(spread[:size, :size] + noise, rows.T).T).sum(1)
    return {
        "residuals": delta,
        "train_mean": problem.targets - delta,
        "test_mean": mean[size:],
        "train_fluctuation": left[:size],
        "test_fluctuation": left[size:],
        "kernel": moments.kernel[:size, :size].clone(),
        "readout_second_moment": 1.0 + strength**2 * float(delta @ moments.kernel[:size, :size] @ delta),
        "log_evidence": -_value(problem, delta, moments),
        "log_det": float(_bend(problem, moments).logdet()),
        "residual": float(residual.norm()),
        "gap": 0.5 * beta * problem.gamma0**2 * float(residual @ residual),
    }


def _by_sampling(
    problem: AdaptiveProblem, directions: Tensor, *, num_particles: int, num_replicas: int, seed: int
) -> AdaptiveResult:
    rows, counts = [], []
    for replica in range(num_replicas):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + replica)
        phi = problem.phi
        neuron = Particles(directions, phi.value, phi.derivative, num_particles=num_particles, generator=generator)
        row, count = _wander(problem, neuron)
        rows.append(row)
        counts.append(count)
    mean: dict[str, Any] = {}
    error: dict[str, Any] = {}
    for name in rows[0]:
        values = torch.stack([row[name] for row in rows])
        middle = values.mean(0)
        deviation = ((values - middle) ** 2).sum(0).div(num_replicas * (num_replicas - 1)).sqrt()
        mean[name] = middle if middle.ndim else float(middle)
        error[name] = deviation if deviation.ndim else float(deviation)
    mean["residual"] = float(mean.pop("fresh").norm())
    shift = mean.pop("shift")
    mean["gap"] = 0.5 * problem.inverse_temperature * problem.gamma0**2 * mean["residual"] ** 2
    return AdaptiveResult(
        **mean,
        # The Newton step that is left at the averages is an error that all replicas share.
        train_error=error["train_mean"].hypot(shift),
        test_error=error["test_mean"],
        kernel_error=error["kernel"],
        log_evidence_error=error["log_evidence"],
        num_iterations=max(counts),
        method="sampling",
        problem=problem,
    )


def _wander(problem: AdaptiveProblem, neuron: Particles) -> tuple[dict[str, Tensor], int]:
    """The dual over the particles is climbed to its top and the particles follow until they stay; then Newton steps of
    length 1/k, so that noise in the residuals, which would bias the kernel, averages out.
    """
    delta, count, share = torch.zeros_like(problem.targets), 0, 0.0
    bound = 1e-9 * float(problem.targets.norm())
    while share < 1.0 and count < MAX_STEPS:
        neuron.follow(delta, problem.strength)
        moments, share = neuron.at_rest(delta), 1.0
        while share == 1.0 and float(_residual(problem, delta, moments).norm()) > bound and count < MAX_STEPS:
            found = _ascend(problem, neuron, delta, moments)
            count += 1
            if found is None:
                break
            delta, moments, share = found
    if share < 1.0:
        raise ConvergenceError(f"{count} Newton steps did not bring the particles to rest; raise num_particles")
    bend, kept = _bend(problem, moments), []
    for k in range(1, NUM_ROUNDS + 1):
        neuron.follow(delta, problem.strength)
        moments = neuron.at_rest(delta)
        if 2 * k > NUM_ROUNDS:
            kept.append(moments)
        # The Hessian of earlier rounds: this one's shares its noise with the gradient, which would shift the rest.
        delta = delta + torch.linalg.solve(bend, _residual(problem, delta, moments)) / k
        bend = bend + (_bend(problem, moments) - bend) / (k + 1)
    average = Moments(
        log_partition=sum(moments.log_partition for moments in kept) / len(kept),
        kernel=torch.stack([moments.kernel for moments in kept]).mean(0),
        fourth=torch.stack([moments.fourth for moments in kept]).mean(0),
    )
    row = _result(problem, delta, average)
    row["fresh"] = _residual(problem, delta, average)
    row["shift"] = torch.linalg.solve(bend, row["fresh"])
    return {name: torch.as_tensor(value, dtype=torch.float64) for name, value in row.items()}, count + NUM_ROUNDS
