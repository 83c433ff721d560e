"""The monitor as a probe of the training loop: it makes a pass of its own, so a run that goes on repeats it exactly.

Source: limes, docs/diagnostics.md.
"""

import copy
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from limes.core.errors import SpecError
from limes.measure.monitor import EVERY, step_signs
from limes.measure.still import held_still
from limes.measure.watch import ForwardWatch

Loss = Callable[[nn.Module, tuple[Tensor, Tensor]], Tensor]


class MonitorProbe:
    """Signs of a step about to be made, a pure function of model, optimizer and batch; all three are left as found.

    The optimizer's step is tried on a copy of its state and taken back: gradients and updates are those of this step
    on this batch, without clipping, which the loop does later.

    Attributes:
        name: Prefix in the trace.
        every: Steps between measurements.
    """

    def __init__(
        self,
        optimizer: Optimizer | None = None,
        loss_fn: Loss | None = None,
        *,
        every: int = EVERY,
        name: str = "monitor",
        roles: Mapping[str, str] | None = None,
        logits: bool = True,
        max_sequences: int = 8,
    ) -> None:
        """
        Args:
            optimizer: The loop's; with it and
            loss_fn: from model and (inputs, targets) to a scalar, gradients and updates are measured too.
            every: Steps between measurements.
            name: Prefix in the trace.
            roles: As for `Monitor`.
            logits: As for `Monitor`.
            max_sequences: As for `Monitor`.

        Raises:
            SpecError: every is below 1, or only one of optimizer and loss_fn was given.
        """
        if every < 1:
            raise SpecError(f"every {every}: expected a number of steps of at least 1")
        if (optimizer is None) != (loss_fn is None):
            raise SpecError("gradients need both an optimizer and a loss_fn: give both or neither")
        self.name, self.every = name, every
        self._optimizer, self._loss_fn, self._roles = optimizer, loss_fn, roles
        self._logits, self._max_sequences = logits, max_sequences

    def measure(self, model: nn.Module, batch: tuple[Tensor, Tensor], step: int) -> dict[str, float]:
        """Signs on the batch of this step, before its update."""
        inputs = batch[0]
        dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
        if inputs.is_floating_point():
            inputs = inputs.to(dtype)
        watch = ForwardWatch(model, max_sequences=self._max_sequences, logits=self._logits)
        with held_still(model, batch_statistics=True):
            if self._optimizer is None or self._loss_fn is None:
                with torch.no_grad(), watch.watching():
                    model(inputs)
                return watch.take()
            parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
            with torch.enable_grad(), watch.watching():
                loss = self._loss_fn(model, (inputs, batch[1]))
            gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
            signs = self._tried_step(model, dict(zip(parameters, gradients)))
        return {"loss": loss.item()} | watch.take() | signs

    def _tried_step(self, model: nn.Module, gradients: Mapping[str, Tensor | None]) -> dict[str, float]:
        """Make the optimizer's step with these gradients, look at it, and take it back."""
        optimizer = self._optimizer
        assert optimizer is not None, "only called with one"
        parameters = dict(model.named_parameters())
        held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        names = [name for name in gradients if id(parameters[name]) in held]
        weights = {name: parameters[name].detach().clone() for name in names}
        found = {id(p): p.grad for group in optimizer.param_groups for p in group["params"]}
        kept = dict(optimizer.state)
        try:
            # The step works on copies, so that what was there is put back itself.
            optimizer.state.update({parameter: copy.deepcopy(state) for parameter, state in kept.items()})
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = None
            for name in names:
                parameters[name].grad = gradients[name]
            optimizer.step()
            return step_signs(model, optimizer, weights, roles=self._roles)
        finally:
            with torch.no_grad():
                for name, weight in weights.items():
                    parameters[name].copy_(weight)
            optimizer.state.clear()
            optimizer.state.update(kept)
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = found[id(parameter)]
