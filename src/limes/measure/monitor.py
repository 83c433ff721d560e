"""A monitor for anybody's training loop, in three lines:

    monitor = Monitor(model, optimizer, writers=[JsonLines("signs.jsonl")])
    ...                                # in the loop, after optimizer.step():
    monitor.step(loss)
    ...                                # at the end:
    monitor.close()

On sampled steps hooks look at the loop's own forward pass and at the optimizer's step; on all others there are none.

Source: limes, docs/diagnostics.md.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from limes.core.errors import SpecError
from limes.measure.health import HealthRow, health_rows
from limes.measure.optimizer_health import gradient_size_signs, update_sizes
from limes.measure.roles import check_roles
from limes.measure.spikes import SpikeDetector
from limes.measure.still import call, held_still
from limes.measure.watch import ForwardWatch
from limes.measure.writers import Writer

EVERY = 100


class Monitor:
    """Watches one model and its optimizer. A context manager; `close` takes every hook off.

    Attributes:
        every: Steps from one measurement to the next; the first is the first step.
        latest: Numbers of the last measurement, "sign" or "sign/place" -> value.
        latest_step: Its step; -1 before the first.
        spikes: Detector of loss spikes; it sees every loss.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | None = None,
        *,
        every: int = EVERY,
        writers: Sequence[Writer] = (),
        roles: Mapping[str, str] | None = None,
        inputs: Any = None,
        logits: bool = True,
        max_sequences: int = 8,
        first_step: int = 0,
    ) -> None:
        """Start watching; the next forward pass is the first to be measured.

        Args:
            model: The module that is trained; not a compiled one, unless `inputs` are given.
            optimizer: Its optimizer; without it gradients and updates are not measured.
            every: Steps between measurements.
            writers: Where numbers go besides `latest`.
            roles: Role of each parameter, such as a plan gives; what is missing is guessed.
            inputs: A fixed batch (a tensor, a tuple of arguments or a mapping of named ones): the model is run on it in
                evaluation mode, instead of watching the loop's own pass. Needed for compiled models.
            logits: Whether the last axis of the output are classes.
            max_sequences: Samples of a batch that are looked at.
            first_step: Number of the first step, for a run that goes on.

        Raises:
            SpecError: every is below 1, the model is compiled and has no inputs, or a role names no parameter.
        """
        if every < 1:
            raise SpecError(f"every {every}: expected a number of steps of at least 1")
        # What torch.compile wraps.
        inner = getattr(model, "_orig_mod", None)
        compiled = isinstance(inner, nn.Module)
        if compiled and inputs is None:
            raise SpecError(
                "hooks set on a compiled model do not run: give Monitor a fixed batch as inputs, on which the model "
                "is run uncompiled"
            )
        self.model: nn.Module = inner if isinstance(inner, nn.Module) else model
        self.every, self.writers = every, tuple(writers)
        self.latest: dict[str, float] = {}
        self.latest_step = -1
        self._closed = False
        self.spikes = SpikeDetector()
        self._optimizer, self._inputs, self._step = optimizer, inputs, first_step
        self._roles = check_roles(self.model, roles)
        self._watch = ForwardWatch(self.model, max_sequences=max_sequences, logits=logits)
        self._losses: list[Tensor | float] = []
        self._handles: list[Any] = []
        self._before: dict[str, Tensor] = {}
        self._found: dict[str, float] = {}
        self._warned = False
        if self._step % every == 0:
            self._arm()

    def step(self, loss: Tensor | float) -> Mapping[str, float] | None:
        """Call it once per step, after `optimizer.step()`.

        Args:
            loss: Of this step; a tensor is not waited for on steps that are not sampled.

        Returns:
            The numbers of this step if it was sampled.

        Raises:
            SpecError: The monitor has been closed.
        """
        if self._closed:
            raise SpecError("the monitor is closed: make a new one, with first_step for a run that goes on")
        self._losses.append(loss.detach() if isinstance(loss, Tensor) else float(loss))
        step, self._step = self._step, self._step + 1
        values = self._measure(step) if step % self.every == 0 else None
        if self._step % self.every == 0:
            self._arm()
        return values

    def rows(self) -> list[HealthRow]:
        """The last measurement, judged: the worst place of every sign."""
        return health_rows(self.latest)

    def close(self) -> None:
        """Take all hooks off and close the writers. A second call does nothing."""
        self._closed = True
        self._disarm()
        for writer in self.writers:
            writer.close()
        self.writers = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _measure(self, step: int) -> dict[str, float]:
        if self._inputs is not None:
            with held_still(self.model), torch.no_grad(), self._watch.watching():
                call(self.model, self._inputs)
        values = loss_signs(self.spikes, self._losses) | self._watch.take() | self._found
        self._losses = []
        if self._optimizer is not None and not self._found:
            self._warn()
        self._disarm()
        self.latest, self.latest_step = values, step
        for writer in self.writers:
            writer.write(step, values)
        return values

    def _warn(self) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                "no optimizer.step() was seen before monitor.step(loss), so gradients and updates of this step are "
                "missing: call monitor.step(loss) after optimizer.step() (a scaler that skips a step explains it too)",
                stacklevel=4,
            )

    def _arm(self) -> None:
        if self._inputs is None:
            self._watch.attach()
        if self._optimizer is not None:
            self._handles = [
                self._optimizer.register_step_pre_hook(self._before_step),
                self._optimizer.register_step_post_hook(self._after_step),
            ]

    def _disarm(self) -> None:
        self._watch.detach()
        for handle in self._handles:
            handle.remove()
        self._handles, self._before, self._found = [], {}, {}

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        self._before = {
            name: parameter.detach().clone()
            for name, parameter in self.model.named_parameters()
            if id(parameter) in held and parameter.grad is not None and parameter.dim() >= 2
        }

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._found = step_signs(self.model, optimizer, self._before, roles=self._roles)
        self._before = {}


def loss_signs(detector: SpikeDetector, losses: Sequence[Tensor | float]) -> dict[str, float]:
    """The last loss, whether it lies in a spike (2 for one that is not finite), and spikes per 1000 steps so far.

    Source: limes, docs/diagnostics.md.

    >>> loss_signs(SpikeDetector(), [2.0, 1.5])
    {'loss': 1.5, 'loss_spike': 0.0, 'spikes_per_1000': 0.0}
    """
    inside = False
    # Losses that lie on an accelerator come over in one transfer.
    tensors = [loss.reshape(()).double() for loss in losses if isinstance(loss, Tensor)]
    moved = iter(torch.stack(tensors).tolist() if tensors else [])
    numbers = [next(moved) if isinstance(loss, Tensor) else loss for loss in losses]
    for number in numbers:
        inside = detector.update(number)
    last = numbers[-1]
    return {
        "loss": last,
        "loss_spike": float(inside) if math.isfinite(last) else 2.0,
        "spikes_per_1000": detector.per_thousand_steps,
    }


def step_signs(
    model: nn.Module,
    optimizer: Optimizer,
    before: Mapping[str, Tensor],
    *,
    roles: Mapping[str, str] | None = None,
    gradients: Mapping[str, Tensor] | None = None,
) -> dict[str, float]:
    """Gradients over epsilon and updates over weights of a step that was just made, by tensor and by role.

    Only matrices have an update over a weight: biases and many gains start at zero, and for their first steps the two
    are alike however healthy the network is.

    Args:
        model: After the step.
        optimizer: The one that made it.
        before: Weights before it.
        roles: As for `update_sizes`.
        gradients: As for `gradient_health`.

    Source: limes, docs/diagnostics.md.

    >>> layer = nn.Linear(1, 1, bias=False)
    >>> sorted(step_signs(layer, torch.optim.SGD(layer.parameters()), {"weight": torch.ones(1, 1)}))
    ['role_update_ratio/readout', 'update_ratio/weight']
    """
    signs = gradient_size_signs(model, optimizer, gradients)
    matrices = {name: tensor for name, tensor in before.items() if tensor.dim() >= 2}
    tensors, by_role = update_sizes(model, matrices, roles=roles)
    for sign, sizes in (("update_ratio", tensors), ("role_update_ratio", by_role)):
        # What began at zero has no relative step.
        signs |= {f"{sign}/{name}": size.ratio for name, size in sizes.items() if math.isfinite(size.ratio)}
    return signs
