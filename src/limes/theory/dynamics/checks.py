"""What every problem of this package checks about its settings: one clear sentence for each mistake."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from limes.core.errors import SpecError
from limes.theory.checks import as_floats, check_number

DECAY_MODES = ("decoupled", "torch_sgd")


def as_array(name: str, values: Any, *, ndim: tuple[int, ...]) -> np.ndarray:
    """A read-only finite float64 copy of `values` with one of the allowed numbers of axes."""
    array = as_floats(name, values)
    if array.ndim not in ndim or array.size == 0:
        expected = " or ".join(str(n) for n in ndim)
        raise SpecError(f"{name} has shape {array.shape}; expected a non-empty array with {expected} axes")
    bad = int(array.size - np.isfinite(array).sum())
    if bad:
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise SpecError(f"{name} has {bad} values that are not finite, the first at index {where}; remove them")
    array.flags.writeable = False
    return array


def check_data(inputs: np.ndarray, targets: np.ndarray, test_inputs: np.ndarray | None) -> None:
    """Inputs, targets and held-out inputs fit together."""
    if len(targets) != len(inputs):
        raise SpecError(f"inputs has {len(inputs)} samples, targets has {len(targets)}; give one target per input")
    if test_inputs is not None and test_inputs.shape[1] != inputs.shape[1]:
        raise SpecError(f"test_inputs has {test_inputs.shape[1]} columns, inputs has {inputs.shape[1]}")
    if not np.any(inputs):
        raise SpecError("inputs are all zero; a bias-free network cannot learn from them")


def check_gamma0(value: Any) -> float:
    """gamma0 > 0; zero is the lazy limit, which has a solver of its own."""
    if isinstance(value, int | float | np.number) and math.isfinite(value) and value <= 0:
        raise SpecError(
            f"gamma0 is {value!r}; feature learning needs gamma0 > 0. For the lazy limit gamma0 -> 0 state the problem "
            "with any positive gamma0 and call solve_static_ntk, whose answer does not depend on it"
        )
    return check_number("gamma0", value, low=0.0, open_low=True)


def per_matrix(name: str, value: Any, *, count: int, low: float, open_low: bool = False) -> tuple[float, ...]:
    """One number per weight matrix, in order from the inputs to the readout; a single number stands for all."""
    if np.ndim(value) == 0:
        return (check_number(name, value, low=low, open_low=open_low),) * count
    if len(value) != count:
        raise SpecError(f"{name} has {len(value)} entries; expected {count}, one per weight matrix, inputs first")
    return tuple(
        check_number(f"{name}[{i}]", v, low=low, open_low=open_low) for i, v in enumerate(np.asarray(value).tolist())
    )


def check_batches(batches: Any, *, num_samples: int, num_times: int) -> tuple[tuple[int, ...], ...] | None:
    """Index lists, one per update (num_times - 1); a further list for the last recorded time is allowed and unused."""
    if batches is None:
        return None
    if not isinstance(batches, Sequence | np.ndarray) or len(batches) not in (num_times - 1, num_times):
        got = len(batches) if hasattr(batches, "__len__") else type(batches).__name__
        raise SpecError(f"batches has {got} index lists; expected {num_times - 1}, one per update (num_times - 1)")
    lists = []
    for step, batch in enumerate(batches):
        indices = np.asarray(batch)
        if indices.ndim != 1 or indices.size == 0 or not np.issubdtype(indices.dtype, np.integer):
            raise SpecError(f"batches[{step}] is {batch!r}; expected a non-empty list of sample indices")
        if indices.min() < 0 or indices.max() >= num_samples:
            raise SpecError(f"batches[{step}] is {batch!r}; indices must be from 0 to {num_samples - 1}")
        lists.append(tuple(indices.tolist()))
    return tuple(lists[: num_times - 1])


def check_schedule(schedule: Any, *, num_times: int) -> tuple[float, ...] | None:
    """One factor per update on the learning rate (and on the decay)."""
    if schedule is None:
        return None
    if np.ndim(schedule) != 1 or len(schedule) != num_times - 1:
        raise SpecError(f"lr_schedule has shape {np.shape(schedule)}; expected ({num_times - 1},), one per update")
    return tuple(check_number(f"lr_schedule[{i}]", v, low=0.0) for i, v in enumerate(schedule))
