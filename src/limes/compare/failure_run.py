"""One recipe of `failure_cases`, built and trained under a monitor.

Source: limes, docs/diagnostics.md.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from limes.compare.failure_cases import Recipe
from limes.compare.full_batch import FullBatch
from limes.data import build_data
from limes.measure.activations import record_forward_pass
from limes.measure.edge_probe import EdgeProbe
from limes.measure.features import DEAD
from limes.measure.health import SIGNS
from limes.measure.monitor_probe import MonitorProbe
from limes.measure.quantization import quantize
from limes.measure.still import held_still
from limes.models import build_model, sigma_reparametrize
from limes.models.attention import Block, scaled
from limes.optim import build_optimizer
from limes.parametrize import Plan, plan
from limes.spec import TransformerSpec
from limes.spec.data import CorpusSpec
from limes.spec.training import OptimizerSpec, TrainingSpec
from limes.train import Objective, train

Array = NDArray[np.float64]
CONTEXT, BATCH_SIZE, HEAD_DIM = 32, 8, 16
# Measurements of the edge of stability cost tens of gradients each, where a monitor's cost two.
EDGE_PRODUCTS = 60


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FailureRun:
    """What one run leaves.

    Attributes:
        loss: (num_steps,) training loss of each step.
        validation_loss: At the end; infinite if the run diverged.
        lost_neurons: Share of the living neurons that enter the worst linear layer and that int8 with one scale per
            tensor rounds to zero on a whole batch; NaN if the run diverged.
        signs: "sign/place" -> (2, num_measurements), steps and values.
    """

    loss: Array
    validation_loss: float
    lost_neurons: float
    signs: dict[str, Array]

    def worst(self, sign: str) -> tuple[Array, Array]:
        """Steps, and the value at the worst place."""
        found = [values for name, values in self.signs.items() if name.partition("/")[0] == sign]
        if not found:
            return np.zeros(0), np.zeros(0)
        by_step: dict[float, list[float]] = {}
        for steps, values in found:
            for step, value in zip(steps, values):
                by_step.setdefault(float(step), []).append(float(value))
        pick = min if SIGNS[sign].falling else max
        return np.array(sorted(by_step)), np.array([pick(by_step[step]) for step in sorted(by_step)])


def run_recipe(
    recipe: Recipe,
    *,
    seed: int,
    every: int,
    signs: Sequence[str],
    on_step: Callable[[int, float], Any] | None = None,
) -> FailureRun:
    """Build and train it, with a monitor.

    Args:
        recipe: What is made.
        seed: Of weights and batches.
        every: Steps between measurements.
        signs: Those that are kept.
        on_step: As for `limes.train.train`.
    """
    text = build_data(CorpusSpec(), seed=seed, batch_size=BATCH_SIZE, context=CONTEXT)
    # Text that is learned by heart, or text without end.
    data = FullBatch(*text.batch(0), task=text.task) if recipe.repeated else text
    model, optimizer = _build(recipe, text.vocab_size, seed=seed)
    training = TrainingSpec(
        steps=recipe.steps,
        batch_size=BATCH_SIZE,
        schedule=recipe.schedule,
        warmup_steps=recipe.warmup_steps,
        optimizer=_optimizer_spec(recipe),
        clip_norm=recipe.clip_norm,
        z_loss=recipe.z_loss,
        divergence_factor=1e6,
    )
    objective = Objective(task="next_token", training=training)
    probes: list[Any] = [] if recipe.summed_from is None else [Summed(model, recipe.summed_from)]
    probes.append(MonitorProbe(optimizer, objective, every=every))
    if "edge_of_stability" in signs:
        probes.append(EdgeProbe(optimizer, objective, every=every, tolerance=1e-2, max_products=EDGE_PRODUCTS))
    trace = train(model, data, optimizer, training, probes=probes, on_step=on_step)
    found = {name.replace("edge/ratio", "monitor/edge_of_stability"): rows for name, rows in trace.probes.items()}
    return FailureRun(
        loss=trace.train_loss,
        validation_loss=math.inf if trace.validation_loss is None else trace.validation_loss,
        lost_neurons=math.nan if trace.validation_loss is None else _lost_neurons(model, data.validation()[0][0]),
        signs={
            name.removeprefix("monitor/"): rows
            for name, rows in found.items()
            if name.removeprefix("monitor/").partition("/")[0] in signs
        },
    )


class Summed:
    """A probe that measures nothing: from a step on, gradients are those of a sum over tokens, not of a mean."""

    name, every = "summed", 1

    def __init__(self, model: nn.Module, first: int) -> None:
        self._first, self._on = first, False
        for parameter in model.parameters():
            parameter.register_hook(self._scale)

    def _scale(self, gradient: Tensor) -> Tensor:
        return gradient * (BATCH_SIZE * CONTEXT) if self._on else gradient

    def measure(self, model: nn.Module, batch: tuple[Tensor, Tensor], step: int) -> dict[str, float]:
        """Nothing."""
        self._on = step >= self._first
        return {}


def _build(recipe: Recipe, vocab_size: int | None, *, seed: int) -> tuple[nn.Module, Optimizer]:
    def build(width: int) -> nn.Module:
        spec = TransformerSpec(
            width=width,
            depth=recipe.depth,
            head_dim=HEAD_DIM,
            context=CONTEXT,
            vocab_size=vocab_size,
            qk_norm=recipe.qk_norm,
            block=recipe.block,
        )
        generator = torch.Generator().manual_seed(seed)
        return build_model(spec, generator=generator, residual_multiplier=recipe.branch)

    made = plan(
        build,
        base=recipe.base_width,
        target=recipe.width,
        parametrization="mup",
        optimizer="adamw",
        weight_decay="independent",
        allow_no_growth=True,
    )
    model = made.apply_multipliers(made.init_(build(recipe.width), seed=seed))
    if recipe.post_norm:
        blocks = model.get_submodule("blocks")
        assert isinstance(blocks, nn.ModuleList), "a transformer has a list of blocks"
        model.blocks = nn.ModuleList(PostNormBlock(block) for block in blocks)
    groups = _groups(recipe, made, model)
    if recipe.sigma:
        groups = _sigma_groups(model, groups)
    return model, build_optimizer(groups, _optimizer_spec(recipe))


def _groups(recipe: Recipe, made: Plan, model: nn.Module) -> list[dict[str, Any]]:
    """Groups of the plan, one tensor each, with what the recipe changes."""
    settings = made.settings(lr=2.0**recipe.log2_lr, weight_decay=recipe.weight_decay, eps=recipe.eps)
    groups = []
    for name, tensor in model.named_parameters():
        # A post-norm block holds the plan's block under one more name.
        entry = settings[name.replace(".inner.", ".")]
        boost = recipe.readout_lr if name == "readout.weight" else 1.0
        groups.append(
            {
                "params": [tensor],
                "lr": entry.lr * boost,
                "eps": entry.eps if recipe.scale_eps else recipe.eps,
                # A step decays by lr times this: who learns faster forgets faster.
                "weight_decay": entry.weight_decay,
            }
        )
    return groups


def _sigma_groups(model: nn.Module, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Reparametrize the maps to queries, keys and values; their gains learn at the rate of the matrix."""
    names = [name for name, _ in model.named_modules() if name.endswith(".qkv")]
    found = {id(group["params"][0]): group for group in groups}
    matrices = {name: found[id(model.get_submodule(name).weight)] for name in names}
    sigma_reparametrize(model, names)
    for name, group in matrices.items():
        gain = model.get_submodule(f"{name}.parametrizations.weight.0").gamma
        groups.append({**group, "params": [gain]})
    return groups


def _optimizer_spec(recipe: Recipe) -> OptimizerSpec:
    return OptimizerSpec(name="adamw", betas=recipe.betas, eps=recipe.eps, weight_decay=recipe.weight_decay)


class PostNormBlock(nn.Module):
    """The branches of a pre-norm block, with the norms behind the sums instead: x <- norm(x + branch(x))."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        assert isinstance(inner, Block), "made of a transformer's block"
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        inner, width = self.inner, x.shape[-1:]
        x = functional.layer_norm(x + scaled(inner.attention(x), inner.residual_multiplier), width)
        branch = inner.down(functional.gelu(inner.up(x)))
        return functional.layer_norm(x + scaled(branch, inner.residual_multiplier), width)


def _lost_neurons(model: nn.Module, inputs: Tensor) -> float:
    with held_still(model):
        recording = record_forward_pass(model, inputs)
    shares = []
    for path, calls in recording.inputs.items():
        if isinstance(model.get_submodule(path), nn.Linear):
            arguments, _ = calls[0]
            rows = arguments[0].flatten(0, -2)
            living = rows.abs().amax(0) > DEAD * rows.square().mean().sqrt()
            lost = living & (quantize(rows, "int8").abs().amax(0) == 0)
            shares.append(float(lost.sum() / living.sum().clamp_min(1)))
    return max(shares)
