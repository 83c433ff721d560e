"""The edge of stability as a probe of the training loop."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from limes.core.errors import SpecError
from limes.measure.hessian import LossFn
from limes.measure.sharpness import Sharpness
from limes.measure.stability import edge_of_stability
from limes.measure.still import held_still


class EdgeProbe:
    """Sharpness in units of the optimizer's steps, every so many steps, warm-started.

    The numbers are NaN before an adaptive optimizer's first step, as there are no second moments, and where the loss is
    not finite.

    Attributes:
        name: Prefix in the trace.
        every: Steps between measurements.
    """

    name = "edge"

    def __init__(
        self,
        optimizer: Optimizer,
        loss_fn: LossFn,
        *,
        every: int,
        batch: tuple[Tensor, Tensor] | None = None,
        tolerance: float = 1e-3,
        max_products: int = 500,
    ) -> None:
        """
        Args:
            optimizer: The loop's.
            loss_fn: From (model, batch) to the loss that is trained.
            every: Steps between measurements.
            batch: The batch to measure on; None takes that of each step, whose noise then enters.
            tolerance: As for `sharpness`.
            max_products: As for `sharpness`, of one measurement.

        Raises:
            SpecError: every is below 1.

        Source: arXiv:2103.00065.

        >>> net = nn.Linear(1, 1, bias=False)
        >>> step = torch.optim.SGD(net.parameters(), lr=1.0)
        >>> probe = EdgeProbe(step, lambda m, b: 0.5 * m(b).square().sum(), every=1)
        >>> round(probe.measure(net, torch.ones(1, 1), 0)["ratio"], 6)
        0.5
        """
        if every < 1:
            raise SpecError(f"every {every}: expected a number of steps of at least 1")
        self.every = every
        self._optimizer, self._loss_fn, self._batch = optimizer, loss_fn, batch
        self._tolerance, self._max_products = tolerance, max_products
        self._last: Sharpness | None = None

    def measure(self, model: nn.Module, batch: tuple[Tensor, Tensor], step: int) -> Mapping[str, float]:
        """`ratio` (sharpness over limit), `sharpness` (dimensionless) and `num_products`."""
        data = batch if self._batch is None else self._batch
        first = step == 0 and not isinstance(self._optimizer, torch.optim.SGD)
        if first or not self._finite(model, data):
            return {"ratio": float("nan"), "sharpness": float("nan"), "num_products": 0.0}
        found = edge_of_stability(
            model,
            self._loss_fn,
            data,
            self._optimizer,
            start=self._last,
            tolerance=self._tolerance,
            max_products=self._max_products,
        )
        self._last = found.sharpness
        return {
            "ratio": found.ratio,
            "sharpness": found.sharpness.value,
            "num_products": float(found.sharpness.num_products),
        }

    def _finite(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> bool:
        """A run that diverges is measured up to that point, not stopped by its measurement."""
        with torch.no_grad(), held_still(model):
            return bool(torch.isfinite(self._loss_fn(model, batch)))
