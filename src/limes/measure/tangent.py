"""Products with the tangent kernel of all outputs at once, which is too big to write down for a language model.

Source: Jacot et al., arXiv:1806.07572; Pearlmutter 1994 (products by two reverse passes, one through the other).
Letters: P points (positions of all samples), C outputs of each, J (P C, p) derivatives, W relative learning rates of
the parameters, K = J W J' / P.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from limes.core.errors import SpecError
from limes.measure.activations import main_tensor
from limes.measure.kernels import trainable_weights
from limes.measure.still import held_still


class TangentOperator:
    """K = J W J' / P of one batch, as products; made by `tangent_operator`.

    Attributes:
        outputs: The model's outputs, detached.
        num_points: P: entries of the outputs but for the last axis.
        size: P C.
        num_products: Made so far.
    """

    def __init__(self, outputs: Tensor, parameters: Mapping[str, Tensor], weights: Mapping[str, float]) -> None:
        self._live, self._weights = outputs, dict(weights)
        self._parameters = [parameters[name] for name in weights]
        self.outputs = outputs.detach()
        self.size, self.num_points = outputs.numel(), outputs.numel() // outputs.shape[-1]
        self.num_products = 0
        self._zeros = torch.zeros_like(outputs, requires_grad=True)
        # J' applied to a variable: linear in it, so that its own derivative is J.
        self._pulled = torch.autograd.grad(
            outputs, self._parameters, self._zeros, create_graph=True, materialize_grads=True
        )

    def pull(self, vector: Tensor) -> dict[str, Tensor]:
        """J' v by parameter: (P C,) -> one tensor for each parameter."""
        found = torch.autograd.grad(
            self._live, self._parameters, vector.view_as(self._live), retain_graph=True, materialize_grads=True
        )
        return dict(zip(self._weights, found, strict=True))

    def product(self, vector: Tensor) -> Tensor:
        """K v, (P C,) float64."""
        self.num_products += 1
        pulled = self.pull(vector)
        sides = [value * self._weights[name] for name, value in pulled.items()]
        # A parameter on which the outputs do not depend has no graph, and adds nothing.
        pairs = [(side, value) for side, value in zip(self._pulled, sides, strict=True) if side.requires_grad]
        image = torch.autograd.grad(
            [side for side, _ in pairs], self._zeros, [value for _, value in pairs], retain_graph=True
        )[0]
        return image.flatten().double() / self.num_points

    def block_sizes(self, vector: Tensor) -> dict[str, float]:
        """v' K v split by parameter."""
        return {
            name: self._weights[name] * float(value.double().square().sum()) / self.num_points
            for name, value in self.pull(vector).items()
        }


@contextmanager
def tangent_operator(
    model: nn.Module, inputs: Tensor, *, parameter_weights: Mapping[str, float] | None = None
) -> Iterator[TangentOperator]:
    """A context in which products with the tangent kernel can be made; the model is held still inside.

    Args:
        model: Any module with one input; it is run once.
        inputs: (samples, ...).
        parameter_weights: Relative learning rate of each parameter; 1 where absent, 0 freezes.

    Raises:
        SpecError: A weight names no trainable parameter, nothing is trainable, or there is no output of real numbers.

    **Source**: arXiv:1806.07572, section 4; limes, docs/spectrum.md. **Accuracy**: that of the model's dtype.

    >>> net = nn.Linear(2, 1, bias=False).double()
    >>> with tangent_operator(net, torch.tensor([[1.0, 0.0], [1.0, 2.0]], dtype=torch.float64)) as kernel:
    ...     kernel.product(torch.tensor([0.0, 2.0], dtype=torch.float64)).tolist()
    [1.0, 5.0]
    """
    weights = {name: weight for name, weight in trainable_weights(model, parameter_weights).items() if weight != 0.0}
    if not weights:
        raise SpecError("no parameter is trainable, or all have weight 0: a tangent kernel needs some that move")
    with held_still(model), torch.enable_grad():
        outputs = main_tensor(model(inputs))
        if outputs is None or outputs.dim() < 2 or not outputs.requires_grad:
            shape = None if outputs is None else tuple(outputs.shape)
            raise SpecError(f"outputs {shape}: expected (samples, ..., outputs) that depend on a trainable parameter")
        yield TangentOperator(outputs, dict(model.named_parameters()), weights)
