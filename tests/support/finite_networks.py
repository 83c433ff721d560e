"""Finite networks written straight from their definition, for architectures and rules that have no
trainer of their own.
"""

import numpy as np
import torch
from torch import Tensor

from limes.theory.dynamics import MLPProblem
from limes.theory.dynamics.resnet import ResNetProblem


def train_resnet(problem: ResNetProblem, *, width: int, seed: int) -> np.ndarray:
    """Outputs (num_times, P) of one residual network by autograd and plain gradient descent on f - f(0)."""
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.tensor(problem.inputs), torch.tensor(problem.targets)
    shapes = [(width, x.shape[1]), *[(width, width)] * problem.depth, (width,)]
    weights = [torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes]
    branch = problem.beta * problem.depth**-problem.alpha
    factors = [1.0, *[problem.depth ** (2 * problem.alpha - 1)] * problem.depth, 1.0]
    rate = problem.lr * problem.gamma0**2 * width

    def network() -> Tensor:
        h = x @ weights[0].T / x.shape[1] ** 0.5
        for w in weights[1:-1]:
            h = h + branch * problem.activation.value(h) @ w.T / width**0.5
        return problem.activation.value(h) @ weights[-1] / (problem.gamma0 * width)

    start, curve = network().detach(), []
    for _ in range(problem.num_times):
        outputs = network() - start
        curve.append(outputs.detach().numpy())
        gradients = torch.autograd.grad(0.5 * ((outputs - y) ** 2).mean(), weights)
        with torch.no_grad():
            for w, gradient, factor in zip(weights, gradients, factors, strict=True):
                w -= rate * factor * gradient
    return np.stack(curve)


def train_by_rule(problem: MLPProblem, rule: str, *, width: int, seed: int) -> np.ndarray:
    """Outputs (num_times, P) of one perceptron of finite width under a learning rule."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> np.ndarray:
        return torch.randn(shape, generator=generator, dtype=torch.float64).numpy()

    depth, gain = problem.depth, problem.lr * problem.gamma0 / problem.num_samples
    x, y = problem.inputs / np.sqrt(problem.inputs.shape[1]), problem.targets
    forward = [draw(width, x.shape[1]), *[draw(width, width) for _ in range(depth - 1)]]
    back = [draw(width, width) for _ in range(depth - 1)]
    direct = [draw(width) for _ in range(depth - 1)]
    readout = draw(width)
    frozen, start, curve = readout.copy(), 0.0, []
    for t in range(problem.num_times):
        hidden, values = [x @ forward[0].T], []
        for w in forward[1:]:
            values.append(np.tanh(hidden[-1]))
            hidden.append(values[-1] @ w.T / np.sqrt(width))
        values.append(np.tanh(hidden[-1]))
        outputs = values[-1] @ readout / (problem.gamma0 * width)
        start = outputs if t == 0 else start
        curve.append(outputs - start)
        errors = (y - curve[-1])[:, None]
        slopes = [1.0 - v**2 for v in values]
        pseudo = [slopes[-1] * frozen]
        for layer in range(depth - 2, -1, -1):
            if rule == "feedback_alignment":
                pseudo.insert(0, slopes[layer] * (pseudo[0] @ back[layer] / np.sqrt(width)))
            else:
                pseudo.insert(0, slopes[layer] * direct[layer])
        if rule == "hebbian":
            pseudo = [errors * v for v in values]
        forward[0] = forward[0] + gain * (errors * pseudo[0]).T @ x
        for layer in range(1, depth):
            update = gain / np.sqrt(width) * (errors * pseudo[layer]).T @ values[layer - 1]
            forward[layer] = forward[layer] + update
        readout = readout + gain * (errors * values[-1]).sum(0)
    return np.stack(curve)
