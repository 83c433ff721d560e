"""The data of a Bayesian network and what is checked about them, one clear sentence for each mistake."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from limes.core.errors import SpecError
from limes.theory.activations import Activation, get_activation
from limes.theory.checks import as_floats, check_covariance, check_number


def settle(problem: object, **values: Any) -> None:
    """Put what was checked into the fields of a frozen problem, while it is made."""
    for name, value in values.items():
        object.__setattr__(problem, name, value)


def checked_samples(
    inputs: Any, targets: Any, test_inputs: Any, activation: str | Activation, *, allow_zero: bool = True
) -> dict[str, Any]:
    """What every network has that sees its inputs, by the names of the fields."""
    train, test = as_inputs(inputs, test_inputs)
    if not allow_zero and float(train.abs().max()) == 0.0:
        raise SpecError("inputs are all zero; expected at least one that is not")
    return {
        "inputs": train,
        "targets": as_targets(targets, len(train)),
        "test_inputs": test,
        "activation": get_activation(activation),
    }


def checked_strengths(*, gamma0: Any, inverse_temperature: Any) -> dict[str, float]:
    """Both of a network in the mean-field scaling, finite and above 0."""
    pairs = {"gamma0": gamma0, "inverse_temperature": inverse_temperature}
    return {name: check_number(name, value, low=0.0, open_low=True) for name, value in pairs.items()}


def as_matrix(name: str, value: Any, *, columns: int | None = None, expected: str) -> Tensor:
    """A float64 copy with two axes and finite entries."""
    try:
        matrix = torch.as_tensor(value if isinstance(value, Tensor) else np.array(value, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise SpecError(f"{name}: expected an array of numbers, got {type(value).__name__} ({error})") from None
    matrix = matrix.detach().to("cpu", torch.float64).clone()
    if matrix.ndim != 2 or (columns is not None and matrix.shape[1] != columns) or matrix.shape[1] == 0:
        raise SpecError(f"{name} has shape {tuple(matrix.shape)}; expected {expected}")
    if not bool(matrix.isfinite().all()):
        raise SpecError(f"{name} holds {int((~matrix.isfinite()).sum())} entries that are not finite; clean the data")
    return matrix


def as_inputs(inputs: Any, test_inputs: Any) -> tuple[Tensor, Tensor]:
    """Training (P, D) and test (M, D) inputs; M = 0 where no test inputs are given."""
    train = as_matrix("inputs", inputs, expected="(num_samples, input_dim)")
    if len(train) == 0:
        raise SpecError("inputs holds no sample; expected at least one row")
    dim = train.shape[1]
    if test_inputs is None:
        return train, torch.empty(0, dim, dtype=torch.float64)
    return train, as_matrix("test_inputs", test_inputs, columns=dim, expected=f"(num_test, {dim}) like the inputs")


def as_targets(targets: Any, num_samples: int, *, name: str = "targets") -> Tensor:
    """(P,) numbers; a column (P, 1) is taken as one output."""
    array = as_floats(name, targets)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.shape != (num_samples,):
        raise SpecError(f"{name} has shape {array.shape}; expected ({num_samples},), one number per sample")
    if not np.isfinite(array).all():
        raise SpecError(f"{name} holds {int((~np.isfinite(array)).sum())} entries that are not finite")
    return torch.from_numpy(array)


def checked_kernels(kernel: Any, targets: Any, train_rows: Any, variances: Any) -> dict[str, Any]:
    """What a network has that is seen through kernels alone: (P, P), targets (P,), and, where given, the kernel between
    test and training inputs (M, P) with the test variances (M,); M = 0 where not.
    """
    square = check_covariance("kernel", kernel)
    if train_rows is None and variances is not None:
        raise SpecError("kernel_test is given without kernel_test_train; give both, or neither")
    if variances is None and train_rows is not None:
        raise SpecError("kernel_test_train is given without kernel_test, its prior variances; give both, or neither")
    size = len(square)
    rows, diagonal = torch.empty(0, size, dtype=torch.float64), torch.empty(0, dtype=torch.float64)
    if train_rows is not None:
        rows = as_matrix("kernel_test_train", train_rows, columns=size, expected=f"(num_test, {size})")
    if len(rows):
        diagonal = as_targets(variances, len(rows), name="kernel_test")
    return {
        "kernel": square,
        "targets": as_targets(targets, size),
        "kernel_test_train": rows,
        "kernel_test": diagonal,
    }
