"""The published method for the same equations: alternate Monte Carlo sampling of single-site paths and
kernel updates.

Slow, and limited by the sampling noise of its tangents; it shares no code with the conditioning solver and
is kept as an independent check of it.

Source: Bordelon & Pehlevan, arXiv:2205.09653, Algorithm 1; in discrete time
docs/theory/dmft_alternating.md.
Letters: T times, P samples, n = T P flattened time-major, S sampled paths; u, r Gaussian drives, h, z
fields, g = phi'(h) z; C, D total feedback of g on h and of phi on z; A, B responses; e = lr gamma0 / P.
"""

import time
from dataclasses import dataclass

import numpy as np

from limes.core.errors import ConvergenceError, ScopeError
from limes.core.status import SolveStatus
from limes.theory.checks import check_count, check_number
from limes.theory.dynamics.fields import apply
from limes.theory.dynamics.problem import Columns, MLPProblem, columns_of
from limes.theory.dynamics.result import DMFTResult, summarise
from limes.theory.dynamics.static_ntk import initial_kernels, solve_static_ntk
from limes.theory.dynamics.trajectory import TableStore, Trajectory


@dataclass(kw_only=True, slots=True, eq=False)
class _State:
    """Kernels and responses by layer 0 .. depth + 1 (n, n each), and the errors weighted by the batch
    (T, P).
    """

    phi: list[np.ndarray]
    g: list[np.ndarray]
    a: list[np.ndarray]
    b: list[np.ndarray]
    outputs: np.ndarray


def solve_dmft_alternating(
    problem: MLPProblem,
    *,
    num_paths: int = 1000,
    num_tangents: int = 200,
    tolerance: float = 1e-4,
    max_sweeps: int = 40,
    damping: float = 0.7,
    num_scrambles: int = 2,
    seed: int = 0,
    throw: bool = True,
) -> DMFTResult:
    """Mean field dynamics of a perceptron by alternating Monte Carlo, for small problems.

    Args:
        problem: One output, plain gradient descent, no held-out inputs, unit scales, a smooth activation
        with a stated
            second derivative.
        num_paths: Sampled paths per layer.
        num_tangents: Paths whose tangents estimate the responses; the cost grows as num_tangents * (T P)^3.
        tolerance: Stop when a sweep changes the outputs by less than this, relative to the targets.
        max_sweeps: Give up after this many.
        damping: Share of the new kernels in each update; at 1 the sampled map sometimes cycles.
        num_scrambles: Independent repetitions, for the error estimate.
        seed: Of the samples.
        throw: Raise where the sweeps do not settle; otherwise return the last one with its status.

    Raises:
        ScopeError: The problem is not of this kind.
        ConvergenceError: With `throw`, after `max_sweeps` or when the outputs stop being finite.

    Accuracy: sampling error about 3e-3 of the loss curve at 2000 paths and 300 tangents (2 samples, 20
    times, tanh).
    Source: docs/theory/dmft_alternating.md.

    >>> problem = MLPProblem(
    ...     inputs=np.eye(2), targets=[1.0, -1.0], depth=2, activation="tanh", gamma0=1.0, lr=0.3, num_times=4
    ... )
    >>> result = solve_dmft_alternating(problem, num_paths=400, num_tangents=100)
    >>> result.status.value, bool(result.loss[-1] < 0.5)
    ('converged', True)
    """
    _check_scope(problem)
    check_count("max_sweeps", max_sweeps, least=1)
    check_number("tolerance", tolerance, low=0.0)
    columns = columns_of(problem)
    start = time.process_time()
    runs, changes = [], []
    for scramble in range(check_count("num_scrambles", num_scrambles, least=1)):
        rng = np.random.default_rng([seed, scramble])
        sampler = _Sampler(problem, columns, rng=rng, num_paths=num_paths, num_tangents=num_tangents)
        trajectory, change = sampler.settle(tolerance=tolerance, max_sweeps=max_sweeps, damping=damping)
        runs.append(trajectory)
        changes.append(change)
    worst = float(np.max(changes))
    status = SolveStatus.CONVERGED if worst <= tolerance else SolveStatus.MAX_ITERATIONS
    status = status if np.isfinite(worst) else SolveStatus.DIVERGED
    stats = {"cpu_seconds": time.process_time() - start, "last_change": worst, "num_paths": float(num_paths)}
    result = summarise(runs, problem=problem, columns=columns, status=status, stats=stats)
    if throw and status is not SolveStatus.CONVERGED:
        raise ConvergenceError(
            f"the outputs still change by {worst:.3g} of the targets after {max_sweeps} sweeps, above the tolerance "
            f"{tolerance:g}; raise max_sweeps, lower damping, or pass throw=False",
            result=result,
        )
    return result


class _Sampler:
    def __init__(
        self, problem: MLPProblem, columns: Columns, *, rng: np.random.Generator, num_paths: int, num_tangents: int
    ) -> None:
        self.problem, self.columns = problem, columns
        self.num_tangents = min(num_tangents, num_paths)
        n = problem.num_times * problem.num_samples
        self.n = n
        # Drawn once and kept over the sweeps, so that these settle on a fixed point of the sampled map.
        self.zeta = rng.standard_normal((problem.depth, 2, n, num_paths))
        times = np.repeat(np.arange(problem.num_times), problem.num_samples)
        self.past = times[:, None] > times[None]

    def settle(self, *, tolerance: float, max_sweeps: int, damping: float) -> tuple[Trajectory, float]:
        state = self._lazy_start()
        change = np.inf
        scale = self.columns.target_scale or 1.0
        for _ in range(max_sweeps):
            new = self._sweep(state)
            change = float(np.abs(new.outputs - state.outputs).max() / scale)
            state = self._mix(state, new, damping)
            if change <= tolerance or not np.isfinite(change):
                break
        num_times, num_samples = self.problem.num_times, self.problem.num_samples
        shape = (num_times, num_samples, num_times, num_samples)
        trajectory = Trajectory(
            outputs=state.outputs[:, :, None],
            features=[TableStore(table=k.reshape(shape)) for k in state.phi[1:-1]],
            gradients=[TableStore(table=k.reshape(shape)) for k in state.g[1:-1]],
        )
        return trajectory, change

    def _lazy_start(self) -> _State:
        ones = np.ones((self.problem.num_times, self.problem.num_times))
        features, gradients = initial_kernels(self.problem, self.columns.input_kernel)
        top = np.ones_like(self.columns.input_kernel)
        zeros = [np.zeros((self.n, self.n)) for _ in range(self.problem.depth + 2)]
        return _State(
            phi=[np.kron(ones, k) for k in (self.columns.input_kernel, *features, top)],
            g=[np.kron(ones, k) for k in (top, *gradients, top)],
            a=zeros,
            b=[z.copy() for z in zeros],
            outputs=solve_static_ntk(self.problem).outputs,
        )

    def _mix(self, old: _State, new: _State, damping: float) -> _State:
        if damping == 1.0:
            return new
        mixed = {
            name: [(1 - damping) * x + damping * y for x, y in zip(getattr(old, name), getattr(new, name), strict=True)]
            for name in ("phi", "g", "a", "b")
        }
        return _State(**mixed, outputs=(1 - damping) * old.outputs + damping * new.outputs)

    def _sweep(self, old: _State) -> _State:
        new = _State(phi=[*old.phi], g=[*old.g], a=[*old.a], b=[*old.b], outputs=old.outputs)
        gain = self.problem.lr * self.problem.gamma0 / self.columns.num_train
        errors = self.columns.weights * (self.columns.targets[:, 0] - old.outputs)
        pull = gain * self.past * errors.reshape(-1)[None]
        depth = self.problem.depth
        for layer in range(1, depth + 1):
            c = old.a[layer - 1] + old.phi[layer - 1] * pull
            d = old.b[layer] + old.g[layer + 1] * pull
            u = _square_root(old.phi[layer - 1]) @ self.zeta[layer - 1, 0]
            r = _square_root(old.g[layer + 1]) @ self.zeta[layer - 1, 1]
            h, z = self._paths(u, r, c=c, d=d)
            phi = apply(self.problem.nonlinearity.value, h)
            g = apply(self.problem.nonlinearity.derivative, h) * z
            size = h.shape[1]
            new.phi[layer], new.g[layer] = phi @ phi.T / size, g @ g.T / size
            a, b = self._responses(h, z, c=c, d=d)
            if layer < depth:
                new.a[layer] = a
            if layer > 1:
                new.b[layer - 1] = b
            if layer == depth:
                outputs = (z * phi).mean(1).reshape(errors.shape) / self.problem.gamma0
                new.outputs = outputs - outputs[0]
        return new

    def _paths(self, u: np.ndarray, r: np.ndarray, *, c: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Causal substitution: h and z (n, S), one time after the other."""
        p = self.problem.num_samples
        activation = self.problem.nonlinearity
        h, z, phi, g = u.copy(), r.copy(), np.zeros_like(u), np.zeros_like(u)
        for t in range(0, self.n, p):
            now, upto = slice(t, t + p), t + p
            h[now] += c[now, :t] @ g[:t]
            phi[now] = apply(activation.value, h[now])
            z[now] += d[now, :upto] @ phi[:upto]
            g[now] = apply(activation.derivative, h[now]) * z[now]
        return h, z

    def _responses(
        self, h: np.ndarray, z: np.ndarray, *, c: np.ndarray, d: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """A = <d phi / d r> and B = <d g / d u> (n, n) from the tangents of the first paths."""
        p, n, count = self.problem.num_samples, self.n, self.num_tangents
        activation = self.problem.nonlinearity
        assert activation.second_derivative is not None, "checked in _check_scope"
        h, z = np.ascontiguousarray(h[:, :count]), z[:, :count]
        slope = apply(activation.derivative, h).T[:, :, None]
        bend = (apply(activation.second_derivative, h) * z).T[:, :, None]
        # The last axis holds the derivative with respect to u (first n columns) and to r (last n).
        dphi, dg = np.zeros((count, n, 2 * n)), np.zeros((count, n, 2 * n))
        for t in range(0, n, p):
            now, upto = slice(t, t + p), t + p
            dh = c[now, :t] @ dg[:, :t]
            dh[:, np.arange(p), np.arange(t, upto)] += 1.0
            dphi[:, now] = slope[:, now] * dh
            dz = d[now, :upto] @ dphi[:, :upto]
            dz[:, np.arange(p), n + np.arange(t, upto)] += 1.0
            dg[:, now] = slope[:, now] * dz + bend[:, now] * dh
        return dphi[:, :, n:].mean(0), dg[:, :, :n].mean(0)


def _square_root(kernel: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(kernel)
    return vectors * np.sqrt(np.maximum(values, 0.0))


def _check_scope(problem: MLPProblem) -> None:
    scales = (*problem.rates, *(problem.weight_var or ()))
    plain = not problem.momentum and not any(problem.decays) and problem.lr_schedule is None
    plain = plain and all(scale == 1.0 for scale in scales)
    if problem.num_outputs != 1 or problem.num_test or not plain:
        raise ScopeError(
            "the alternating solver covers one output, plain gradient descent with unit scales and no held-out inputs; "
            f"got num_outputs {problem.num_outputs}, num_test {problem.num_test}, momentum {problem.momentum:g}; use "
            "solve_dmft_mlp"
        )
    activation = problem.nonlinearity
    if activation.second_derivative is None or activation.name.startswith(("relu", "leaky_relu")):
        raise ScopeError(
            f"activation {activation.name}: the tangents need a second derivative without delta functions; "
            "use solve_dmft_mlp"
        )
