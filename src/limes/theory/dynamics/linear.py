"""Deep linear networks: closed equations for the two-time kernels, exact in discrete time.

Without a nonlinearity the gradient field has no sample index and every kernel follows by linear algebra.
The system is causal, so the horizon is marched: one sweep through the layers for each further time is
exact.

Source: Bordelon & Pehlevan, arXiv:2205.09653, deep linear networks; in discrete time
docs/theory/dmft_linear.md.
Letters: n times known so far, P samples, (t, mu) flattened time-major; per layer H (nP, nP) feature and G
(n, n) gradient kernels, A (nP, n) and B (n, nP) responses, C and D the total feedback of g on h and of h
on g, R and Q the resolvents.
"""

import time
from dataclasses import dataclass

import numpy as np

from limes.core.errors import ConvergenceError, ScopeError
from limes.core.status import SolveStatus
from limes.theory.dynamics.fields import has_diverged
from limes.theory.dynamics.problem import Columns, MLPProblem, columns_of
from limes.theory.dynamics.result import DMFTResult, summarise
from limes.theory.dynamics.trajectory import TableStore, Trajectory


def solve_dmft_linear(problem: MLPProblem, *, throw: bool = True) -> DMFTResult:
    """Outputs, two-time kernels and responses of an infinitely wide deep linear network; no sampling, no
    iteration.

    Args:
        problem: activation "linear", one output, no momentum and no decay. Minibatches, held-out inputs,
        `lr_scale`,
            `weight_var` and `lr_schedule` are covered.
        throw: Raise on divergence; otherwise return it as a status.

    Returns:
        A `DMFTResult` with zero errors. `responses` holds "forward_l" (T, P_all, T) and "backward_l" (T,
        T, P_all) for l = 1 .. depth - 1.

    Raises:
        ScopeError: The problem is outside the closed equations.
        ConvergenceError: With `throw`, when the outputs diverge; the message names the step.

    Accuracy: rounding; 1e-11 relative for 40 times and depth 3. Time grows as depth * (num_times *
    P_all)^2 * num_times.
    Source: docs/theory/dmft_linear.md.

    >>> import numpy as np
    >>> problem = MLPProblem(
    ...     inputs=np.eye(2), targets=[1.0, -1.0], depth=1, activation="linear", gamma0=1.0, lr=0.3, num_times=3
    ... )
    >>> [round(float(x), 6) for x in solve_dmft_linear(problem).loss]
    [0.5, 0.36125, 0.257183]
    """
    _check_scope(problem)
    columns = columns_of(problem)
    start = time.process_time()
    marched = _March(problem, columns)
    trajectory = marched.run()
    status = SolveStatus.CONVERGED if trajectory.diverged_at is None else SolveStatus.DIVERGED
    result = summarise(
        [trajectory],
        problem=problem,
        columns=columns,
        status=status,
        stats={"cpu_seconds": time.process_time() - start},
        exact=True,
        responses=marched.responses(),
    )
    if throw and trajectory.diverged_at is not None:
        raise ConvergenceError(
            f"the learning dynamics diverge at step {trajectory.diverged_at} of {problem.num_times - 1} with lr "
            f"{problem.lr:g}; lower lr, or pass throw=False for the part before",
            result=result,
        )
    return result


def _check_scope(problem: MLPProblem) -> None:
    if problem.nonlinearity.name != "linear":
        raise ScopeError(
            f"activation is {problem.nonlinearity.name}; the closed equations hold for 'linear', use solve_dmft_mlp"
        )
    if problem.num_outputs > 1 or problem.momentum or any(problem.decays):
        raise ScopeError(
            f"num_outputs {problem.num_outputs}, momentum {problem.momentum:g}, weight_decay {problem.weight_decay}: "
            "the closed equations cover one output and plain gradient descent, use solve_dmft_mlp"
        )


@dataclass(slots=True, eq=False)
class _Layer:
    """Kernels of one layer over the full horizon, and the responses to its right (A) and from its
    right (B).
    """

    h: np.ndarray
    g: np.ndarray
    a: np.ndarray
    b: np.ndarray


class _March:
    def __init__(self, problem: MLPProblem, columns: Columns) -> None:
        self.problem, self.columns = problem, columns
        num_times, num_all = problem.num_times, len(columns.targets)
        self.num_all = num_all
        size = num_times * num_all
        # Layer 0 is the input, layer depth + 1 the readout; a of layer l feeds h of layer l + 1, b feeds g
        # of layer l.
        self.layers = [
            _Layer(
                h=np.zeros((size, size)),
                g=np.zeros((num_times, num_times)),
                a=np.zeros((size, num_times)),
                b=np.zeros((num_times, size)),
            )
            for _ in range(problem.depth + 2)
        ]
        self.layers[0].h = np.kron(np.ones((num_times, num_times)), columns.input_kernel)
        self.layers[-1].g = np.ones((num_times, num_times))
        self.pull = np.zeros((num_times, num_all))
        schedule = np.ones(num_times)
        schedule[: num_times - 1] = problem.lr_schedule if problem.lr_schedule is not None else 1.0
        self.gain = problem.lr * problem.gamma0 / columns.num_train * schedule

    def run(self) -> Trajectory:
        problem, columns = self.problem, self.columns
        num_times = problem.num_times
        trajectory = Trajectory(outputs=np.full((num_times, self.num_all, 1), np.nan), features=[], gradients=[])
        for t in range(num_times):
            outputs = self._sweep(t + 1)
            if has_diverged(outputs, columns):
                trajectory.diverged_at = t
                break
            trajectory.outputs[t, :, 0] = outputs
            self.pull[t] = self.gain[t] * columns.weights[t] * (columns.targets[:, 0] - outputs)
        shape = (num_times, self.num_all, num_times, self.num_all)
        for layer in self.layers[1:-1]:
            trajectory.features.append(TableStore(table=layer.h.reshape(shape)))
            table = np.broadcast_to(layer.g[:, None, :, None], shape)
            trajectory.gradients.append(TableStore(table=table))
        return trajectory

    def responses(self) -> dict[str, np.ndarray]:
        num_times, num_all = self.problem.num_times, self.num_all
        named = {}
        for index in range(1, self.problem.depth):
            named[f"forward_{index}"] = self.layers[index].a.reshape(num_times, num_all, num_times)
            named[f"backward_{index}"] = self.layers[index].b.reshape(num_times, num_times, num_all)
        return named

    def _sweep(self, n: int) -> np.ndarray:
        """One pass forward and one back over the first n times; returns the outputs at time n - 1."""
        depth, size = self.problem.depth, n * self.num_all
        for index in range(1, depth + 1):
            here, below = self.layers[index], self.layers[index - 1]
            c, d, r, _ = self._feedback(index, n)
            noise = self._variance(index - 1) * below.h[:size, :size]
            here.h[:size, :size] = r @ (noise + c @ self._top(index, n) @ c.T) @ r.T
            if index < depth:
                here.a[:size, :n] = r @ c
        outputs = np.zeros(self.num_all)
        for index in range(depth, 0, -1):
            here, below = self.layers[index], self.layers[index - 1]
            c, d, r, q = self._feedback(index, n)
            noise = self._variance(index - 1) * below.h[:size, :size]
            top = self._top(index, n)
            here.g[:n, :n] = q @ (top + d @ noise @ d.T) @ q.T
            if index > 1:
                below.b[:n, :size] = q @ d
            if index == depth:
                readout = q[-1] @ (top @ c.T + d @ noise) @ r.T
                outputs = readout[-self.num_all :] / self.problem.gamma0
        return outputs

    def _top(self, index: int, n: int) -> np.ndarray:
        return self._variance(index) * self.layers[index + 1].g[:n, :n]

    def _variance(self, matrix: int) -> float:
        return float((self.problem.weight_var or ())[matrix])

    def _feedback(self, index: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """C (nP, n), D (n, nP) and the resolvents R = (1 - C D)^-1, Q = (1 - D C)^-1 of one layer."""
        size, num_all = n * self.num_all, self.num_all
        below, here, above = self.layers[index - 1], self.layers[index], self.layers[index + 1]
        past = np.tril(np.ones((n, n)), -1)
        scales = self.problem.lr_scale or ()
        h = below.h[:size, :size].reshape(n, num_all, n, num_all)
        learned = np.einsum("tmsn,sn->tms", h, self.pull[:n]) * past[:, None, :]
        c = self._variance(index - 1) * below.a[:size, :n] + scales[index - 1] * learned.reshape(size, n)
        pushed = (past * above.g[:n, :n])[:, :, None] * self.pull[None, :n]
        d = self._variance(index) * here.b[:n, :size] + scales[index] * pushed.reshape(n, size)
        q = np.linalg.inv(np.eye(n) - d @ c)
        # Woodbury: only the small resolvent is inverted.
        return c, d, np.eye(size) + c @ q @ d, q
