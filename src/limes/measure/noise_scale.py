"""Gradient noise scale, and the batch size beyond which more examples per step stop paying.

Source: arXiv:1812.06162, section 2.2 and appendix A.
Letters: k micro-batches of b examples, g_i their gradients, G the true gradient, S = tr(Sigma) per example.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from limes.core.errors import SpecError
from limes.measure.hessian import LossFn
from limes.measure.still import held_still


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseScale:
    """The simple noise scale S / |G|^2 in examples, from unbiased estimates of both.

    Attributes:
        value: In examples (or whatever `batch_size` counts); infinite where the gradient is lost in its noise.
        low: value less one jackknife standard error, at least 0.
        high: value plus one.
        noise: S, trace of the covariance of one example's gradient.
        squared_gradient: |G|^2; may come out negative, which says that more micro-batches are needed.
        num_batches: k.
        batch_size: b.
    """

    value: float
    low: float
    high: float
    noise: float
    squared_gradient: float
    num_batches: int
    batch_size: int

    @property
    def critical_batch_size(self) -> float:
        """Where a step is half as good as with the exact gradient, which the noise scale predicts."""
        return self.value


def gradient_noise_scale(model: nn.Module, loss_fn: LossFn, batches: Sequence[Any], *, batch_size: int) -> NoiseScale:
    """Noise scale of the gradient at the current weights, from the gradients of equal micro-batches.

    The model is held in evaluation mode (dropout would add noise of its own), and is left as found.

    Args:
        model: Any module; its trainable parameters count, tied ones once.
        loss_fn: From (model, batch) to the mean loss of that batch.
        batches: k >= 3 independent micro-batches; k gradients are held in memory at a time.
        batch_size: b, examples in each. Count tokens instead and the answer is in tokens, which are not independent
            within a sequence: count sequences.

    Raises:
        SpecError: Fewer than 3 batches, nothing is trainable, or a loss is not finite.

    Source: arXiv:1812.06162, appendix A.1. **Accuracy**: jackknife over micro-batches, `low` to `high`.

    >>> net = nn.Linear(1, 1, bias=False)
    >>> loss = lambda model, target: (model.weight * target).sum()      # gradients 1, 2, 3
    >>> found = gradient_noise_scale(net, loss, [torch.tensor(float(i)) for i in (1, 2, 3)], batch_size=2)
    >>> round(found.noise, 6), round(found.squared_gradient, 6), round(found.value, 6)   # 2 x 1, 4 - 1/3
    (2.0, 3.666667, 0.545455)
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if len(batches) < 3 or batch_size < 1 or not parameters:
        raise SpecError(
            f"{len(batches)} micro-batches of {batch_size}, {len(parameters)} trainable tensors: expected at least 3 "
            "micro-batches of at least 1, and a trainable tensor"
        )
    rows = []
    with held_still(model), torch.enable_grad():
        for index, batch in enumerate(batches):
            loss = loss_fn(model, batch)
            if not bool(torch.isfinite(loss)):
                raise SpecError(f"micro-batch {index} has the loss {loss.item()}: expected finite ones")
            parts = torch.autograd.grad(loss, parameters, materialize_grads=True)
            rows.append([part.detach() for part in parts])
    products = np.zeros((len(rows), len(rows)))
    for tensors in zip(*rows):
        flat = torch.stack([tensor.flatten() for tensor in tensors]).double()
        products += (flat @ flat.T).cpu().numpy()
    noise, squared = _estimates(products, batch_size)
    value = _ratio(noise, squared)
    error = _jackknife(products, batch_size)
    return NoiseScale(
        value=value,
        low=max(value - error, 0.0) if np.isfinite(value) else 0.0,
        high=value + error,
        noise=noise,
        squared_gradient=squared,
        num_batches=len(rows),
        batch_size=batch_size,
    )


def _estimates(products: NDArray[np.float64], batch_size: int) -> tuple[float, float]:
    """S and |G|^2 from the inner products of the micro-batches' gradients."""
    k = len(products)
    own, total = products.trace(), products.sum()
    # Pairs of different micro-batches are independent: their mean product is |G|^2 without bias.
    squared = (total - own) / (k * (k - 1))
    return float(batch_size * (own / k - squared)), float(squared)


def _ratio(noise: float, squared: float) -> float:
    return noise / squared if squared > 0 else float("inf")


def _jackknife(products: NDArray[np.float64], batch_size: int) -> float:
    k = len(products)
    kept = [np.delete(np.arange(k), index) for index in range(k)]
    values = np.array([_ratio(*_estimates(products[np.ix_(rest, rest)], batch_size)) for rest in kept])
    if not np.isfinite(values).all():
        return float("inf")
    return float(np.sqrt((k - 1) / k * ((values - values.mean()) ** 2).sum()))


@dataclass(frozen=True, kw_only=True, slots=True)
class CriticalBatch:
    """Fit of steps = min_steps (1 + critical_batch_size / batch_size).

    Attributes:
        critical_batch_size: Where time and compute are both twice their least.
        min_steps: Steps with an endless batch.
        min_examples: Examples with the smallest batch.
    """

    critical_batch_size: float
    min_steps: float
    min_examples: float


def fit_critical_batch(batch_sizes: ArrayLike, steps: ArrayLike) -> CriticalBatch:
    """Critical batch size from measured steps to one target loss, each at its own best learning rate.

    Args:
        batch_sizes: (n,) at least two different.
        steps: (n,) steps to the target loss.

    Raises:
        SpecError: The numbers are not positive, or the steps do not fall as the batch grows.

    Source: arXiv:1812.06162, Eq. 2.11: (steps / min_steps - 1) (examples / min_examples - 1) = 1.
    **Accuracy**: least squares of relative errors; exact for points on the curve.

    >>> round(fit_critical_batch([10, 20, 40], [600, 350, 225]).critical_batch_size, 6)
    50.0
    """
    size, count = np.asarray(batch_sizes, dtype=float), np.asarray(steps, dtype=float)
    if size.ndim != 1 or size.shape != count.shape or len(np.unique(size)) < 2 or not bool((size > 0).all()):
        raise SpecError(f"batch_sizes {size.tolist()}, steps {count.tolist()}: expected two or more different sizes")
    if not bool(((count > 0) & np.isfinite(count)).all()):
        raise SpecError(
            f"steps {count.tolist()}: expected finite positive numbers; leave out runs that missed the loss"
        )
    design = np.stack([np.ones_like(size), 1.0 / size], 1) / count[:, None]
    (least, examples), *_ = np.linalg.lstsq(design, np.ones_like(count), rcond=None)
    if least <= 0 or examples <= 0:
        raise SpecError(
            f"steps {count.tolist()} at batch sizes {size.tolist()} do not follow min_steps (1 + critical / batch): "
            "the steps must fall, and less than in proportion; measure sizes on both sides of the bend"
        )
    return CriticalBatch(
        critical_batch_size=float(examples / least), min_steps=float(least), min_examples=float(examples)
    )
