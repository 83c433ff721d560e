"""The engine of the particle solvers: populations of single-site processes coupled by lazily revealed
Gaussian matrices.

A multilayer perceptron has one population per hidden layer. A residual network has one for its whole
stream. At each step the initial matrices are revealed on the directions that the step asks for; the known
part of the answer is the response.

Source: docs/theory/dmft.md; Bolthausen, arXiv:1201.2891 (conditioning).
Letters: S particles, T times, P_all samples (training first), C outputs; h, z, g fields of a layer, w
readout; c, b coordinates of phi(h) and g in the revealed bases.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from limes.theory.dynamics.fields import apply, contract, has_diverged
from limes.theory.dynamics.optimizer import optimizers_of
from limes.theory.dynamics.problem import Columns
from limes.theory.dynamics.revealed import Draw, RevealedMatrix
from limes.theory.dynamics.trajectory import FieldStore, Trajectory

RULES = ("gradient_descent", "feedback_alignment", "direct_feedback_alignment", "hebbian")


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """What the engine has to know about an architecture and its learning rule.

    Args:
        branch: Factor on every square matrix; 1 for a perceptron.
        residual: Layers add to a stream instead of replacing it.
        rule: One of `RULES`.
        responses: Tie the transposed matrix of the backward pass to the forward one.
        tangent: Advance the outputs by the tangent kernel of the particles instead of reading them out.
    """

    branch: float = 1.0
    residual: bool = False
    rule: str = "gradient_descent"
    responses: bool = True
    tangent: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """What a run keeps besides outputs and coordinates: fields at `field_times`, outer kernels at two
    times or one.
    """

    field_times: Collection[int]
    two_time: bool = True


@dataclass(kw_only=True, slots=True, eq=False)
class _Step:
    """The fields of one time: per hidden layer h, phi (P_all, S), z (P_all or 1, C, S), g (P_all * C,
    S); c, b between.
    """

    hidden: list[np.ndarray]
    values: list[np.ndarray]
    coordinates: list[np.ndarray]
    backfields: list[np.ndarray]
    gradients: list[np.ndarray]
    pulls: list[np.ndarray]


class Particles:
    """One run of a particle solver.

    Args:
        problem: What is trained.
        columns: Its samples.
        network: Its architecture and rule.
        sources: Fresh Gaussian rows, one source per hidden layer (the same one throughout a residual
        stream).
        num_particles: S.
        tolerance: Mean square below which a direction is not revealed, relative to the first query and to
            (gamma0 * target scale)^2.
        recording: What is kept.
    """

    def __init__(
        self,
        problem: Any,
        columns: Columns,
        *,
        network: Network,
        sources: list[Draw],
        num_particles: int,
        tolerance: float,
        recording: Recording,
    ) -> None:
        self.problem, self.columns, self.network, self.recording = problem, columns, network, recording
        self.size = num_particles
        # The moving part of the features is of order gamma0 times the targets: so must be the cut.
        self._cut = tolerance * min(1.0, (problem.gamma0 * (columns.target_scale or 1.0)) ** 2)
        self._floors: dict[tuple[str, int], float] = {}
        gain = problem.lr * problem.gamma0 / columns.num_train
        self._gains = [gain * scale for scale in problem.rates]
        self._stds = [float(np.sqrt(v)) for v in problem.weight_var]
        self._optimizers = optimizers_of(problem)
        self._sources = sources
        num_layers, num_outputs = len(sources), columns.targets.shape[1]
        tied = network.responses and network.rule == "gradient_descent"
        self.matrices = [
            RevealedMatrix(
                num_particles,
                std=self._stds[layer + 1],
                draw_out=sources[layer + 1],
                draw_in=sources[layer],
                responses=tied,
                answers_back=network.rule in RULES[:2],
            )
            for layer in range(num_layers - 1)
        ]
        self._x0 = self._stds[0] * sources[0](columns.factor.shape[1])
        self._d0, self._v0 = np.zeros_like(self._x0), np.zeros_like(self._x0)
        self._w0 = np.zeros((0, num_particles))
        self._wu, self._vw = np.zeros((num_outputs, num_particles)), np.zeros((num_outputs, num_particles))
        self._direct: list[np.ndarray] = []
        sizes = [1] * (num_layers - 1) + [num_particles]
        self._features = [FieldStore(num_particles=size) for size in sizes]
        self._gradients = [FieldStore(num_particles=size) for size in reversed(sizes)]

    def run(self, on_time: Callable[[int], None] | None = None) -> Trajectory:
        """Walk through all times; `on_time` is told each one that is done."""
        columns, num_times = self.columns, self.problem.num_times
        trajectory = Trajectory(
            outputs=np.full((num_times, *columns.targets.shape), np.nan),
            features=[*self._features],
            gradients=[*self._gradients],
            matrices=self.matrices,
        )
        initial, advanced = np.zeros_like(columns.targets), np.zeros_like(columns.targets)
        for t in range(num_times):
            hidden, values, coordinates = self._forward()
            readout = self._optimizers[-1].kept * self._w0 + self._wu
            outputs = values[-1] @ readout.T / (self.size * self.problem.gamma0)
            if t == 0:
                initial = outputs
            outputs = advanced if self.network.tangent else outputs - initial
            if has_diverged(outputs, columns):
                trajectory.diverged_at = t
                break
            trajectory.outputs[t] = outputs
            errors = columns.targets - outputs
            errors[columns.num_train :] = 0.0
            backfields, gradients, pulls = self._backward(hidden, values, readout=readout, errors=errors)
            step = _Step(
                hidden=hidden,
                values=values,
                coordinates=coordinates,
                backfields=backfields,
                gradients=gradients,
                pulls=pulls,
            )
            self._record(trajectory, t, step)
            if t + 1 < num_times:
                weighted = columns.weights[t][:, None] * errors
                if self.network.tangent:
                    advanced = outputs + self._tangent_step(t, weighted, step)
                self._update(t, weighted, step)
            if on_time is not None:
                on_time(t)
        return trajectory

    def _forward(self) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
        phi, network = self.problem.nonlinearity.value, self.network
        hidden = [self.columns.factor @ (self._optimizers[0].kept * self._x0 + self._d0)]
        values = [apply(phi, hidden[0])]
        coordinates = []
        for layer, matrix in enumerate(self.matrices):
            floor = self._floor("forward", layer, values[-1])
            coordinates.append(matrix.ask_forward(values[-1], floor=floor))
            image = matrix.forward(coordinates[-1], kept=self._optimizers[layer + 1].kept)
            hidden.append(hidden[-1] + network.branch * image if network.residual else image)
            values.append(apply(phi, hidden[-1]))
        if not len(self._w0):
            num_outputs = self.columns.targets.shape[1]
            self._w0 = self._stds[-1] * self._sources[-1](num_outputs)
            if network.rule == "direct_feedback_alignment":
                self._direct = [source(num_outputs) for source in self._sources[:-1]]
        return hidden, values, coordinates

    def _backward(
        self, hidden: list[np.ndarray], values: list[np.ndarray], *, readout: np.ndarray, errors: np.ndarray
    ) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
        """z, g and coordinates; for the other rules z and g are the pseudo-gradients in their place."""
        rule = self.network.rule
        top = readout if rule == "gradient_descent" else self._w0
        num_layers = len(hidden)
        backfields, gradients = [top[None]] * num_layers, [np.empty(0)] * num_layers
        pulls = [np.empty(0)] * (num_layers - 1)
        for layer in range(num_layers - 1, -1, -1):
            carried = None
            if layer < num_layers - 1:
                carried = gradients[layer + 1]
                floor = self._floor("backward", layer, carried)
                pulls[layer] = self.matrices[layer].ask_backward(carried, floor=floor)
                backfields[layer] = self._feedback(layer, pulls[layer])
            if rule == "hebbian":
                gradients[layer] = errors * values[layer]
                continue
            slope = apply(self.problem.nonlinearity.derivative, hidden[layer])
            product = (slope[:, None] * backfields[layer]).reshape(-1, self.size)
            if self.network.residual and carried is not None:
                product = carried + self.network.branch * product
            gradients[layer] = product
        return backfields, gradients, pulls

    def _feedback(self, layer: int, pulls: np.ndarray) -> np.ndarray:
        """What arrives at a hidden layer from above: (P_all or 1, C, S)."""
        rule, num_outputs = self.network.rule, self.columns.targets.shape[1]
        if rule == "hebbian":
            return np.zeros((1, num_outputs, self.size))
        if rule == "direct_feedback_alignment":
            return self._direct[layer][None]
        learns = rule == "gradient_descent"
        kept = self._optimizers[layer + 1].kept if learns else 1.0
        back = self.matrices[layer].backward(pulls, kept=kept, learns=learns)
        return back.reshape(-1, num_outputs, self.size)

    def _update(self, t: int, errors: np.ndarray, step: _Step) -> None:
        """One step of the optimizer for all matrices, from the values of time t; `errors` is (P_all, C)."""
        schedule = self.problem.lr_schedule
        factor = 1.0 if schedule is None else schedule[t]
        gains, optimizers = self._gains, self._optimizers
        force = contract(errors, step.gradients[0])
        optimizers[0].step(self._d0, self._v0, gains[0] * (self.columns.factor.T @ force), factor=factor)
        for layer, matrix in enumerate(self.matrices):
            gain = self.network.branch * gains[layer + 1]
            update = gain * (contract(errors, step.pulls[layer]).T @ step.coordinates[layer])
            optimizers[layer + 1].step(matrix.learned, matrix.buffer, update, factor=factor)
        optimizers[-1].step(self._wu, self._vw, gains[-1] * (errors.T @ step.values[-1]), factor=factor)

    def _tangent_step(self, t: int, errors: np.ndarray, step: _Step) -> np.ndarray:
        """What the tangent kernel of time t adds to the outputs (P_all, C)."""
        num_outputs = errors.shape[1]
        below = [self.columns.input_kernel, *(c @ c.T for c in step.coordinates)]
        below.append(step.values[-1] @ step.values[-1].T / self.size)
        above = [step.gradients[0] @ step.gradients[0].T / self.size, *(b @ b.T for b in step.pulls)]
        above.append(np.kron(np.ones_like(below[0]), np.eye(num_outputs)))
        blocks = np.ones((num_outputs, num_outputs))
        scales = self.problem.tangent_scales
        kernel = sum(s * np.kron(a, blocks) * b for s, a, b in zip(scales, below, above, strict=True))
        schedule = self.problem.lr_schedule
        rate = self.problem.lr / self.columns.num_train * (1.0 if schedule is None else schedule[t])
        return rate * (kernel @ errors.reshape(-1)).reshape(errors.shape)

    def _record(self, trajectory: Trajectory, t: int, step: _Step) -> None:
        keep = self.recording.two_time or t in self.recording.field_times
        for layer in range(len(self.matrices)):
            self._features[layer].values.append(step.coordinates[layer])
            self._gradients[layer + 1].values.append(step.pulls[layer])
        top, bottom = step.values[-1], step.gradients[0]
        # Not a slice of the field itself: a view would keep all of it in memory.
        nothing = np.empty((0, self.size))
        self._features[-1].values.append(top if keep else nothing)
        self._gradients[0].values.append(bottom if keep else nothing)
        if t in self.recording.field_times:
            for layer, (h, z) in enumerate(zip(step.hidden, step.backfields, strict=True)):
                trajectory.preactivations[layer + 1, t] = h
                trajectory.backfields[layer + 1, t] = np.broadcast_to(z, (len(h), *z.shape[1:]))

    def _floor(self, side: str, layer: int, vectors: np.ndarray) -> float:
        """The cut in mean square, fixed by the first query of its kind."""
        key = (side, layer)
        if key not in self._floors:
            self._floors[key] = self._cut * float(np.einsum("ij,ij->", vectors, vectors)) / vectors.size
        return self._floors[key]
