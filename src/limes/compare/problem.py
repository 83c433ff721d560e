"""The bridge from a run to the theory: a run's settings and its data state a mean field problem, exactly.

A bias-free perceptron with weights V of its own scale is the network of the theory with W = a V, where a absorbs
multipliers and the theory's factors; the rest follows from the learning rates. Nothing is approximated, so a run and
the theory's finite network are equal to rounding, step by step.

Letters: n width, D inputs, C outputs; of tensor l: s std, m multiplier, eta learning rate; e scale a.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from limes.core.errors import DataError, ScopeError
from limes.data import DataSource
from limes.spec import MLPSpec, RunSpec, TensorSettings
from limes.theory.dynamics import MLPProblem
from limes.train import lr_factor

# The reference models' names are those of the theory, but for erf.
_ACTIVATIONS = {"erf": "erf_sqrt2"}


def mlp_problem(spec: RunSpec, data: DataSource, *, num_test: int = 0) -> MLPProblem:
    """The mean field problem that a run of a perceptron is, whatever parametrization prescribed its settings.

    Times 0 .. steps: the losses of the run are those of times 0 .. steps - 1, before each update. The run's loss is a
    mean over outputs and the problem's a sum: the run's is the problem's divided by the number of outputs.

    Args:
        spec: The run. gamma0 is 1 / (width * readout std * readout multiplier), which is base_width^-1/2 for a muP run
            of any width and width^-1/2 for `standard` and `ntk`; everything else follows.
        data: The run's data, as `build_data` made them; every batch of the run is read.
        num_test: Held-out inputs, the first of the validation set.

    Returns:
        The problem; its infinite-width limit holds the run's gamma0 fixed.

    Raises:
        ScopeError: The theory does not cover the run; the sentence says why, and what would be covered.
        DataError: The data are not those of the run.

    >>> from limes.data import build_data
    >>> from limes.spec import MLPSpec, OptimizerSpec, TrainingSpec
    >>> from limes.spec.data import GaussianSpec
    >>> source = GaussianSpec(num_inputs=4, num_samples=6)
    >>> training = TrainingSpec(steps=3, batch_size=6, optimizer=OptimizerSpec(name="sgd"), schedule="constant",
    ...                         warmup_steps=0, center_output=True, dtype="float64")
    >>> model = MLPSpec(width=16, depth=1, activation="tanh", num_inputs=4, num_outputs=1)
    >>> tensors = {
    ...     "hidden.0.weight": TensorSettings(init="normal", init_mean=0, init_std=0.5, lr=0.1),
    ...     "readout.weight": TensorSettings(init="normal", init_mean=0, init_std=0.25, lr=0.1),
    ... }
    >>> data = build_data(source, seed=0, batch_size=6)
    >>> run = RunSpec(model=model, data=source, data_fingerprint=data.fingerprint(), training=training, seed=0,
    ...               tensors=tensors)
    >>> problem = mlp_problem(run, data)
    >>> round(problem.gamma0, 12), round(problem.lr, 12), problem.lr_scale, problem.weight_var
    (0.25, 1.6, (0.25, 1.0), (1.0, 1.0))
    """
    model = _covered_model(spec)
    _check_training(spec, data)
    tensors = _covered_tensors(spec, model)
    if (found := data.fingerprint()) != spec.data_fingerprint:
        raise DataError(f"data with fingerprint {found[:12]}: the run was planned with {spec.data_fingerprint[:12]}")
    gamma0, scales = _scales(model, tensors)
    assert model.num_outputs is not None
    rates = [
        (scale**2) * tensor.lr / (model.num_outputs * gamma0**2 * model.width)
        for scale, tensor in zip(scales, tensors, strict=True)
    ]
    # The readout's rate is the unit; a frozen readout leaves it to the fastest tensor.
    lr = rates[-1] or max(rates)
    inputs, targets, batches = _samples(spec, data)
    schedule = [lr_factor(step, spec.training) for step in range(spec.training.steps)]
    decays = [tensor.lr * tensor.weight_decay for tensor in tensors]
    return MLPProblem(
        inputs=inputs,
        targets=targets[:, 0] if model.num_outputs == 1 else targets,
        depth=model.depth,
        activation=_ACTIVATIONS.get(model.activation, model.activation),
        gamma0=gamma0,
        lr=lr,
        num_times=spec.training.steps + 1,
        test_inputs=_held_out(data, num_test) if num_test else None,
        batches=batches,
        momentum=spec.training.optimizer.momentum,
        weight_decay=decays,
        decay_mode="torch_sgd",
        lr_scale=[rate / lr for rate in rates],
        weight_var=[(scale * tensor.init_std) ** 2 for scale, tensor in zip(scales, tensors, strict=True)],
        lr_schedule=None if all(factor == 1.0 for factor in schedule) else schedule,
    )


def mlp_weights(spec: RunSpec, model: nn.Module) -> list[np.ndarray]:
    """A network's weights in the units of the theory, as `train_network` takes them.

    Args:
        spec: The run.
        model: Its network, at initialization or later.

    Returns:
        (width, input_dim), then depth - 1 of (width, width), then (num_outputs, width); float64.

    Raises:
        ScopeError: The theory does not cover the run.
    """
    shape = _covered_model(spec)
    _, scales = _scales(shape, _covered_tensors(spec, shape))
    parameters = dict(model.named_parameters())
    names = _names(shape)
    return [scale * parameters[name].detach().double().cpu().numpy() for scale, name in zip(scales, names, strict=True)]


def _names(model: MLPSpec) -> list[str]:
    return [*(f"hidden.{layer}.weight" for layer in range(model.depth)), "readout.weight"]


def _covered_model(spec: RunSpec) -> MLPSpec:
    model = spec.model
    if not isinstance(model, MLPSpec):
        reason = {
            "resmlp": "its branches normalise their input, and the theory's residual network does not",
            "transformer": "the theory has no attention",
            "vit": "the theory has no attention",
            "cnn": "the theory has no convolutions",
        }
        raise ScopeError(f"model.family {model.family!r}: {reason[model.family]}; a family 'mlp' is covered")
    if model.bias:
        raise ScopeError("model.bias is true: the theory's perceptron has no biases; set it to false")
    return model


def _check_training(spec: RunSpec, data: DataSource) -> None:
    training = spec.training
    refusals = (
        (data.task != "regression", f"the task is {data.task!r}: the theory has squared loss; use a regression"),
        (
            training.optimizer.name != "sgd",
            f"training.optimizer.name is {training.optimizer.name!r}: its update is not linear in the gradient, "
            "and the theory covers sgd only",
        ),
        (
            training.clip_norm is not None,
            f"training.clip_norm is {training.clip_norm}: clipping is not linear in the gradient; leave it out",
        ),
        (
            not training.center_output,
            "training.center_output is false: the theory trains f - f(0), and the random f(0) of a finite network "
            "would hide the rest; set it to true",
        ),
        (
            training.dtype == "bfloat16",
            "training.dtype is 'bfloat16': rounding to 8 bits is not in the theory; use float32 or float64",
        ),
    )
    for refused, sentence in refusals:
        if refused:
            raise ScopeError(sentence)


def _covered_tensors(spec: RunSpec, model: MLPSpec) -> list[TensorSettings]:
    """Settings of the weight matrices, inputs first."""
    tensors = []
    for name in _names(model):
        tensor = spec.tensors[name]
        if tensor.init != "normal" or tensor.init_mean != 0.0 or tensor.init_std == 0.0:
            raise ScopeError(
                f"{name} starts as {tensor.init!r} with mean {tensor.init_mean:g} and std {tensor.init_std:g}: the "
                "theory has independent normal entries of mean 0 and positive std"
            )
        if tensor.multiplier == 0.0:
            raise ScopeError(f"{name} has the multiplier 0, which cuts the network; the theory needs another")
        tensors.append(tensor)
    if not any(tensor.lr for tensor in tensors):
        raise ScopeError("every learning rate is 0: nothing moves, and there are no dynamics to solve")
    return tensors


def _scales(model: MLPSpec, tensors: list[TensorSettings]) -> tuple[float, list[float]]:
    """gamma0, and a of each matrix, which is the theory's weight over the run's."""
    assert model.num_inputs is not None
    readout = tensors[-1]
    gamma0 = 1.0 / (model.width * abs(readout.multiplier) * readout.init_std)
    fan_ins = [model.num_inputs] + [model.width] * (model.depth - 1)
    scales = [math.sqrt(fan_in) * tensor.multiplier for fan_in, tensor in zip(fan_ins, tensors[:-1], strict=True)]
    return gamma0, [*scales, gamma0 * model.width * readout.multiplier]


def _samples(spec: RunSpec, data: DataSource) -> tuple[np.ndarray, np.ndarray, list[list[int]] | None]:
    """All samples that the run sees, and its batches as indices among them; None where every batch is all of them."""
    batches = [data.batch(step) for step in range(spec.training.steps)]
    first_inputs, first_targets = batches[0]
    if all(torch.equal(x, first_inputs) and torch.equal(y, first_targets) for x, y in batches[1:]):
        return _rows(first_inputs), _rows(first_targets), None
    inputs = np.concatenate([_rows(x) for x, _ in batches])
    targets = np.concatenate([_rows(y) for _, y in batches])
    _, first, index = np.unique(np.hstack([inputs, targets]), axis=0, return_index=True, return_inverse=True)
    # In the order in which the run meets them.
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    index = place[index.reshape(-1)]
    ends = np.cumsum([len(x) for x, _ in batches])
    lists = [index[end - len(x) : end].tolist() for end, (x, _) in zip(ends, batches, strict=True)]
    return inputs[first[order]], targets[first[order]], lists


def _held_out(data: DataSource, num_test: int) -> np.ndarray:
    inputs = np.concatenate([_rows(x) for x, _ in data.validation()])
    if num_test > len(inputs):
        raise DataError(f"num_test is {num_test}: the validation set has {len(inputs)} samples; lower it")
    return inputs[:num_test]


def _rows(values: Tensor) -> Any:
    return values.flatten(1).double().numpy()
