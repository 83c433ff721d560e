"""The finite network of the theory's convention, trained directly: every matrix stored, every gradient
exact.

It is what the mean field equations are the limit of, and the reference that every solver is held against.

Source: docs/theory/dmft.md, section 1 (the convention).
Letters: N width, D inputs, C outputs, P_all samples (training first); h, z, g as in the solver.
"""

from collections.abc import Collection, Sequence

import numpy as np
import torch

from limes.core.errors import SpecError
from limes.core.status import SolveStatus
from limes.theory.checks import check_count
from limes.theory.dynamics.fields import apply, contract, has_diverged
from limes.theory.dynamics.optimizer import LinearOptimizer, optimizers_of
from limes.theory.dynamics.problem import Columns, MLPProblem, columns_of
from limes.theory.dynamics.result import DMFTResult, summarise
from limes.theory.dynamics.trajectory import FieldStore, Trajectory


def initial_weights(problem: MLPProblem, *, width: int, generator: torch.Generator) -> list[np.ndarray]:
    """Draw the weights of a network of finite width: depth + 1 float64 matrices, inputs first.

    Args:
        problem: Fixes the shapes and the variances (`weight_var`).
        width: Neurons of every hidden layer.
        generator: Source of randomness, on the CPU.

    Returns:
        (width, input_dim), then depth - 1 of (width, width), then (num_outputs, width).

    Source: docs/theory/dmft.md, section 1.

    >>> import numpy as np
    >>> problem = MLPProblem(
    ...     inputs=np.eye(2), targets=[1.0, -1.0], depth=2, activation="tanh", gamma0=1.0, lr=0.3, num_times=5
    ... )
    >>> weights = initial_weights(problem, width=8, generator=torch.Generator().manual_seed(0))
    >>> [w.shape for w in weights]
    [(8, 2), (8, 8), (1, 8)]
    """
    width = check_count("width", width, least=1)
    shapes = [(width, problem.inputs.shape[1]), *[(width, width)] * (problem.depth - 1), (problem.num_outputs, width)]
    draws = [torch.randn(shape, generator=generator, dtype=torch.float64).numpy() for shape in shapes]
    return [np.sqrt(v) * draw for v, draw in zip(problem.weight_var or (), draws, strict=True)]


def train_network(
    problem: MLPProblem, *, weights: Sequence[np.ndarray], field_times: Collection[int] | None = None
) -> DMFTResult:
    """Train one network of finite width exactly as `problem` states, from the given initial weights, on f
    - f(0).

    Args:
        problem: What is trained.
        weights: As `initial_weights` returns them; not modified.
        field_times: Times at which the fields of all neurons are kept; None is the first and the last.

    Returns:
        A `DMFTResult` whose averages run over the neurons of this network; its errors are 0, for nothing
        is estimated. `status` is DIVERGED, with NaN from that step on, when the outputs left every bound.

    Raises:
        SpecError: The weights do not have the shapes of the problem.

    Accuracy: float64 rounding.
    Source: docs/theory/dmft.md, section 1.

    >>> import numpy as np
    >>> problem = MLPProblem(
    ...     inputs=np.eye(2), targets=[1.0, -1.0], depth=2, activation="tanh", gamma0=1.0, lr=0.3, num_times=5
    ... )
    >>> weights = initial_weights(problem, width=64, generator=torch.Generator().manual_seed(0))
    >>> train_network(problem, weights=weights).loss.shape
    (5,)
    """
    columns = columns_of(problem)
    times = {0, problem.num_times - 1} if field_times is None else set(field_times)
    trajectory = _Network(problem, columns, weights=_checked(problem, weights)).run(times)
    return summarise(
        [trajectory],
        problem=problem,
        columns=columns,
        status=SolveStatus.CONVERGED if trajectory.diverged_at is None else SolveStatus.DIVERGED,
        stats={"width": float(len(weights[0]))},
        exact=True,
    )


class _Network:
    """Weights in motion; `kept * start + learned` is each matrix, split as the optimizer needs it."""

    def __init__(self, problem: MLPProblem, columns: Columns, *, weights: list[np.ndarray]) -> None:
        self.problem, self.columns, self.start = problem, columns, weights
        self.learned = [np.zeros_like(w) for w in weights]
        self.buffers = [np.zeros_like(w) for w in weights]
        self.optimizers: list[LinearOptimizer] = optimizers_of(problem)
        self.width, self.input_dim = weights[0].shape
        inputs = [problem.inputs] if problem.test_inputs is None else [problem.inputs, problem.test_inputs]
        self.inputs = np.concatenate(inputs)

    def run(self, field_times: set[int]) -> Trajectory:
        num_times, depth = self.problem.num_times, self.problem.depth
        targets = self.columns.targets
        stores = [[FieldStore(num_particles=self.width) for _ in range(depth)] for _ in range(2)]
        trajectory = Trajectory(
            outputs=np.full((num_times, *targets.shape), np.nan), features=[*stores[0]], gradients=[*stores[1]]
        )
        initial = np.zeros_like(targets)
        for t in range(num_times):
            weights = [o.kept * w + d for o, w, d in zip(self.optimizers, self.start, self.learned, strict=True)]
            hidden, values = self._forward(weights)
            outputs = values[-1] @ weights[-1].T / (self.problem.gamma0 * self.width)
            if t == 0:
                initial = outputs
            outputs = outputs - initial
            if has_diverged(outputs, self.columns):
                trajectory.diverged_at = t
                break
            trajectory.outputs[t] = outputs
            backfields, gradients = self._backward(weights, hidden)
            for layer in range(depth):
                stores[0][layer].values.append(values[layer])
                stores[1][layer].values.append(gradients[layer])
                if t in field_times:
                    trajectory.preactivations[layer + 1, t] = hidden[layer]
                    trajectory.backfields[layer + 1, t] = backfields[layer]
            if t + 1 < num_times:
                self._update(t, self.columns.weights[t][:, None] * (targets - outputs), values, gradients)
        return trajectory

    def _forward(self, weights: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        phi = self.problem.nonlinearity.value
        hidden = [self.inputs @ weights[0].T / np.sqrt(self.input_dim)]
        values = [apply(phi, hidden[0])]
        for matrix in weights[1:-1]:
            hidden.append(values[-1] @ matrix.T / np.sqrt(self.width))
            values.append(apply(phi, hidden[-1]))
        return hidden, values

    def _backward(
        self, weights: list[np.ndarray], hidden: list[np.ndarray]
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        slope = self.problem.nonlinearity.derivative
        num_all, num_outputs = self.columns.targets.shape
        back = np.broadcast_to(weights[-1], (num_all, num_outputs, self.width))
        backfields, gradients = [back], [(apply(slope, hidden[-1])[:, None] * back).reshape(-1, self.width)]
        for matrix, h in zip(weights[-2:0:-1], hidden[-2::-1], strict=True):
            back = (gradients[0] @ matrix / np.sqrt(self.width)).reshape(num_all, num_outputs, self.width)
            backfields.insert(0, back)
            gradients.insert(0, (apply(slope, h)[:, None] * back).reshape(-1, self.width))
        return backfields, gradients

    def _update(self, t: int, errors: np.ndarray, values: list[np.ndarray], gradients: list[np.ndarray]) -> None:
        problem = self.problem
        gain = problem.lr * problem.gamma0 / self.columns.num_train
        forces = [contract(errors, g).T for g in gradients]
        directions = [forces[0] @ self.inputs / np.sqrt(self.input_dim)]
        directions += [f @ v / np.sqrt(self.width) for f, v in zip(forces[1:], values[:-1], strict=True)]
        directions.append(errors.T @ values[-1])
        factor = 1.0 if problem.lr_schedule is None else problem.lr_schedule[t]
        for index, direction in enumerate(directions):
            update = gain * (problem.lr_scale or ())[index] * direction
            self.optimizers[index].step(self.learned[index], self.buffers[index], update, factor=factor)


def _checked(problem: MLPProblem, weights: Sequence[np.ndarray]) -> list[np.ndarray]:
    arrays = [np.asarray(w, dtype=np.float64) for w in weights]
    width = arrays[0].shape[0] if arrays and arrays[0].ndim == 2 else 0
    input_dim, num_outputs = problem.inputs.shape[1], problem.num_outputs
    expected = [(width, input_dim), *[(width, width)] * (problem.depth - 1), (num_outputs, width)]
    if width == 0 or [a.shape for a in arrays] != expected:
        raise SpecError(
            f"weights have shapes {[a.shape for a in arrays]}; expected (width, {input_dim}), "
            f"{problem.depth - 1} times (width, width), ({num_outputs}, width)"
        )
    return arrays
