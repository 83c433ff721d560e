"""One hidden layer: particles that are drawn once and then move deterministically.

No matrix connects hidden layers, so nothing is revealed and no response exists: each neuron follows mean
field particle descent. Written in the space of pre-activations, apart from the general solver, which it
checks.

Source: Mei, Montanari & Nguyen, arXiv:1804.06561 (the limit); docs/theory/dmft_two_layer.md.
Letters: S particles, h (P_all, S) pre-activations, w (S,) readout, g = phi'(h) w, e = lr gamma0 / P.
"""

import time

import numpy as np

from limes.core.errors import ScopeError
from limes.theory.checks import check_count
from limes.theory.dynamics.fields import apply, has_diverged
from limes.theory.dynamics.finish import conclude
from limes.theory.dynamics.noise import noise_sources
from limes.theory.dynamics.problem import Columns, MLPProblem, columns_of
from limes.theory.dynamics.result import DMFTResult
from limes.theory.dynamics.trajectory import FieldStore, Trajectory


def solve_dmft_two_layer(
    problem: MLPProblem, *, num_particles: int = 4096, num_scrambles: int = 4, seed: int = 0, throw: bool = True
) -> DMFTResult:
    """Training of an infinitely wide network with one hidden layer, by particle descent on scrambled Sobol
    points.

    Args:
        problem: depth 1, one output, no momentum and no decay. Minibatches, held-out inputs, `lr_scale`,
        `weight_var` and
            `lr_schedule` are covered.
        num_particles: A power of two.
        num_scrambles: Independent randomizations, for the error estimate.
        seed: Of the randomizations.
        throw: Raise on divergence; otherwise return it as a status.

    Raises:
        ScopeError: The problem is not of this kind; `solve_dmft_mlp` covers it.
        ConvergenceError: With `throw`, when the outputs diverge; the message names the step.

    Accuracy: relative error of the loss curve about 5e-4 at 4096 x 4 (tanh, gamma0 1); falls as about
    num_particles^-0.8.
    Source: docs/theory/dmft_two_layer.md.

    >>> problem = MLPProblem(
    ...     inputs=np.eye(2), targets=[1.0, -1.0], depth=1, activation="tanh", gamma0=1.0, lr=0.3, num_times=5
    ... )
    >>> bool(solve_dmft_two_layer(problem, num_particles=1024).loss[-1] < 0.45)
    True
    """
    check_two_layer(problem)
    num_particles = check_count("num_particles", num_particles, least=2)
    num_scrambles = check_count("num_scrambles", num_scrambles, least=1)
    columns = columns_of(problem)
    start = time.process_time()
    runs = []
    for scramble in range(num_scrambles):
        (draw,) = noise_sources("sobol", num_particles=num_particles, seed=seed, scramble=scramble, count=1)
        runs.append(_descend(problem, columns, normals=draw(columns.factor.shape[1] + 1)))
    return conclude(
        runs,
        problem=problem,
        columns=columns,
        num_particles=num_particles,
        seconds=time.process_time() - start,
        full_rank=True,
        throw=throw,
    )


def check_two_layer(problem: MLPProblem) -> None:
    """One hidden layer, one output, plain gradient descent.

    Raises:
        ScopeError: Otherwise.
    """
    plain = not problem.momentum and not any(problem.decays)
    if problem.depth != 1 or problem.num_outputs != 1 or not plain:
        raise ScopeError(
            f"depth {problem.depth}, num_outputs {problem.num_outputs}, momentum {problem.momentum:g}, weight_decay "
            f"{problem.weight_decay}: expected one hidden layer, one output and plain gradient descent; "
            "use solve_dmft_mlp"
        )


def _descend(problem: MLPProblem, columns: Columns, *, normals: np.ndarray) -> Trajectory:
    phi, slope = problem.nonlinearity.value, problem.nonlinearity.derivative
    variances, scales = problem.weight_var or (), problem.lr_scale or ()
    size = normals.shape[1]
    h = np.sqrt(variances[0]) * columns.factor @ normals[:-1]
    w = np.sqrt(variances[1]) * normals[-1]
    gain = problem.lr * problem.gamma0 / columns.num_train
    outputs = np.full((problem.num_times, len(h), 1), np.nan)
    features, gradients = FieldStore(num_particles=size), FieldStore(num_particles=size)
    trajectory = Trajectory(outputs=outputs, features=[features], gradients=[gradients])
    initial = np.zeros(len(h))
    for t in range(problem.num_times):
        values = apply(phi, h)
        f = values @ w / (size * problem.gamma0)
        initial = f if t == 0 else initial
        if has_diverged(f - initial, columns):
            trajectory.diverged_at = t
            break
        outputs[t, :, 0] = f - initial
        g = apply(slope, h) * w
        features.values.append(values)
        gradients.values.append(g)
        if t in (0, problem.num_times - 1):
            trajectory.preactivations[1, t] = h
            trajectory.backfields[1, t] = np.broadcast_to(w, (len(h), 1, size))
        if t + 1 < problem.num_times:
            factor = gain if problem.lr_schedule is None else gain * problem.lr_schedule[t]
            error = factor * columns.weights[t] * (columns.targets[:, 0] - outputs[t, :, 0])
            h = h + scales[0] * columns.input_kernel @ (error[:, None] * g)
            w = w + scales[1] * error @ values
    return trajectory
