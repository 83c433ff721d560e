"""Modes of a network with many outputs, such as a language model: its tangent kernel over all points and outputs.

Nothing is averaged over outputs, so that the sum over modes is the lazy loss at any width. Eigenvalues come by
Nystrom's method with an error, the loss by quadrature between two bounds, and both exactly where the kernel is small.

Source: arXiv:1806.07572 (linearized networks); arXiv:2402.01092, section 2 (modes of a task); docs/spectrum.md.
Letters: P points, C outputs, K (P C, P C) tangent kernel over P, lam_k eigenvalues, u_k eigenvectors, r = y - f(0).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from limes.core.errors import SpecError
from limes.measure.tangent import TangentOperator, tangent_operator
from limes.numerics.lanczos import lanczos_bracket
from limes.numerics.nystrom import nystrom_eigenpairs

Array = NDArray[np.float64]
# Of vectors that are held at once.
MAX_GIB = 8.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class KernelBlock:
    """A part of the parameters.

    Attributes:
        name: Of the part.
        trace_share: Its share of the kernel's trace: of how fast any target would be learned.
        trace_error: Standard error of that, over random vectors.
        rate_share: Its share of how fast this target is learned at the first step; exact.
    """

    name: str
    trace_share: float
    trace_error: float
    rate_share: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class JointSpectrum:
    """A task as a network sees it before training, all outputs together.

    Attributes:
        eigenvalues: (m,) the largest of K, decreasing; the true ones are above by at most `error`.
        power: (m,) of the residual y - f(0) in these modes.
        error: 0 where m is all of them.
        total_power: Mean over points of |y - f(0)|^2.
        trace: Of K, estimated unless all modes are known; the share of it in the modes says how much of the spectrum
            is seen.
        num_points: P.
        num_outputs: C.
        bounds: (nodes, power) of two quadratures of the residual, one below the lazy loss and one above.
        blocks: Parts of the parameters.
    """

    eigenvalues: Array
    power: Array
    error: float
    total_power: float
    trace: float
    num_points: int
    num_outputs: int
    bounds: tuple[tuple[Array, Array], tuple[Array, Array]]
    blocks: tuple[KernelBlock, ...]

    @property
    def edge(self) -> float:
        """Largest eigenvalue, an upper bound: learning rates above 2 / edge are unstable."""
        return float(self.eigenvalues[0]) + self.error

    def loss(self, steps: Any, *, lr: float) -> tuple[Array, Array]:
        """Training loss of the lazy network: between these.

        Args:
            steps: (T,) numbers of updates of gradient descent.
            lr: Learning rate of half the squared error, summed over outputs, averaged over points; at most 1 / edge,
                beyond which the upper bound is none.

        Returns:
            (T,) and (T,): the same loss from below and from above.

        Raises:
            SpecError: The learning rate is not positive, or above 1 / edge; a step is negative.
        """
        count = np.atleast_1d(np.asarray(steps, dtype=float))[:, None]
        limit = 1.0 / float(self.bounds[0][0].max(initial=1e-300))
        if not 0 < lr <= limit * (1 + 1e-9):
            raise SpecError(f"lr {lr:g}: expected a positive number up to {limit:.3g}, half of where steps grow")
        if not (count >= 0).all():
            raise SpecError(f"steps {np.asarray(steps).tolist()}: expected numbers of at least 0")
        low, high = (0.5 * ((1.0 - lr * nodes) ** (2 * count) * power).sum(1) for nodes, power in self.bounds)
        return low, high


def measure_joint_spectrum(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    generator: torch.Generator,
    parameter_weights: Mapping[str, float] | None = None,
    center_output: bool = False,
    num_modes: int = 96,
    num_products: int = 60,
    blocks: Mapping[str, Sequence[str]] | None = None,
    num_probes: int = 16,
    progress: Callable[[float], Any] | None = None,
) -> JointSpectrum:
    """Eigenvalues, the target's power by mode, bounds on the lazy loss, and what each part of the network adds.

    Args:
        model: Any module with one input.
        inputs: (samples, ...).
        targets: In the shape of the outputs (samples, ..., C); of a language model, one-hot.
        generator: Draws the random vectors of Nystrom's method and of the trace.
        parameter_weights: Learning rate of each parameter relative to the one that `JointSpectrum.loss` is given.
        center_output: The network is trained on f - f(0).
        num_modes: Eigenvalues wanted; from P C on they are all, and exact.
        num_products: Of the quadrature; steps up to about its square are within narrow bounds.
        blocks: Name -> parameters; every parameter on its own by default.
        num_probes: Random vectors for the trace.
        progress: Told the share of the products that is done.

    Raises:
        SpecError: Shapes do not fit, the residual is zero, or a number is too small.

    **Source**: arXiv:1806.07572; docs/spectrum.md.
    **Accuracy**: `error` of the eigenvalues, the two bounds of the loss; products in the model's dtype.

    >>> net = nn.Linear(2, 1, bias=False).double()
    >>> x, y = torch.eye(2, dtype=torch.float64), torch.tensor([[2.0], [0.0]], dtype=torch.float64)
    >>> found = measure_joint_spectrum(net, x, y, center_output=True, generator=torch.Generator().manual_seed(0))
    >>> found.eigenvalues.round(9).tolist(), found.error, float(found.power.sum().round(9))
    ([0.5, 0.5], 0.0, 2.0)
    """
    if min(num_modes, num_products - 1, num_probes - 1) < 1:
        raise SpecError(
            f"num_modes {num_modes}, num_products {num_products}, num_probes {num_probes}: expected at least 1, 2, 2"
        )
    with tangent_operator(model, inputs, parameter_weights=parameter_weights) as kernel:
        _check_memory(kernel.size, num_modes, num_products)
        residual = _residual(kernel, targets, center_output=center_output)
        work = num_products + 2.0 * min(num_modes, kernel.size)

        def product(vector: Tensor) -> Tensor:
            if progress is not None:
                progress(min(kernel.num_products / work, 1.0))
            return kernel.product(vector)

        total = float(residual.square().sum()) / kernel.num_points
        below, above = lanczos_bracket(product, residual, num_products)
        pairs = nystrom_eigenpairs(product, kernel.size, num=num_modes, generator=generator)
        probes, trace = _probes(kernel, num_probes, generator)
        return JointSpectrum(
            eigenvalues=pairs.values.numpy(),
            power=((pairs.vectors.T @ residual).square() / kernel.num_points).numpy(),
            error=pairs.error,
            total_power=total,
            trace=float(pairs.values.sum()) if len(pairs.values) == kernel.size else trace,
            num_points=kernel.num_points,
            num_outputs=kernel.size // kernel.num_points,
            bounds=((below[0].numpy(), total * below[1].numpy()), (above[0].numpy(), total * above[1].numpy())),
            blocks=_blocks(kernel.block_sizes(residual), probes, blocks),
        )


def _check_memory(size: int, num_modes: int, num_products: int) -> None:
    """Lanczos keeps its vectors and their images, Nystrom's method two blocks and their factors."""
    gib = 8.0 * size * max(2 * num_products, 4 * min(num_modes, size)) / 2**30
    if gib > MAX_GIB:
        raise SpecError(
            f"{size} outputs with {num_modes} modes and {num_products} products need {gib:.1f} GiB, the limit is "
            f"{MAX_GIB:g}: take fewer samples or modes"
        )


def _residual(kernel: TangentOperator, targets: Tensor, *, center_output: bool) -> Tensor:
    if targets.shape != kernel.outputs.shape:
        raise SpecError(
            f"targets {tuple(targets.shape)}: expected the outputs' {tuple(kernel.outputs.shape)}; classes as one-hot"
        )
    residual = targets.double() if center_output else targets.double() - kernel.outputs.double()
    if not torch.isfinite(residual).all() or not residual.any():
        raise SpecError("the residual y - f(0) is zero or not finite: there is nothing to learn from it")
    return residual.flatten()


def _probes(kernel: TangentOperator, count: int, generator: torch.Generator) -> tuple[list[dict[str, float]], float]:
    """v' K v by parameter for random signs v, whose means are the traces."""
    sizes = []
    for _ in range(count):
        signs = torch.randint(0, 2, (kernel.size,), generator=generator) * 2 - 1
        sizes.append(kernel.block_sizes(signs.to(kernel.outputs.dtype)))
    return sizes, float(np.mean([sum(one.values()) for one in sizes]))


def _blocks(
    rates: dict[str, float], probes: list[dict[str, float]], blocks: Mapping[str, Sequence[str]] | None
) -> tuple[KernelBlock, ...]:
    parts = blocks if blocks is not None else {name: [name] for name in rates}
    unknown = [name for names in parts.values() for name in names if name not in rates]
    if unknown:
        raise SpecError(f"blocks with {unknown[:3]}: expected names of trainable parameters such as {list(rates)[:3]}")
    found = []
    for label, names in parts.items():
        shares = np.array([sum(one[name] for name in names) / sum(one.values()) for one in probes])
        found.append(
            KernelBlock(
                name=label,
                trace_share=float(shares.mean()),
                trace_error=float(shares.std(ddof=1) / np.sqrt(len(shares))),
                rate_share=sum(rates[name] for name in names) / sum(rates.values()),
            )
        )
    return tuple(found)
