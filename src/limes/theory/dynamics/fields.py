"""Small pieces that every particle solver and the finite network share."""

from collections.abc import Callable

import numpy as np
import torch

from limes.theory.dynamics.problem import Columns

DIVERGED = 1e6


def apply(function: Callable[[torch.Tensor], torch.Tensor], values: np.ndarray) -> np.ndarray:
    """An elementwise torch function on a float64 array."""
    return function(torch.from_numpy(values)).numpy()


def contract(errors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Sum over outputs of errors (P_all, C) times rows (P_all * C, n): (P_all, n)."""
    num_all, num_outputs = errors.shape
    if num_outputs == 1:
        return errors * rows
    return np.einsum("pc,pcn->pn", errors, rows.reshape(num_all, num_outputs, -1))


def has_diverged(outputs: np.ndarray, columns: Columns) -> bool:
    """Outputs are not finite, or a million times the targets."""
    return not np.isfinite(outputs).all() or np.abs(outputs).max() > DIVERGED * (1.0 + columns.target_scale)
