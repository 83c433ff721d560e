"""What a run of a perceptron leaves beside its losses when a store asks for it: outputs, kernels, pre-activations."""

import json
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from limes.core.errors import SpecError
from limes.measure import feature_kernels, gradient_kernels
from limes.spec import MLPSpec, RunSpec

RECORD = "record_steps"
"""Name of the store's note that lists the steps at which kernels are kept; without it nothing is recorded."""


class FieldRecorder:
    """A probe of the training loop that keeps arrays of its own.

    It looks at the batch of the first step: in a full-batch run, all samples.

    Args:
        spec: The run; a perceptron.
        steps: Steps (numbers of updates made) at which kernels and pre-activations are kept.

    Raises:
        SpecError: The model is no perceptron.
    """

    name, every = "fields", 1

    def __init__(self, spec: RunSpec, steps: Sequence[int]) -> None:
        if not isinstance(spec.model, MLPSpec):
            raise SpecError(f"model.family {spec.model.family!r}: kernels are recorded of family 'mlp' only")
        self.spec, self.steps = spec, frozenset(steps)
        self.layers = [f"hidden.{layer}" for layer in range(spec.model.depth)]
        self.inputs: Tensor | None = None
        self.outputs: list[NDArray[np.float64]] = []
        self.snapshots: list[dict[str, NDArray[np.float64]]] = []

    @classmethod
    def from_note(cls, spec: RunSpec, note: str | None) -> "FieldRecorder | None":
        """The recorder that a store's note asks for."""
        return None if note is None else cls(spec, json.loads(note))

    def measure(self, model: nn.Module, batch: tuple[Tensor, Tensor], step: int) -> Mapping[str, float]:
        """Keep what is due before the update of `step`; there are no scalars."""
        if self.inputs is None:
            dtype = next(model.parameters()).dtype
            self.inputs = batch[0].flatten(1).to(dtype)
        self._keep(model, step)
        return {}

    def arrays(self, model: nn.Module, *, steps_done: int) -> dict[str, NDArray[np.float64]]:
        """All that was kept, with the state after the last update, which no step follows.

        Returns:
            `outputs` (updates + 1, P, C), and of the kept steps `feature_kernels`, `gradient_kernels` (steps, depth, P,
            P; those of limes.measure) and `preactivations` (steps, depth, width) of the first sample. A run that
            diverged has fewer.
        """
        assert self.inputs is not None, "no step was made"
        if steps_done == self.spec.training.steps == len(self.outputs):
            self._keep(model, steps_done)
        stacked = {name: np.stack([shot[name] for shot in self.snapshots]) for name in self.snapshots[0]}
        return {"outputs": np.stack(self.outputs), **stacked}

    def _keep(self, model: nn.Module, step: int) -> None:
        assert self.inputs is not None
        fields: list[Tensor] = []
        hooks = [
            model.get_submodule(name).register_forward_hook(lambda *a: fields.append(a[2])) for name in self.layers
        ]
        with torch.no_grad():
            self.outputs.append(model(self.inputs).double().numpy())
        for hook in hooks:
            hook.remove()
        if step not in self.steps:
            return
        above = [*self.layers[1:], "readout"]
        features = feature_kernels(model, self.inputs, layers=above, side="input")
        gradients = gradient_kernels(model, self.inputs, layers=self.layers)
        self.snapshots.append(
            {
                "feature_kernels": np.stack([features[name].numpy() for name in above]),
                "gradient_kernels": np.stack([gradients[name].numpy() for name in self.layers]),
                "preactivations": np.stack([field[0].double().numpy() for field in fields]),
            }
        )
