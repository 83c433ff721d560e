"""Mean field dynamics of a multilayer perceptron, marched forward in time with lazily revealed Gaussian
matrices.

Every hidden layer is a population of particles (single-site processes). Nothing is iterated to a fixed
point: at each step the initial matrices are revealed on the directions that the step asks for, the known
part of the answer being the response.

Source: Bordelon & Pehlevan, arXiv:2205.09653 (the limit); Bolthausen, arXiv:1201.2891 (conditioning); the
discrete-time equations and this algorithm: docs/theory/dmft.md.
Letters: S particles, T times, P_all samples, C outputs; h, z, g fields of a layer, w readout; c, b
coordinates of phi(h) and g in the revealed bases; e = lr gamma0 / P.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from limes.theory.dynamics.checks import check_count, check_range
from limes.theory.dynamics.cost import check_cost, predict_cost
from limes.theory.dynamics.fields import apply, contract, has_diverged
from limes.theory.dynamics.finish import conclude
from limes.theory.dynamics.noise import noise_sources
from limes.theory.dynamics.optimizer import optimizers_of
from limes.theory.dynamics.problem import Columns, MLPProblem, columns_of
from limes.theory.dynamics.result import DMFTResult
from limes.theory.dynamics.revealed import Draw, RevealedMatrix
from limes.theory.dynamics.trajectory import FieldStore, Trajectory


def solve_dmft_mlp(
    problem: MLPProblem,
    *,
    num_particles: int = 2048,
    tolerance: float = 1e-6,
    num_scrambles: int = 4,
    seed: int = 0,
    noise: str = "sobol",
    responses: bool = True,
    two_time: bool = True,
    field_times: Collection[int] | None = None,
    memory_limit: float = 4.0,
    time_limit: float = 600.0,
    throw: bool = True,
) -> DMFTResult:
    """Outputs, kernels and field distributions of an infinitely wide multilayer perceptron during training.

    Args:
        problem: What is trained; any depth and activation.
        num_particles: Samples of each layer's single-site process; a power of two for Sobol noise.
        tolerance: Relative mean square below which a direction counts as known already; it sets the ranks.
        1e-6 is
            below the sampling error up to about 65536 particles.
        num_scrambles: Independent randomizations; the error estimate is their Student-t interval.
        seed: Of the randomizations. The noise is a numerical device: the answer does not depend on it in
        the limit.
        noise: "sobol", or "independent": then each randomization is one network of width `num_particles`,
        exactly in
            law as `tolerance` -> 0.
        responses: False drops the responses, the approximation of gradient independence.
        two_time: Keep top features and bottom gradients at all times; otherwise at `field_times` only.
        field_times: Times at which samples of the fields are kept; None is the first and the last.
        memory_limit: Refuse beyond this many predicted GiB.
        time_limit: Refuse beyond this many predicted CPU seconds.
        throw: Raise when the run fails; otherwise return it with its status.

    Returns:
        A `DMFTResult`; `status` is DIVERGED when the outputs left every bound (NaN from that step on) and
        ILL_CONDITIONED when the ranks came too close to the number of particles.

    Raises:
        SpecError: A setting is out of range, or the predicted cost is beyond a limit.
        ConvergenceError: With `throw`, for the two statuses above.

    Accuracy: relative error of the loss curve about 1e-3 at 2048 x 4 and 1e-4 at 65536 (tanh, two hidden
    layers, gamma0 1); falls as num_particles^-0.75 to ^-1.
    Source: docs/theory/dmft.md; the limit is arXiv:2205.09653.

    >>> problem = MLPProblem(
    ...     inputs=np.eye(2), targets=[1.0, -1.0], depth=2, activation="tanh", gamma0=1.0, lr=0.3, num_times=5
    ... )
    >>> result = solve_dmft_mlp(problem, num_particles=1024)
    >>> result.status.value, result.loss.shape, bool(result.loss[-1] < result.loss[0])
    ('converged', (5,), True)
    """
    num_particles = check_count("num_particles", num_particles, least=2)
    tolerance = check_range("tolerance", tolerance, low=0.0, below=1.0)
    num_scrambles = check_count("num_scrambles", num_scrambles, least=1)
    seed = check_count("seed", seed, least=0)
    cost = predict_cost(problem, num_particles=num_particles, num_scrambles=num_scrambles, two_time=two_time)
    check_cost(cost, memory_limit=memory_limit, time_limit=time_limit)
    times = (0, problem.num_times - 1) if field_times is None else tuple(field_times)
    columns = columns_of(problem)
    start = time.process_time()
    trajectories = []
    for scramble in range(num_scrambles):
        sources = noise_sources(noise, num_particles=num_particles, seed=seed, scramble=scramble, count=problem.depth)
        run = MLPParticles(
            problem,
            columns,
            sources=sources,
            num_particles=num_particles,
            tolerance=tolerance,
            responses=responses,
            recording=Recording(field_times=times, two_time=two_time),
        )
        trajectories.append(run.run())
    return conclude(
        trajectories,
        problem=problem,
        columns=columns,
        num_particles=num_particles,
        seconds=time.process_time() - start,
        full_rank=noise == "independent",
        throw=throw,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """What a run keeps besides outputs and coordinates: fields at `field_times`, kernels at two times
    or at one.
    """

    field_times: Collection[int]
    two_time: bool = True


class MLPParticles:
    """One run of the solver: the state at the current step, and what is recorded of the earlier ones.

    Args:
        problem: What is trained.
        columns: Its samples.
        sources: Fresh Gaussian rows, one source per hidden layer.
        num_particles: S.
        tolerance: Mean square, relative to the first query and to (gamma0 * target scale)^2, below which a
        direction is
            not revealed.
        responses: Keep the transposed matrix tied to the matrix.
        recording: What is kept.
    """

    def __init__(
        self,
        problem: MLPProblem,
        columns: Columns,
        *,
        sources: list[Draw],
        num_particles: int,
        tolerance: float,
        responses: bool,
        recording: Recording,
    ) -> None:
        self.problem, self.columns, self.recording = problem, columns, recording
        self.size = num_particles
        # The moving part of the features is of order gamma0 times the targets: so must be the cut.
        self._cut = tolerance * min(1.0, (problem.gamma0 * (columns.target_scale or 1.0)) ** 2)
        self._floors: dict[tuple[str, int], float] = {}
        gain = problem.lr * problem.gamma0 / columns.num_train
        self._gains = [gain * scale for scale in problem.lr_scale or ()]
        self._stds = [float(np.sqrt(v)) for v in problem.weight_var or ()]
        self._optimizers = optimizers_of(problem)
        self._sources = sources
        self.matrices = [
            RevealedMatrix(
                num_particles,
                std=self._stds[layer + 1],
                draw_out=sources[layer + 1],
                draw_in=sources[layer],
                responses=responses,
            )
            for layer in range(problem.depth - 1)
        ]
        rank = columns.factor.shape[1]
        self._x0 = self._stds[0] * sources[0](rank)
        self._d0, self._v0 = np.zeros_like(self._x0), np.zeros_like(self._x0)
        self._w0 = np.zeros((0, num_particles))
        self._wu = np.zeros((columns.targets.shape[1], num_particles))
        self._vw = np.zeros_like(self._wu)

    def run(self) -> Trajectory:
        """Walk through all times."""
        problem, columns = self.problem, self.columns
        num_times, (num_all, num_outputs) = problem.num_times, columns.targets.shape
        depth = problem.depth
        trajectory = Trajectory(
            outputs=np.full((num_times, num_all, num_outputs), np.nan),
            features=[FieldStore() for _ in range(depth - 1)] + [FieldStore(num_particles=self.size)],
            gradients=[FieldStore(num_particles=self.size)] + [FieldStore() for _ in range(depth - 1)],
            matrices=self.matrices,
        )
        initial = np.zeros((num_all, num_outputs))
        for t in range(num_times):
            hidden, values, coordinates = self._forward()
            readout = self._optimizers[-1].kept * self._w0 + self._wu
            outputs = values[-1] @ readout.T / (self.size * problem.gamma0)
            if t == 0:
                initial = outputs
            outputs = outputs - initial
            if has_diverged(outputs, columns):
                trajectory.diverged_at = t
                break
            trajectory.outputs[t] = outputs
            backfields, gradients, pulls = self._backward(hidden, readout)
            self._record(trajectory, t, hidden, values[-1], coordinates, backfields, gradients[0], pulls)
            if t + 1 < num_times:
                errors = columns.weights[t][:, None] * (columns.targets - outputs)
                self._update(t, errors, values[-1], coordinates, gradients[0], pulls)
        return trajectory

    def _forward(self) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
        """Pre-activations and activations (P_all, S) of each hidden layer, and the coordinates of all
        but the last.
        """
        phi = self.problem.nonlinearity.value
        hidden = [self.columns.factor @ (self._optimizers[0].kept * self._x0 + self._d0)]
        values = [apply(phi, hidden[0])]
        coordinates = []
        for layer, matrix in enumerate(self.matrices):
            floor = self._floor("forward", layer, values[-1])
            coordinates.append(matrix.ask_forward(values[-1], floor=floor))
            hidden.append(matrix.forward(coordinates[-1], kept=self._optimizers[layer + 1].kept))
            values.append(apply(phi, hidden[-1]))
        if not len(self._w0):
            self._w0 = self._stds[-1] * self._sources[-1](self.columns.targets.shape[1])
        return hidden, values, coordinates

    def _backward(
        self, hidden: list[np.ndarray], readout: np.ndarray
    ) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
        """z (P_all or 1, C, S) and g (P_all * C, S) of each hidden layer, and the coordinates of g of
        all but the first.
        """
        slope = self.problem.nonlinearity.derivative
        num_outputs = len(readout)
        depth = len(hidden)
        backfields = [readout[None]] * depth
        gradients = [np.empty(0)] * depth
        pulls = [np.empty(0)] * (depth - 1)
        for layer in range(depth - 1, -1, -1):
            if layer < depth - 1:
                matrix = self.matrices[layer]
                floor = self._floor("backward", layer, gradients[layer + 1])
                pulls[layer] = matrix.ask_backward(gradients[layer + 1], floor=floor)
                back = matrix.backward(pulls[layer], kept=self._optimizers[layer + 1].kept)
                backfields[layer] = back.reshape(-1, num_outputs, self.size)
            product = apply(slope, hidden[layer])[:, None] * backfields[layer]
            gradients[layer] = product.reshape(-1, self.size)
        return backfields, gradients, pulls

    def _update(
        self,
        t: int,
        errors: np.ndarray,
        top: np.ndarray,
        coordinates: list[np.ndarray],
        bottom: np.ndarray,
        pulls: list[np.ndarray],
    ) -> None:
        """One step of the optimizer for all matrices, from the values of time t; `errors` is (P_all, C)."""
        schedule = self.problem.lr_schedule
        factor = 1.0 if schedule is None else schedule[t]
        gains, optimizers = self._gains, self._optimizers
        force = contract(errors, bottom)
        optimizers[0].step(self._d0, self._v0, gains[0] * (self.columns.factor.T @ force), factor=factor)
        for layer, matrix in enumerate(self.matrices):
            update = gains[layer + 1] * (contract(errors, pulls[layer]).T @ coordinates[layer])
            optimizers[layer + 1].step(matrix.learned, matrix.buffer, update, factor=factor)
        optimizers[-1].step(self._wu, self._vw, gains[-1] * (errors.T @ top), factor=factor)

    def _record(
        self,
        trajectory: Trajectory,
        t: int,
        hidden: list[np.ndarray],
        top: np.ndarray,
        coordinates: list[np.ndarray],
        backfields: list[np.ndarray],
        bottom: np.ndarray,
        pulls: list[np.ndarray],
    ) -> None:
        depth = len(hidden)
        keep = self.recording.two_time or t in self.recording.field_times
        for layer in range(depth - 1):
            trajectory.features[layer].values.append(coordinates[layer])
            trajectory.gradients[layer + 1].values.append(pulls[layer])
        trajectory.features[-1].values.append(top if keep else top[:0])
        trajectory.gradients[0].values.append(bottom if keep else bottom[:0])
        if t in self.recording.field_times:
            for layer in range(depth):
                trajectory.preactivations[layer + 1, t] = hidden[layer]
                shape = (len(hidden[layer]), *backfields[layer].shape[1:])
                trajectory.backfields[layer + 1, t] = np.broadcast_to(backfields[layer], shape)

    def _floor(self, side: str, layer: int, vectors: np.ndarray) -> float:
        """The cut in mean square, fixed by the first query of its kind."""
        key = (side, layer)
        if key not in self._floors:
            self._floors[key] = self._cut * float(np.einsum("ij,ij->", vectors, vectors)) / vectors.size
        return self._floors[key]
