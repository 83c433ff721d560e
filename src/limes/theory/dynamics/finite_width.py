"""Finite width at any depth: covariance across initializations by influence functions, and the 1 / width
bias of the mean.

A network of finite width is one independent sample of neurons per layer, and everything it computes is a
function of averages over them. The delta method turns the derivative with respect to each neuron's weight
in those averages into a covariance, and the second derivative into a bias.

Source: docs/theory/dmft_finite_width.md; the two-layer case is Bordelon & Pehlevan, arXiv:2304.03408.
Letters: S particles and L layers, p (L, S) their weights (1 / S at the point of expansion), I = S dO / dp
the influence.
"""

from collections.abc import Sequence

import numpy as np
import torch

from limes.core.errors import ScopeError, SpecError
from limes.theory.checks import check_count
from limes.theory.dynamics.mlp import solve_dmft_mlp
from limes.theory.dynamics.network import initial_weights, train_network
from limes.theory.dynamics.noise import noise_sources
from limes.theory.dynamics.observable import Observable
from limes.theory.dynamics.problem import Columns, MLPProblem, columns_of
from limes.theory.dynamics.weighted import WeightedParticles


def finite_width_covariance(
    problem: MLPProblem,
    observables: Sequence[Observable],
    *,
    num_particles: int = 2048,
    num_scrambles: int = 4,
    tolerance: float = 1e-6,
    seed: int = 0,
) -> np.ndarray:
    """Width times the covariance of observables across initializations of a wide network, to leading order.

    Args:
        problem: One output, plain gradient descent; networks are trained on f - f(0).
        observables: What is measured; see `Observable`.
        num_particles: A power of two; time and memory grow with it and with the number of steps.
        num_scrambles: Randomizations to average.
        tolerance: As `solve_dmft_mlp`.
        seed: Of the randomizations.

    Returns:
        (n, n) of width * Cov(O_i, O_j).

    Raises:
        ScopeError: Several outputs, momentum or decay.
        SpecError: No observables, or one outside the problem.

    Accuracy: 2 % of the Frobenius norm at 2048 x 4 (tanh, depth 1 and 2, gamma0 1); the next order in 1 /
    width is left out.
    Source: docs/theory/dmft_finite_width.md.

    >>> problem = MLPProblem(
    ...     inputs=np.eye(2), targets=[1.0, -1.0], depth=2, activation="tanh", gamma0=1.0, lr=0.3, num_times=4
    ... )
    >>> watched = [Observable(kind="output", time=3, sample=0), Observable(kind="loss", time=3)]
    >>> covariance = finite_width_covariance(problem, watched, num_particles=256, num_scrambles=2)
    >>> covariance.shape, bool(covariance[0, 0] > 0)
    ((2, 2), True)
    """
    columns = _checked(problem, observables)
    total = np.zeros((len(observables), len(observables)))
    for scramble in range(check_count("num_scrambles", num_scrambles, least=1)):
        run = _particles(problem, columns, size=num_particles, seed=seed, scramble=scramble, tolerance=tolerance)
        weights = torch.full((problem.depth, num_particles), 1.0 / num_particles, dtype=torch.float64)
        weights.requires_grad_()
        values = run.observe(weights, observables)
        influence = []
        for index, value in enumerate(values):
            (slope,) = torch.autograd.grad(value, weights, retain_graph=index + 1 < len(values))
            influence.append((slope - slope.mean(1, keepdim=True)).reshape(-1).numpy())
        stack = np.stack(influence)
        total += stack @ stack.T / num_particles
    return total / num_scrambles


def finite_width_bias(
    problem: MLPProblem,
    observables: Sequence[Observable],
    *,
    generator: torch.Generator,
    widths: Sequence[int] = (64, 128),
    num_networks: int = 200,
    num_particles: int = 4096,
) -> tuple[np.ndarray, np.ndarray]:
    """Width times the shift of each observable's mean from its limit, to leading order, with its standard
    error.

    Measured: networks of several widths are trained exactly and b is fitted in mean = limit + b / width +
    c / width^2.

    Args:
        problem: What is trained.
        observables: As `finite_width_covariance`.
        generator: Source of the networks' weights.
        widths: At least two widths.
        num_networks: Networks of each width.
        num_particles: For the limit.

    Returns:
        (n,) b, and (n,) its standard error, that of the limit included.

    Raises:
        SpecError: Fewer than two widths or networks, or an observable outside the problem.

    Accuracy: the returned standard error; terms of order 1 / width^2 in the shift are fitted, higher ones
    left out.
    Source: docs/theory/dmft_finite_width.md.

    >>> problem = MLPProblem(
    ...     inputs=np.eye(2), targets=[1.0, -1.0], depth=1, activation="relu", gamma0=1.0, lr=0.3, num_times=4
    ... )
    >>> watched = [Observable(kind="loss", time=3)]
    >>> settings = {"widths": (16, 32), "num_networks": 8, "num_particles": 256}
    >>> bias, error = finite_width_bias(problem, watched, generator=torch.Generator().manual_seed(0), **settings)
    >>> bias.shape, error.shape
    ((1,), (1,))
    """
    _check_observables(problem, observables)
    if len(set(widths)) < 2 or num_networks < 2:
        raise SpecError(f"widths {tuple(widths)}, num_networks {num_networks}: expected at least two of each")
    solved = solve_dmft_mlp(problem, num_particles=num_particles)
    limits = np.array([[o.of(solved, run) for o in observables] for run in range(len(solved.trajectories))])
    limit, limit_error = limits.mean(0), limits.std(0, ddof=1) / np.sqrt(len(limits))
    shifts, errors = [], []
    for width in widths:
        values = []
        for _ in range(num_networks):
            network = train_network(problem, weights=initial_weights(problem, width=width, generator=generator))
            values.append([o.of(network) for o in observables])
        samples = np.array(values)
        shifts.append(width * (samples.mean(0) - limit))
        errors.append(width * np.hypot(samples.std(0, ddof=1) / np.sqrt(num_networks), limit_error))
    design = np.stack([np.ones(len(widths)), 1.0 / np.asarray(widths, dtype=float)], axis=1)
    solve = np.linalg.pinv(design)[0]
    return solve @ np.array(shifts), np.sqrt(solve**2 @ np.array(errors) ** 2)


def _particles(
    problem: MLPProblem, columns: Columns, *, size: int, seed: int, scramble: int, tolerance: float
) -> WeightedParticles:
    sources = noise_sources("sobol", num_particles=size, seed=seed, scramble=scramble, count=problem.depth)
    return WeightedParticles(problem, columns, sources=sources, tolerance=tolerance)


def _checked(problem: MLPProblem, observables: Sequence[Observable]) -> Columns:
    if problem.num_outputs != 1 or problem.momentum or any(problem.decays):
        raise ScopeError(
            f"num_outputs {problem.num_outputs}, momentum {problem.momentum:g}, weight_decay {problem.weight_decay}: "
            "finite width covers one output and plain gradient descent; train networks with train_network instead"
        )
    _check_observables(problem, observables)
    return columns_of(problem)


def _check_observables(problem: MLPProblem, observables: Sequence[Observable]) -> None:
    if not observables:
        raise SpecError("observables is empty; expected at least one Observable")
    for observable in observables:
        observable.check(problem)
