"""The finite network of the theory against torch's autograd and torch.optim.SGD."""

import numpy as np
import pytest
import torch

from limes.core.errors import SpecError
from limes.core.status import SolveStatus
from limes.theory.dynamics import MLPProblem, initial_weights, train_network
from support.dmft_cases import samples, small_problem


def _weights(problem: MLPProblem, width: int = 16) -> list[np.ndarray]:
    return initial_weights(problem, width=width, generator=torch.Generator().manual_seed(1))


def _autograd_outputs(problem: MLPProblem, weights: list[np.ndarray]) -> np.ndarray:
    """Train with torch, written from the definition: (num_times, P_all, C)."""
    width = len(weights[0])
    tensors = [torch.tensor(w, requires_grad=True) for w in weights]
    coupled = problem.decay_mode == "torch_sgd"
    rate = problem.lr * problem.gamma0**2 * width
    groups = [
        {"params": [w], "lr": rate * scale, "weight_decay": decay / (rate * scale) if coupled else 0.0}
        for w, scale, decay in zip(tensors, problem.lr_scale, problem.weight_decay, strict=True)
    ]
    optimizer = torch.optim.SGD(groups, momentum=problem.momentum)
    inputs = problem.inputs if problem.test_inputs is None else np.concatenate([problem.inputs, problem.test_inputs])
    x, y = torch.tensor(inputs), torch.tensor(problem.targets.reshape(problem.num_samples, -1))

    def network() -> torch.Tensor:
        h = x @ tensors[0].T / x.shape[1] ** 0.5
        for w in tensors[1:]:
            last = w is tensors[-1]
            h = problem.activation.value(h) @ w.T / (problem.gamma0 * width if last else width**0.5)
        return h

    start, curve = network().detach(), []
    for t in range(problem.num_times):
        outputs = network() - start
        curve.append(outputs.detach().numpy())
        if t + 1 == problem.num_times:
            break
        batch = list(problem.batches[t]) if problem.batches else list(range(len(y)))
        optimizer.zero_grad()
        (0.5 * ((outputs[batch] - y[batch]) ** 2).sum(-1)).mean().backward()
        for group, scale, decay in zip(optimizer.param_groups, problem.lr_scale, problem.weight_decay, strict=True):
            factor = problem.lr_schedule[t] if problem.lr_schedule else 1.0
            group["lr"] = rate * scale * factor
            if not coupled:
                group["params"][0].data *= 1.0 - decay * factor
        optimizer.step()
    return np.stack(curve)


VARIANTS = {
    "plain": {},
    "one_layer": {"depth": 1, "activation": "relu"},
    "three_layers": {"depth": 3, "activation": "erf", "gamma0": 0.5},
    "momentum": {"momentum": 0.8, "lr": 0.1},
    "decoupled": {"momentum": 0.8, "lr": 0.1, "weight_decay": [0.01, 0.02, 0.03]},
    "torch_sgd": {"momentum": 0.8, "lr": 0.1, "weight_decay": [0.01, 0.02, 0.03], "decay_mode": "torch_sgd"},
    "batches": {"batches": [[0, 1], [2]] * 5 + [[1, 1]]},
    "scales": {"lr_scale": [0.5, 1.0, 2.0], "weight_var": [2.0, 1.5, 0.5]},
    "schedule": {"lr_schedule": list(np.linspace(1.0, 0.1, 11)), "momentum": 0.5, "weight_decay": 0.01},
    "outputs": {"targets": np.array([[1.0, -1.0], [0.0, 2.0], [1.0, 1.0]])},
    "held_out": {"test_inputs": samples(5, 5)[0][3:]},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_equals_autograd(name: str) -> None:
    problem = small_problem(**VARIANTS[name])
    weights = _weights(problem)
    ours = train_network(problem, weights=weights)
    expected = _autograd_outputs(problem, weights)
    ours_all = ours.trajectories[0].outputs
    np.testing.assert_allclose(ours_all, expected, rtol=0, atol=1e-11 * np.abs(expected).max())
    assert np.abs(expected[-1]).max() > 0.05


def test_divergence_is_a_status() -> None:
    problem = small_problem(lr=200.0, activation="linear")
    result = train_network(problem, weights=_weights(problem))
    assert result.status is SolveStatus.DIVERGED
    assert np.isnan(result.loss[-1])


def test_wrong_weights_are_refused() -> None:
    problem = small_problem()
    with pytest.raises(SpecError, match="weights have shapes"):
        train_network(problem, weights=_weights(problem)[:2])
