"""What every architecture's kernel shares: the recursion seen by one pair of inputs, and its evaluation in blocks.

Source: Lee et al., arXiv:1711.00165; Jacot et al., arXiv:1806.07572.
Letters: P inputs, D their dimension, H preactivation covariance, Theta tangent kernel, (r, P) features of one layer.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from limes.core.errors import SpecError

Layers = list[Tensor]
# 176^2 is below the size from which torch splits an elementwise operation over threads (32768): threads then get
# whole rectangles, and no operation ends in a barrier at which one waits for another.
_BLOCK = 176


class Recursion(Protocol):
    """One architecture: how the kernels of its input become those of its output."""

    def diagonal(self, variance: Tensor, *, tangent: bool) -> tuple[Layers, Tensor]:
        """From x.x/D (P,): the features of every layer, each (r, P), and the output kernel at equal inputs (P,)."""
        ...

    def propagate(self, left: Layers, right: Layers, cov: Tensor, *, tangent: bool) -> Tensor:
        """From x.x'/D (m, n) and the features, (r, m, 1) and (r, 1, n), the output kernel (m, n)."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class KernelBlock:
    """One rectangle of a kernel matrix.

    Args:
        rows: Rows of the whole matrix that it covers.
        columns: Columns that it covers.
        values: (rows, columns) float64.
    """

    rows: slice
    columns: slice
    values: Tensor


def check_inputs(name: str, inputs: Tensor) -> Tensor:
    """(P, D) in float64, or a sentence."""
    x = torch.as_tensor(inputs)
    if x.ndim != 2 or 0 in x.shape:
        raise SpecError(f"{name} of shape {tuple(x.shape)}: expected (num_inputs, input_dim), both positive")
    x = x.detach().to(torch.float64)
    if not bool(torch.isfinite(x).all()):
        raise SpecError(f"{name} holds {int((~torch.isfinite(x)).sum())} values that are not finite: clean the data")
    return x


def kernel_blocks(
    recursion: Recursion, x1: Tensor, *, x2: Tensor | None, tangent: bool, block_size: int = _BLOCK
) -> Iterator[KernelBlock]:
    """The kernel rectangle by rectangle; with x2 = None only those on and above the diagonal.

    Args:
        recursion: The architecture.
        x1: (P1, D).
        x2: (P2, D), or None for x1 itself.
        tangent: Whether Theta, rather than the covariance, is wanted.
        block_size: Edge of a rectangle; up to 181 its temporaries stay in a core's cache, and each thread of torch's
            current number works on a rectangle of its own.

    Yields:
        `KernelBlock`; memory beyond it is O(block_size P2), and the features, a few numbers per input and layer.

    Source: limes.
    """
    if block_size < 1:
        raise SpecError(f"block_size {block_size}: expected at least 1")
    first = check_inputs("x1", x1)
    second = first if x2 is None else check_inputs("x2", x2)
    if first.shape[1] != second.shape[1]:
        raise SpecError(f"x1 has {first.shape[1]} and x2 {second.shape[1]} columns: expected the same input_dim")
    with torch.no_grad():
        left, equal = recursion.diagonal((first**2).mean(1), tangent=tangent)
        right = left if x2 is None else recursion.diagonal((second**2).mean(1), tangent=tangent)[0]

    def block(rows: slice, columns: slice, cov: Tensor) -> KernelBlock:
        row_features = [f[:, rows, None] for f in left]
        column_features = [f[:, None, columns] for f in right]
        # Gradient mode belongs to a thread, hence inside.
        with torch.no_grad():
            values = recursion.propagate(row_features, column_features, cov, tangent=tangent)
            if x2 is None and rows == columns:
                values = 0.5 * (values + values.T)
                values.diagonal().copy_(equal[rows])
        return KernelBlock(rows=rows, columns=columns, values=values)

    yield from _in_order(block, _rectangles(first, second, x2 is None, block_size))


def _rectangles(first: Tensor, second: Tensor, upper: bool, size: int) -> Iterator[tuple[slice, slice, Tensor]]:
    for i in range(0, len(first), size):
        rows = slice(i, min(i + size, len(first)))
        start = i if upper else 0
        strip = (first[rows] @ second[start:].T) / first.shape[1]
        for j in range(start, len(second), size):
            columns = slice(j, min(j + size, len(second)))
            yield rows, columns, strip[:, columns.start - start : columns.stop - start].contiguous()


def _in_order(
    function: Callable[[slice, slice, Tensor], KernelBlock], rectangles: Iterator[tuple[slice, slice, Tensor]]
) -> Iterator[KernelBlock]:
    """Results in the order of the arguments, computed by as many threads as torch may use, few at a time."""
    num_threads = torch.get_num_threads()
    if num_threads == 1:
        for rectangle in rectangles:
            yield function(*rectangle)
        return
    with ThreadPoolExecutor(num_threads) as pool:
        waiting: deque[Future[KernelBlock]] = deque()
        for rectangle in rectangles:
            waiting.append(pool.submit(function, *rectangle))
            if len(waiting) > 2 * num_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def kernel_matrix(recursion: Recursion, x1: Tensor, *, x2: Tensor | None, tangent: bool) -> Tensor:
    """The whole kernel, (P1, P2); exactly symmetric where x2 is None."""
    shape = (len(x1), len(x1 if x2 is None else x2))
    kernel = torch.empty(shape, dtype=torch.float64)
    for block in kernel_blocks(recursion, x1, x2=x2, tangent=tangent):
        kernel[block.rows, block.columns] = block.values
        if x2 is None and block.rows != block.columns:
            kernel[block.columns, block.rows] = block.values.T
    return kernel


def kernel_matmul(
    recursion: Recursion,
    x1: Tensor,
    vectors: Tensor,
    *,
    x2: Tensor | None = None,
    tangent: bool,
    block_size: int = _BLOCK,
) -> Tensor:
    """kernel @ vectors without ever holding the kernel: for as many inputs as time allows.

    Args:
        recursion: An architecture such as `MLPRecursion`.
        x1: (P1, D).
        vectors: (P2, C), or (P1, C) where x2 is None.
        x2: (P2, D) or None.
        tangent: True for the tangent kernel, False for the covariance.
        block_size: Edge of the rectangles.

    Returns:
        (P1, C) float64.

    **Source**: limes, docs/theory/kernels.md. **Accuracy**: that of the kernel.

    >>> from limes.theory.kernels.mlp import MLPRecursion
    >>> net = MLPRecursion(depth=1, activation="linear", weight_var=1.0, bias_var=0.0)
    >>> x = torch.eye(2, dtype=torch.float64)
    >>> kernel_matmul(net, x, torch.ones(2, 1, dtype=torch.float64), tangent=True).flatten().tolist()
    [1.0, 1.0]
    """
    weights = vectors.to(torch.float64)
    rows = len(x1 if x2 is None else x2)
    if weights.ndim != 2 or len(weights) != rows:
        raise SpecError(f"vectors of shape {tuple(weights.shape)}: expected ({rows}, num_vectors)")
    total = torch.zeros(len(x1), weights.shape[1], dtype=torch.float64)
    for block in kernel_blocks(recursion, x1, x2=x2, tangent=tangent, block_size=block_size):
        total[block.rows] += block.values @ weights[block.columns]
        if x2 is None and block.rows != block.columns:
            total[block.columns] += block.values.T @ weights[block.rows]
    return total


def check_variances(weight_var: float, bias_var: float) -> None:
    """weight_var > 0 and bias_var >= 0, finite, or a sentence."""
    if not 0.0 < weight_var < float("inf"):
        raise SpecError(f"weight_var {weight_var}: expected a positive number (variance of a weight times its fan-in)")
    if not 0.0 <= bias_var < float("inf"):
        raise SpecError(f"bias_var {bias_var}: expected zero or a positive number")
