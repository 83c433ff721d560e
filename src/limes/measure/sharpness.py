"""Sharpness: the largest algebraic eigenvalue of the Hessian, plain or in the optimizer's own units.

Source: arXiv:2103.00065 (edge of stability), arXiv:2207.14484 (preconditioned sharpness of Adam).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from limes.core.errors import SpecError
from limes.measure.hessian import HessianOperator, LossFn, Scaling, hessian_operator
from limes.numerics.lanczos import largest_eigenpairs

# Share of a random vector in a warm start, so that a direction that has just become the sharpest is found.
FRESH = 0.05


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sharpness:
    """The largest eigenvalues of the Hessian, with their certificate.

    Attributes:
        values: (top,) float64, decreasing; with a scaling, in its units.
        residual: Largest norm of H v - value v: every value is within this of an eigenvalue.
        num_products: Hessian-vector products that were made.
        converged: Whether the residual met the tolerance.
        loss: The loss on the batch.
        directions: (num_params, top) eigenvectors; give it as `start` to the next measurement.
    """

    values: Tensor
    residual: float
    num_products: int
    converged: bool
    loss: float
    directions: Tensor

    @property
    def value(self) -> float:
        """The largest."""
        return self.values[0].item()


def sharpness(
    model: nn.Module,
    loss_fn: LossFn,
    batch: Any,
    *,
    top: int = 1,
    scaling: Scaling | None = None,
    start: "Sharpness | None" = None,
    tolerance: float = 1e-4,
    max_products: int = 500,
    max_vectors: int = 60,
    batch_statistics: bool = False,
    seed: int = 0,
) -> Sharpness:
    """Largest algebraic eigenvalues of the Hessian of `loss_fn(model, batch)` over the trainable parameters.

    Dropout is off while it measures; modes, buffers, gradients and random state are left as found.

    Args:
        model: Any module, attention included.
        loss_fn: From (model, batch) to a scalar.
        batch: Fixed: values from different batches do not compare.
        top: Eigenvalues wanted.
        scaling: Factors S by parameter name: the spectrum of S^1/2 H S^1/2, such as learning rates for stability.
        start: An earlier measurement of this model, to save products.
        tolerance: Residual relative to the largest eigenvalue in size; the value itself is then good to its square
            over the gap.
        max_products: Give up after so many Hessian-vector products (`converged` says so).
        max_vectors: Vectors of num_params numbers held in memory.
        batch_statistics: Batch norm by the batch, for modules in training mode, instead of running statistics.
        seed: Of the starting vector, a numerical device.

    Raises:
        SpecError: Nothing is trainable, the loss is no finite scalar, the scaling or the start does not fit.

    **Source**: arXiv:2103.00065. **Accuracy**: see `residual`.

    >>> net = nn.Linear(2, 1, bias=False)
    >>> round(sharpness(net, lambda m, x: 0.5 * m(x).square().sum(), torch.tensor([[3.0, 4.0]])).value, 4)
    25.0
    """
    if top < 1 or max_products < 1 or not tolerance > 0:
        raise SpecError(f"top {top}, max_products {max_products}, tolerance {tolerance}: all must be positive")
    with hessian_operator(model, loss_fn, batch, scaling=scaling, batch_statistics=batch_statistics) as hessian:
        found = largest_eigenpairs(
            hessian.product,
            _start(hessian, start, seed),
            num=top,
            tolerance=tolerance,
            max_products=max_products,
            max_vectors=max_vectors,
        )
        return Sharpness(
            values=found.values,
            residual=found.residuals.max().item(),
            num_products=found.num_products,
            converged=found.converged,
            loss=hessian.loss,
            directions=found.vectors,
        )


def _start(hessian: HessianOperator, earlier: Sharpness | None, seed: int) -> Tensor:
    fresh = hessian.random(generator=torch.Generator().manual_seed(seed))
    fresh = fresh / fresh.norm()
    if earlier is None:
        return fresh
    if len(earlier.directions) != hessian.num_params:
        raise SpecError(
            f"start has {len(earlier.directions)} numbers, the model {hessian.num_params} trainable ones: "
            "give a measurement of the same model"
        )
    return earlier.directions.to(fresh).sum(1) + FRESH * fresh
