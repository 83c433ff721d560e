"""What a run leaves beside its losses in a study of consistency: predictions, kernels, fields, attention, sharpness.

Every array has a size of its own, whatever the size of the network, so that networks can be laid over each other.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from limes.core.errors import SpecError
from limes.core.rng import stream
from limes.data import DataSource
from limes.measure import empirical_ntk, gradient_kernels, sharpness
from limes.measure.attention_calls import AttentionCall, AttentionCalls
from limes.measure.attention_entropy import attention_entropy, open_logits
from limes.measure.still import held_still
from limes.models.activation import ACTIVATIONS
from limes.spec import CNNSpec, MLPSpec, ModelSpec, ModuleSpec, ResMLPSpec, RunSpec, TransformerSpec, ViTSpec
from limes.train.loss import LOSSES, output_tensor

Array = NDArray[Any]
NUM_QUANTILES = 64
# Attention patterns are kept of so many samples and query positions.
ATTENTION_SAMPLES, ATTENTION_QUERIES = 2, 16
SHARPNESS_SAMPLES, SHARPNESS_TOLERANCE, SHARPNESS_PRODUCTS = 8, 0.02, 24


def observed_layers(model: ModelSpec, layers: str) -> dict[str, tuple[str, str]]:
    """By label: the module whose output is the layer's feature, and that whose output is its pre-activation.

    >>> observed_layers(MLPSpec(depth=2), "all")
    {'layer 1': ('hidden.0', 'hidden.0'), 'layer 2': ('hidden.1', 'hidden.1')}
    """
    places = range(model.depth) if layers == "all" else sorted({max(model.depth // 2 - 1, 0), model.depth - 1})
    inner = {MLPSpec: "", TransformerSpec: ".up", ViTSpec: ".up", CNNSpec: ".first"}
    if isinstance(model, ModuleSpec):
        return {}
    labels = [f"layer {place + 1}" for place in places]
    if layers == "ends":
        labels = ["half depth", "last layer"][-len(labels) :]
    stem = "hidden" if isinstance(model, MLPSpec) else "blocks"
    last = ".last" if isinstance(model, ResMLPSpec) and model.matrices_per_branch == 1 else ".first"
    suffix = inner.get(type(model), last)
    return {label: (f"{stem}.{place}", f"{stem}.{place}{suffix}") for label, place in zip(labels, places, strict=True)}


class ScaleRecorder:
    """A probe of the training loop that keeps arrays of its own.

    Args:
        spec: The run; it says what is observed.
        data: Its data.

    Raises:
        SpecError: The fixed batch has fewer samples than are asked for.
    """

    name, every = "scale", 1

    def __init__(self, spec: RunSpec, data: DataSource) -> None:
        assert spec.observe is not None, "only runs that are observed have a recorder"
        self.spec, self.observe, self.task = spec, spec.observe, data.task
        self.layers = observed_layers(spec.model, spec.observe.layers)
        self.due = frozenset(spec.observe.steps)
        self.inputs, self.targets = _fixed_batch(spec, data)
        self.features: dict[str, Tensor] = {}
        self.start: Tensor | None = None
        self.signs: Tensor | None = None
        self.row_targets: Array = np.zeros(0)
        self.taken: set[int] = set()
        self.snapshots: list[dict[str, Array]] = []

    @classmethod
    def of(cls, spec: RunSpec, data: DataSource) -> "ScaleRecorder | None":
        """The recorder that a run asks for."""
        return None if spec.observe is None else cls(spec, data)

    def measure(self, model: nn.Module, batch: tuple[Tensor, Tensor], step: int) -> Mapping[str, float]:
        """Keep what is due before the update of `step`; there are no scalars."""
        if step in self.due and step not in self.taken:
            self._keep(model, step)
        return {}

    def arrays(self, model: nn.Module, *, steps_done: int) -> dict[str, Array]:
        """All that was kept, with the state after the last update, which no step follows.

        Returns:
            `observed_steps` (K,), `observed_targets` of the rows of the outputs, and by name (K, ...): fewer than were
            asked for if the run diverged. Pre-activations are quantiles, movements are relative to the start.
        """
        if steps_done in self.due and steps_done not in self.taken:
            self._keep(model, steps_done)
        names = self.snapshots[0] if self.snapshots else {}
        stacked = {f"observed/{name}": np.stack([shot[name] for shot in self.snapshots]) for name in names}
        steps = np.array(sorted(self.taken), dtype=np.int64)
        return {"observed_steps": steps, "observed_targets": self.row_targets, **stacked}

    def _keep(self, model: nn.Module, step: int) -> None:
        self.taken.add(step)
        kept: dict[str, Array] = {}
        with held_still(model):
            outputs = self._forward(model, kept)
            self._predictions(outputs, kept)
            if self.layers:
                self._gradients(model, kept)
            if self.observe.num_ntk:
                kept["tangent kernel"] = self._tangent(model)
            if self.observe.sharpness:
                kept["sharpness"] = np.array([self._sharpness(model)])
        self.snapshots.append({name: np.asarray(value, dtype=np.float32) for name, value in kept.items()})

    def _forward(self, model: nn.Module, kept: dict[str, Array]) -> Tensor:
        """Features, pre-activations and attention from one forward pass."""
        found: dict[str, Tensor] = {}
        calls: list[AttentionCall] = []
        names = {name for pair in self.layers.values() for name in pair}
        handles = [
            model.get_submodule(name).register_forward_hook(lambda m, a, out, n=name: found.__setitem__(n, out))
            for name in sorted(names)
        ]
        try:
            with torch.no_grad(), AttentionCalls(calls.append, max_sequences=ATTENTION_SAMPLES):
                outputs = output_tensor(model(self.inputs))
        finally:
            for handle in handles:
                handle.remove()
        for label, (feature, field) in self.layers.items():
            stream_ = _rows(found[feature], self.spec.model)
            kept[f"feature kernel, {label}"] = _gram(stream_[: self.observe.num_kernel])
            kept[f"pre-activations, {label}"] = _quantiles(found[field])
            first = self.features.setdefault(label, stream_)
            kept[f"movement, {label}"] = np.array([_rms(stream_ - first) / _rms(first)])
        self._attention(calls, kept)
        return outputs

    def _attention(self, calls: Sequence[AttentionCall], kept: dict[str, Array]) -> None:
        every = len(calls) if self.observe.layers == "all" else 1
        for place, call in enumerate(calls[-every:] if calls else ()):
            label = f"layer {place + 1}" if self.observe.layers == "all" else "last layer"
            logits = open_logits(call.logits)
            queries = np.unique(np.linspace(0, logits.shape[2] - 1, ATTENTION_QUERIES).astype(int))
            kept[f"attention, {label}"] = logits[:, :, queries].softmax(-1).mean(1).double().numpy()
            entropy = attention_entropy(logits).nanmean((0, 2)).double().numpy()
            spread = float(entropy.std(ddof=1)) if len(entropy) > 1 else 0.0
            size = float(call.unmasked.square().mean().sqrt())
            kept[f"attention heads, {label}"] = np.array([float(entropy.mean()), spread, size])

    def _predictions(self, outputs: Tensor, kept: dict[str, Array]) -> None:
        if self.spec.training.center_output:
            self.start = outputs if self.start is None else self.start
            outputs = outputs - self.start
        flat, targets = outputs.flatten(0, -2), self.targets.flatten(0, max(outputs.dim() - 2, 0))
        loss_of = LOSSES[self.task]
        kept["probe loss"] = np.array([float(loss_of(outputs, self.targets))])
        chosen = np.unique(np.linspace(0, len(flat) - 1, self.observe.num_outputs).astype(int))
        rows = flat[chosen]
        self.row_targets = targets[chosen].double().numpy()
        kept["loss of examples"] = np.array(
            [float(loss_of(row[None], targets[place][None])) for row, place in zip(rows, chosen, strict=True)]
        )
        # A constant added to all logits changes no prediction.
        kept["outputs"] = (rows if self.task == "regression" else rows - rows.mean(-1, keepdim=True)).double().numpy()

    def _gradients(self, model: nn.Module, kept: dict[str, Array]) -> None:
        names = [feature for feature, _ in self.layers.values()]
        inputs = self.inputs[: self.observe.num_kernel]
        found = gradient_kernels(model, inputs, layers=names, scalar=lambda result: self._project(result)[:, 0])
        for label, (feature, _) in self.layers.items():
            kept[f"gradient kernel, {label}"] = found[feature].numpy()

    def _tangent(self, model: nn.Module) -> Array:
        inputs = self.inputs[: self.observe.num_ntk]
        weights = self.observe.kernel_weights
        return empirical_ntk(
            _Projected(model, self._project), inputs, parameter_weights={f"inner.{k}": v for k, v in weights.items()},
            block_size=2, method="loop",
        ).numpy()  # fmt: skip

    def _sharpness(self, model: nn.Module) -> float:
        batch = self.inputs[:SHARPNESS_SAMPLES], self.targets[:SHARPNESS_SAMPLES]
        loss_of = LOSSES[self.task]
        found = sharpness(
            model,
            lambda module, data: loss_of(output_tensor(module(data[0])), data[1]),
            batch,
            # In the units of the parametrization's own learning rates, in which it has a limit.
            scaling=self.observe.kernel_weights or None,
            tolerance=SHARPNESS_TOLERANCE,
            max_products=SHARPNESS_PRODUCTS,
        )
        return found.value

    def _project(self, result: Any) -> Tensor:
        """(P, 1): one fixed random sum of each sample's outputs, with signs that all networks share."""
        flat = output_tensor(result).flatten(1)
        if self.signs is None:
            bits = torch.randint(0, 2, (flat.shape[1],), generator=stream(0, "probe", "signs"))
            self.signs = (2.0 * bits - 1.0) / flat.shape[1] ** 0.5
        return flat @ self.signs.to(flat)[:, None]


class _Projected(nn.Module):
    def __init__(self, inner: nn.Module, project: Any) -> None:
        super().__init__()
        self.inner, self.project = inner, project

    def forward(self, inputs: Tensor) -> Tensor:
        return self.project(self.inner(inputs))


def _fixed_batch(spec: RunSpec, data: DataSource) -> tuple[Tensor, Tensor]:
    observe = spec.observe
    assert observe is not None
    inputs, targets = data.batch(0) if observe.probe == "training" else data.validation()[0]
    if len(inputs) < observe.num_probe:
        raise SpecError(f"observe.num_probe {observe.num_probe}: the {observe.probe} batch has {len(inputs)} samples")
    dtype = torch.float64 if spec.training.dtype == "float64" else torch.float32
    inputs, targets = (
        part[: observe.num_probe].to(dtype) if part.is_floating_point() else part[: observe.num_probe]
        for part in (inputs, targets)
    )
    return inputs, targets


def _rows(feature: Tensor, model: ModelSpec) -> Tensor:
    """(P, n) features of each sample; of a perceptron, what the next layer takes."""
    if isinstance(model, MLPSpec):
        feature = ACTIVATIONS[model.activation](feature)
    return feature.detach().flatten(1).double()


def _gram(rows: Tensor) -> Array:
    return (rows @ rows.T / rows.shape[1]).numpy()


def _quantiles(field: Tensor) -> Array:
    levels = (torch.arange(NUM_QUANTILES, dtype=torch.float64) + 0.5) / NUM_QUANTILES
    values = field.detach().double().flatten().sort().values
    places = (levels * len(values) - 0.5).clamp(0, len(values) - 1)
    low = places.floor().long()
    high = (low + 1).clamp_max(len(values) - 1)
    return (values[low] + (places - low) * (values[high] - values[low])).numpy()


def _rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt())
