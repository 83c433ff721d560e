"""The data of a Bayesian network and what is checked about them, one clear sentence for each mistake."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from limes.core.errors import SpecError
from limes.theory.checks import as_floats


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


def as_test_kernels(train_rows: Any, variances: Any, num_samples: int) -> tuple[Tensor, Tensor]:
    """Kernel between test and training inputs (M, P) and the test variances (M,); both empty where not given."""
    if train_rows is None:
        if variances is not None:
            raise SpecError("kernel_test is given without kernel_test_train; give both, or neither")
        return torch.empty(0, num_samples, dtype=torch.float64), torch.empty(0, dtype=torch.float64)
    rows = as_matrix("kernel_test_train", train_rows, columns=num_samples, expected=f"(num_test, {num_samples})")
    if variances is None:
        raise SpecError("kernel_test_train is given without kernel_test, its prior variances; give both, or neither")
    diagonal = as_targets(variances, len(rows)) if len(rows) else torch.empty(0, dtype=torch.float64)
    return rows, diagonal
