"""The recorded cases of the mean field dynamics as problems, and the per-randomization losses of a result."""

import tomllib
from pathlib import Path
from typing import Any

import numpy as np

from limes.theory.dynamics import DMFTResult, MLPProblem

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "dmft.toml"
_FIELDS = ("depth", "activation", "gamma0", "lr", "num_times", "momentum", "weight_decay", "batches")


def golden_cases(kind: str) -> dict[str, dict[str, Any]]:
    """The recorded cases of one kind, by name."""
    with GOLDEN.open("rb") as file:
        cases = tomllib.load(file)
    return {name: case for name, case in cases.items() if case.get("kind") == kind}


def samples(num_samples: int, input_dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian inputs and random signs, from seed 0."""
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((num_samples, input_dim))
    return inputs, np.sign(rng.standard_normal(num_samples))


def problem_fields(case: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments of a problem for a recorded case."""
    inputs, targets = samples(case["num_samples"], case["input_dim"])
    fields: dict[str, Any] = {name: case[name] for name in _FIELDS if name in case}
    num_train = case["num_samples"] - case.get("num_test", 0)
    if "num_test" in case:
        fields["test_inputs"] = inputs[num_train:]
    return {"inputs": inputs[:num_train], "targets": targets[:num_train], **fields}


def small_problem(**changes: Any) -> MLPProblem:
    """Three samples, two hidden tanh layers, a dozen steps: quick and rich enough for the exact tests."""
    inputs, targets = samples(3, 5)
    fields: dict[str, Any] = {
        "inputs": inputs,
        "targets": targets,
        "depth": 2,
        "activation": "tanh",
        "gamma0": 1.0,
        "lr": 0.4,
        "num_times": 12,
    }
    return MLPProblem(**(fields | changes))


def loss_samples(result: DMFTResult) -> np.ndarray:
    """(num_scrambles, num_times): the loss of each independent randomization."""
    targets = result.problem.targets.reshape(result.problem.num_samples, -1)
    outputs = np.stack([run.outputs for run in result.trajectories])[:, :, : len(targets)]
    return 0.5 * ((outputs - targets) ** 2).sum(-1).mean(-1)
