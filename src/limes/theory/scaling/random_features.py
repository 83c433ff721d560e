"""Losses of random-feature models in time, for any width, number of samples and linear optimizer, without a time grid.

Source: Bordelon, Atanasov & Pehlevan, arXiv:2402.01092; the contour method is ours, docs/theory/random_features.md.
"""

import time as clock_time
from typing import Any

import numpy as np

from limes.core.errors import SpecError
from limes.core.status import SolveStatus
from limes.numerics.contour import Real
from limes.theory.scaling.checks import check_times
from limes.theory.scaling.clocks import Clock, Nodes
from limes.theory.scaling.equations import (
    Losses,
    Modes,
    Sizes,
    follow,
    integrate,
    sample_factor,
    sizes_of,
    spectral_edge,
)
from limes.theory.scaling.one_pass import solve_one_pass
from limes.theory.scaling.problem import RandomFeatureProblem
from limes.theory.scaling.result import RandomFeatureResult
from limes.theory.scaling.ridge import final_losses

NUM_NODES = 32


def solve_random_features(
    problem: RandomFeatureProblem, times: Any, *, num_nodes: int = NUM_NODES
) -> RandomFeatureResult:
    """Test and training loss at any times, averaged over features, samples and noise.

    Args:
        problem: Spectrum, target, sizes, optimizer.
        times: (T,) increasing; gradient-flow time (lr x steps), or numbers of steps where the problem has an `lr`.
            math.inf is the end of training. Times may span any number of decades.
        num_nodes: Quadrature nodes on a contour.

    Returns:
        `RandomFeatureResult`. The test loss is E(f - y*)^2 without the factor 1/2 and without the noise; the training
        loss is the mean of (f - y)^2, noise included.

    Raises:
        SpecError: Times are not increasing, or the learning rate is unstable; the message has the largest stable one.
        ScopeError: A time at which so many modes oscillate that the contour would need thousands of nodes.

    **Source**: arXiv:2402.01092, Eq. 10 to 17 (the mean field equations); docs/theory/random_features.md.
    **Accuracy**: `error` is the change from 3/4 of the nodes, which bounds the quadrature's error; 1e-8 relative or
    better for gradient flow. The mean field itself is exact as N, P and M grow together, and off by O(1/min(N, P)).

    >>> import math
    >>> problem = RandomFeatureProblem([1.0], [1.0])     # one mode, learned as exp(-t)
    >>> round(float(solve_random_features(problem, [1.0]).test_loss[0]), 10), round(math.exp(-2.0), 10)
    (0.1353352832, 0.1353352832)
    """
    if num_nodes < 8 or num_nodes % 4:
        raise SpecError(f"num_nodes is {num_nodes}; expected a multiple of 4 of at least 8")
    grid = check_times(times, whole=problem.lr is not None)
    start = clock_time.process_time()
    if problem.one_pass:
        return solve_one_pass(problem, grid, num_nodes=num_nodes)
    sizes = sizes_of(problem.num_features, problem.num_samples)
    losses, error = _in_time(problem, grid, sizes, num_nodes)
    seconds = clock_time.process_time() - start
    return RandomFeatureResult(
        times=grid,
        test_loss=losses.test,
        train_loss=losses.train,
        independent_features=losses.independent_features,
        independent_data=losses.independent_data,
        independent_both=losses.independent_both,
        error=error,
        status=SolveStatus.CONVERGED if bool(np.isfinite(losses.test).all()) else SolveStatus.DIVERGED,
        stats={"seconds": seconds, "num_nodes": float(num_nodes), "num_entries": float(len(problem.spectrum))},
        problem=problem,
    )


def loss_table(
    problem: RandomFeatureProblem, *, num_features: Any, num_samples: Any, times: Any, num_nodes: int = 24
) -> Real:
    """Test loss of gradient flow for many sizes and times at once: what a compute frontier is made of.

    Args:
        problem: Spectrum, target, noise, ridge; its own sizes are not used.
        num_features, num_samples, times: Broadcast against each other; times positive and finite.
        num_nodes: Quadrature nodes.

    Returns:
        The broadcast shape.

    Raises:
        SpecError: A size or time is not positive, or the problem has discrete steps, inertia or batches.

    **Source**: as `solve_random_features`. **Accuracy**: 1e-8 relative at 24 nodes.

    >>> import math
    >>> problem = RandomFeatureProblem([1.0], [1.0])
    >>> loss_table(problem, num_features=math.inf, num_samples=math.inf, times=[1.0, 2.0]).round(6).tolist()
    [0.135335, 0.018316]
    """
    if problem.lr is not None or problem.inertia or problem.one_pass:
        raise SpecError("loss_table is for gradient flow: drop lr, inertia and batches, or call solve_random_features")
    n, p, t = np.broadcast_arrays(*(np.asarray(v, dtype=float) for v in (num_features, num_samples, times)))
    for name, values in (("num_features", n), ("num_samples", p), ("times", t)):
        if values.size == 0 or not (values > 0).all():
            raise SpecError(f"{name} is {np.ravel(values)[:4].tolist()}...; expected positive numbers")
    if not np.isfinite(t).all():
        raise SpecError("times holds infinity; use ridge_equivalent for the end of training")
    clock = clock_of(problem)
    nodes = [clock.nodes(float(time), 0.0, num_nodes) for time in t.ravel()]
    return _on_nodes(problem, sizes_of(n.ravel(), p.ravel()), nodes).test.reshape(t.shape)


def clock_of(problem: RandomFeatureProblem) -> Clock:
    """The optimizer of a problem."""
    return Clock(ridge=problem.ridge, lr=problem.lr, momentum=problem.momentum, inertia=problem.inertia)


def modes_of(problem: RandomFeatureProblem) -> Modes:
    """The spectrum of a problem, as the equations take it."""
    return Modes(lam=problem.spectrum, power=problem.target_power, count=problem.multiplicity)


def stable_edge(problem: RandomFeatureProblem, sizes: Sizes) -> float:
    """Edge of the spectrum, after checking that the learning rate is stable there."""
    clock = clock_of(problem)
    edge = float(spectral_edge(modes_of(problem), sizes)[0])
    limit = clock.largest_stable_edge()
    if problem.lr is not None and not edge < limit:
        largest = 2.0 * (1.0 + problem.momentum) / (edge + problem.ridge)
        raise SpecError(
            f"lr is {problem.lr:g}: gradient descent diverges, since the largest eigenvalue it meets is {edge:.4g}; "
            f"expected lr below {largest:.4g}"
        )
    return edge


def _in_time(problem: RandomFeatureProblem, grid: Real, sizes: Sizes, num_nodes: int) -> tuple[Losses, Real]:
    clock = clock_of(problem)
    edge = stable_edge(problem, sizes) if clock.needs_edge else 0.0
    rows = np.empty((5, len(grid)))
    coarse = np.empty(len(grid))
    inner = (grid > 0.0) & np.isfinite(grid)
    rows[:, grid == 0.0] = _at_start(problem)
    if np.isinf(grid[-1]):
        rows[:, -1] = final_losses(problem)
    if inner.any():
        for target, share in ((rows, 1.0), (coarse, 0.75)):
            nodes = [clock.nodes(float(time), edge, num_nodes, share=share) for time in grid[inner]]
            losses = _by_length(problem, sizes, nodes)
            if target is rows:
                rows[:, inner] = losses
            else:
                coarse[inner] = losses[0]
    error = np.zeros(len(grid))
    error[inner] = np.abs(rows[0, inner] - coarse[inner])
    names = ("test", "train", "independent_features", "independent_data", "independent_both")
    return Losses(**dict(zip(names, rows, strict=True))), error


def _at_start(problem: RandomFeatureProblem) -> Real:
    """(5, 1) losses before training."""
    rows = np.full((5, 1), problem.total_power)
    rows[1] += problem.noise_var
    return rows


def _by_length(problem: RandomFeatureProblem, sizes: Sizes, nodes: list[Nodes]) -> Real:
    """(5, T) losses of one problem: contours of equal length go through the equations together."""
    rows = np.empty((5, len(nodes)))
    lengths = np.array([len(item.omega) for item in nodes])
    for length in np.unique(lengths):
        index = np.flatnonzero(lengths == length)
        many = sizes.take(np.zeros(len(index), dtype=np.intp))
        found = _on_nodes(problem, many, [nodes[i] for i in index])
        shared = (found.independent_features, found.independent_data, found.independent_both)
        for row, values in enumerate((found.test, found.train, *shared)):
            rows[row, index] = values
    return rows


def _on_nodes(problem: RandomFeatureProblem, sizes: Sizes, nodes: list[Nodes]) -> Losses:
    """Losses of B problems on B contours of equal length."""
    modes = modes_of(problem)
    path = np.stack([item.path for item in nodes], axis=1)
    omega = np.stack([item.omega for item in nodes])
    x = follow(modes, sizes, path)[1:].T
    r1 = sample_factor(modes, sizes, path[1:].T, x)
    return integrate(modes, sizes, problem.noise_var, x, omega, r1)
