"""The conditioning solver once more, with a weight for each particle and differentiable in those weights.

Averages over a layer become weighted sums. Directions are picked from detached Gram matrices and whitened by a Cholesky
factor, since eigenvectors of nearly equal eigenvalues have no usable derivative.

Source: docs/theory/dmft_finite_width.md.
Letters: as in the solver; p (S,) weights of a layer, <a, b> = sum_i p_i a_i b_i.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from limes.theory.dynamics.observable import Observable
from limes.theory.dynamics.problem import Columns, MLPProblem
from limes.theory.dynamics.revealed import Draw


@dataclass(slots=True, eq=False)
class _Matrix:
    """Bases and images of one matrix, and its learned part; all grow by concatenation, so that the graph is kept."""

    q: Tensor
    x: Tensor
    m: Tensor
    y: Tensor
    learned: Tensor
    std: float


class WeightedParticles:
    """A run of the solver as a function of the particles' weights.

    Args:
        problem: One output, plain gradient descent.
        columns: Its samples.
        sources: Fresh Gaussian rows per hidden layer.
        tolerance: As in the solver.
    """

    def __init__(self, problem: MLPProblem, columns: Columns, *, sources: list[Draw], tolerance: float) -> None:
        self.problem, self.columns, self._sources = problem, columns, sources
        self._cut = tolerance * min(1.0, (problem.gamma0 * (columns.target_scale or 1.0)) ** 2)

    def observe(self, weights: Tensor, observables: Sequence[Observable]) -> list[Tensor]:
        """Values of the observables (scalars) of the run with particle weights (depth, S)."""
        last = max(max(o.time, o.second_time) for o in observables)
        outputs, values, gradients = self._run(weights, last)
        targets = torch.from_numpy(self.columns.targets[:, 0])
        num_train = self.columns.num_train
        found = []
        for o in observables:
            if o.kind == "output":
                found.append(outputs[o.time][o.sample])
            elif o.kind == "loss":
                found.append(0.5 * ((outputs[o.time] - targets)[:num_train] ** 2).mean())
            else:
                fields = values if o.kind == "feature" else gradients
                left, right = fields[o.time][o.layer - 1][o.sample], fields[o.second_time][o.layer - 1][o.other]
                found.append((weights[o.layer - 1] * left * right).sum())
        return found

    def _draw(self, layer: int, count: int) -> Tensor:
        return torch.from_numpy(self._sources[layer](count).copy())

    def _run(self, weights: Tensor, last: int) -> tuple[list[Tensor], list[list[Tensor]], list[list[Tensor]]]:
        problem, columns = self.problem, self.columns
        phi = problem.nonlinearity.value
        stds = [float(np.sqrt(v)) for v in problem.weight_var or ()]
        gains = [problem.lr * problem.gamma0 / columns.num_train * rate for rate in problem.rates]
        factor = torch.from_numpy(np.ascontiguousarray(columns.factor))
        targets = torch.from_numpy(columns.targets[:, 0])
        x = stds[0] * self._draw(0, factor.shape[1])
        empty = x.new_zeros((0, x.shape[1]))
        matrices = [_Matrix(empty, empty, empty, empty, x.new_zeros((0, 0)), std) for std in stds[1:-1]]
        floors: dict[tuple[str, int], float] = {}
        readout = empty
        outputs: list[Tensor] = []
        all_values, all_gradients = [], []
        for t in range(last + 1):
            hidden, values, coordinates = [factor @ x], [phi(factor @ x)], []
            for layer, matrix in enumerate(matrices):
                coordinates.append(self._forward(matrix, values[-1], weights, layer=layer, floors=floors))
                hidden.append(coordinates[-1] @ matrix.x + (coordinates[-1] @ matrix.learned.T) @ matrix.m)
                values.append(phi(hidden[-1]))
            if t == 0:
                readout = stds[-1] * self._draw(len(matrices), 1)[0]
            f = (values[-1] * readout) @ weights[-1] / problem.gamma0
            outputs.append(f - outputs[0] if t else f)
            error = torch.from_numpy(columns.weights[t]) * (targets - (outputs[t] if t else torch.zeros_like(f)))
            gradients, pulls = self._back(matrices, hidden, readout, weights, floors)
            all_values.append(values)
            all_gradients.append(gradients)
            rate = 1.0 if problem.lr_schedule is None or t + 1 == problem.num_times else problem.lr_schedule[t]
            pull = (rate * error)[:, None]
            for matrix, c, b, gain in zip(matrices, coordinates, pulls, gains[1:-1], strict=True):
                matrix.learned = matrix.learned + gain * (pull * b).T @ torch.nn.functional.pad(
                    c, (0, matrix.learned.shape[1] - c.shape[1])
                )
            x = x + gains[0] * factor.T @ (pull * gradients[0])
            readout = readout + gains[-1] * (pull * values[-1]).sum(0)
        outputs[0] = torch.zeros_like(outputs[0])
        return outputs, all_values, all_gradients

    def _back(
        self,
        matrices: list[_Matrix],
        hidden: list[Tensor],
        readout: Tensor,
        weights: Tensor,
        floors: dict[tuple[str, int], float],
    ) -> tuple[list[Tensor], list[Tensor]]:
        slope = self.problem.nonlinearity.derivative
        gradients, pulls = [slope(hidden[-1]) * readout], list[Tensor]()
        for layer in range(len(matrices) - 1, -1, -1):
            matrix = matrices[layer]
            b = self._backward(matrix, gradients[0], weights, layer=layer, floors=floors)
            pulls.insert(0, b)
            gradients.insert(0, slope(hidden[layer]) * (b @ matrix.y + (b @ matrix.learned) @ matrix.q))
        return gradients, pulls

    def _forward(
        self, matrix: _Matrix, vectors: Tensor, weights: Tensor, *, layer: int, floors: dict[tuple[str, int], float]
    ) -> Tensor:
        below, above = weights[layer], weights[layer + 1]
        floor = floors.setdefault(("forward", layer), self._cut * float((vectors.detach() ** 2).mean()))
        coordinates, new = _reveal(vectors, matrix.q, below, floor=floor)
        if len(new):
            noise = matrix.std * self._draw(layer + 1, len(new))
            known = (new * below) @ matrix.y.T
            matrix.x = torch.cat([matrix.x, noise + (known - (noise * above) @ matrix.m.T) @ matrix.m])
            matrix.q = torch.cat([matrix.q, new])
            matrix.learned = torch.nn.functional.pad(matrix.learned, (0, len(new)))
        return coordinates

    def _backward(
        self, matrix: _Matrix, vectors: Tensor, weights: Tensor, *, layer: int, floors: dict[tuple[str, int], float]
    ) -> Tensor:
        below, above = weights[layer], weights[layer + 1]
        floor = floors.setdefault(("backward", layer), self._cut * float((vectors.detach() ** 2).mean()))
        coordinates, new = _reveal(vectors, matrix.m, above, floor=floor)
        if len(new):
            noise = matrix.std * self._draw(layer, len(new))
            known = (new * above) @ matrix.x.T
            matrix.y = torch.cat([matrix.y, noise + (known - (noise * below) @ matrix.q.T) @ matrix.q])
            matrix.m = torch.cat([matrix.m, new])
            matrix.learned = torch.nn.functional.pad(matrix.learned, (0, 0, 0, len(new)))
        return coordinates


def _reveal(vectors: Tensor, basis: Tensor, weights: Tensor, *, floor: float) -> tuple[Tensor, Tensor]:
    coordinates = (vectors * weights) @ basis.T
    residual = vectors - coordinates @ basis
    again = (residual * weights) @ basis.T
    residual, coordinates = residual - again @ basis, coordinates + again
    values, directions = torch.linalg.eigh(((residual * weights) @ residual.T).detach())
    chosen = directions[:, values > floor].T @ residual
    if not len(chosen):
        return coordinates, chosen
    whiten = torch.linalg.cholesky((chosen * weights) @ chosen.T)
    new = torch.linalg.solve_triangular(whiten, chosen, upper=False)
    return torch.cat([coordinates, (residual * weights) @ new.T], dim=1), new
