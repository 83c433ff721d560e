"""Products of the Hessian of a loss on one fixed batch with vectors, over all trainable parameters.

Letters: n trainable numbers, H (n, n) Hessian, S (n,) scaling, not negative; the operator is S^1/2 H S^1/2.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from limes.core.errors import SpecError
from limes.measure.still import held_still

LossFn = Callable[[nn.Module, Any], Tensor]
Scaling = Mapping[str, Tensor | float]


class HessianOperator:
    """The Hessian, or the scaled Hessian S^1/2 H S^1/2, of `loss_fn(model, batch)`; made by `hessian_operator`.

    Attributes:
        num_params: n, tied tensors counted once.
        num_products: Products made so far.
        loss: The loss on the batch.
    """

    def __init__(self, loss: Tensor, parameters: Mapping[str, nn.Parameter], scaling: Scaling | None) -> None:
        self._parameters = dict(parameters)
        tensors = list(self._parameters.values())
        self._gradients = torch.autograd.grad(loss, tensors, create_graph=True, materialize_grads=True)
        self.loss = loss.item()
        self.num_params = sum(tensor.numel() for tensor in tensors)
        self.num_products = 0
        self._root = None if scaling is None else _root(self._parameters, scaling)

    def zeros(self) -> Tensor:
        """(n,) zeros in the parameters' dtype and place."""
        first = next(iter(self._parameters.values()))
        return torch.zeros(self.num_params, dtype=first.dtype, device=first.device)

    def random(self, *, generator: torch.Generator) -> Tensor:
        """(n,) independent signs +-1, drawn on the CPU."""
        signs = torch.randint(0, 2, (self.num_params,), generator=generator) * 2 - 1
        return signs.to(self.zeros())

    def product(self, vector: Tensor) -> Tensor:
        """(n,) -> (n,), one backward pass through the gradient's graph, which is kept."""
        scaled = vector if self._root is None else self._root * vector
        parts, place = [], 0
        for parameter in self._parameters.values():
            parts.append(scaled[place : place + parameter.numel()].view_as(parameter))
            place += parameter.numel()
        # A gradient that depends on no parameter (a linear loss) has no graph, and no curvature.
        pairs = [(gradient, part) for gradient, part in zip(self._gradients, parts) if gradient.requires_grad]
        self.num_products += 1
        if not pairs:
            return torch.zeros_like(vector)
        rows = torch.autograd.grad(
            [gradient for gradient, _ in pairs],
            list(self._parameters.values()),
            grad_outputs=[part for _, part in pairs],
            retain_graph=True,
            materialize_grads=True,
        )
        result = torch.cat([row.detach().flatten() for row in rows])
        return result if self._root is None else self._root * result

    def split(self, vector: Tensor) -> dict[str, Tensor]:
        """(n,) as tensors by parameter name."""
        sizes = [parameter.numel() for parameter in self._parameters.values()]
        return {
            name: part.view_as(parameter)
            for (name, parameter), part in zip(self._parameters.items(), vector.split(sizes))
        }


@contextmanager
def hessian_operator(
    model: nn.Module,
    loss_fn: LossFn,
    batch: Any,
    *,
    scaling: Scaling | None = None,
    batch_statistics: bool = False,
) -> Iterator[HessianOperator]:
    """A context in which products with the Hessian can be made; the model is held still inside, and as found after.

    Args:
        model: Any module; its trainable parameters, tied ones once, are the variables.
        loss_fn: From (model, batch) to a scalar.
        batch: Whatever `loss_fn` takes; keep it fixed.
        scaling: A factor (number or tensor), not negative, by parameter name; 1 where absent, 0 freezes a tensor.
        batch_statistics: See `held_still`.

    Raises:
        SpecError: Nothing is trainable, the loss is no finite scalar, or the scaling does not fit.

    **Source**: Pearlmutter 1994; limes, docs/diagnostics.md (why two reverse passes).
    **Accuracy**: that of the parameters' dtype.

    >>> net = nn.Linear(2, 1, bias=False)
    >>> with hessian_operator(net, lambda m, x: 0.5 * m(x).square().sum(), torch.tensor([[1.0, 2.0]])) as hessian:
    ...     hessian.product(torch.tensor([1.0, 0.0])).tolist()
    [1.0, 2.0]
    """
    parameters = {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}
    if not parameters:
        raise SpecError("the model has no trainable parameter: set requires_grad on those whose curvature is wanted")
    with held_still(model, batch_statistics=batch_statistics), torch.enable_grad():
        loss = loss_fn(model, batch)
        if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
            raise SpecError(f"loss_fn returned {_what(loss)}: expected one number that depends on the parameters")
        if not torch.isfinite(loss):
            raise SpecError(f"the loss on this batch is {loss.item()}: curvature is defined where the loss is finite")
        yield HessianOperator(loss.reshape(()), parameters, scaling)


def _root(parameters: Mapping[str, nn.Parameter], scaling: Scaling) -> Tensor:
    unknown = [name for name in scaling if name not in parameters]
    if unknown:
        raise SpecError(f"scaling for {unknown[:3]}: expected trainable names such as {list(parameters)[:3]}")
    parts = []
    for name, parameter in parameters.items():
        value = torch.as_tensor(scaling.get(name, 1.0), dtype=parameter.dtype, device=parameter.device)
        if not bool((value >= 0).all()):
            raise SpecError(f"scaling of {name!r} has a negative or undefined entry: expected factors of at least 0")
        parts.append(value.detach().expand(parameter.shape).flatten())
    return torch.cat(parts).sqrt()


def _what(loss: object) -> str:
    return f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else repr(loss)[:60]
