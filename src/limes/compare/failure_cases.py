"""Failures of training made on purpose: how each is brought about, the sign that comes first, and what cures it.

All are small byte transformers on the built-in text under muP. A recipe says how one is made; a failure is a recipe
that goes wrong, and changes of it that do not.

Source: arXiv:2309.14322 (attention and output logits, epsilon), arXiv:2303.06296 (entropy), arXiv:2304.13013 (spikes),
arXiv:2206.03126 (rank collapse), arXiv:2405.19279 (outlier features).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

Harm = Literal["loss", "spike", "int8"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """One transformer and its training.

    Attributes:
        log2_lr: log2 of the learning rate at the base width.
        steps: Updates.
        width: Of the stream.
        base_width: Where the learning rate was set.
        depth: Blocks.
        warmup_steps: Of the schedule.
        schedule: As in a study.
        betas: Of Adam.
        eps: Of Adam, at the base width.
        scale_eps: Epsilon by the parametrization; otherwise the same at all widths.
        weight_decay: Independent of the learning rate.
        clip_norm: Of the gradient.
        z_loss: Factor of the z-loss.
        qk_norm: Norms on queries and keys.
        sigma: Spectral reparametrization of the maps to queries, keys and values.
        block: As in a model's spec.
        post_norm: Norms behind the sum of stream and branch instead of before the branch.
        branch: Factor on both branches of every block.
        readout_lr: Factor on the readout's learning rate.
        repeated: The first batch at every step.
        summed_from: Step from which gradients are those of a sum over tokens instead of a mean; None for never.
    """

    log2_lr: float
    steps: int = 200
    width: int = 32
    base_width: int = 32
    depth: int = 2
    warmup_steps: int = 20
    schedule: Literal["linear", "constant"] = "linear"
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-12
    scale_eps: bool = True
    weight_decay: float = 0.0
    clip_norm: float | None = None
    z_loss: float = 0.0
    qk_norm: bool = False
    sigma: bool = False
    block: Literal["pre_norm", "outlier_protected"] = "pre_norm"
    post_norm: bool = False
    branch: float = 1.0
    readout_lr: float = 1.0
    repeated: bool = False
    summed_from: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """One way in which training goes wrong.

    Attributes:
        title: What happens.
        cause: Why.
        sign: Key of `limes.measure.health.SIGNS` that comes first.
        broken: The recipe that fails.
        remedies: Changes of the recipe, each a cure, by name.
        healthy: Changes without which it does not happen, where the loss is compared with that run; otherwise it is
            compared with the run of the first remedy.
        every: Steps between measurements.
        harm: What suffers: the loss, the loss by a spike, or what int8 keeps.
    """

    title: str
    cause: str
    sign: str
    broken: Recipe
    remedies: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    healthy: Mapping[str, Any] | None = None
    every: int = 4
    harm: Harm = "loss"


FAILURES: Mapping[str, Failure] = MappingProxyType(
    {
        "attention_logits": Failure(
            title="Attention logits grow",
            cause="A learning rate four times too high: queries and keys grow together, and attention saturates.",
            sign="max_attention_logit",
            broken=Recipe(log2_lr=-3.0),
            remedies={"QK-norm": {"qk_norm": True}},
        ),
        "attention_entropy": Failure(
            title="Attention entropy collapses",
            cause="The same rate: a few tokens take all attention, and little gradient passes through it.",
            sign="attention_entropy",
            broken=Recipe(log2_lr=-3.0),
            remedies={"QK-norm": {"qk_norm": True}, "sigma-reparametrization": {"sigma": True}},
        ),
        "output_logits": Failure(
            title="Output logits grow",
            cause="The readout learns at 256 times its rate, as it does without a width rule at 256 times the width.",
            sign="update_ratio",
            broken=Recipe(log2_lr=-6.0, readout_lr=256.0),
            remedies={"weight decay": {"weight_decay": 0.03}, "z-loss": {"z_loss": 1e-3}},
        ),
        "epsilon": Failure(
            title="Gradients sink below epsilon",
            cause="Gradients fall with width and epsilon does not: Adam's steps shrink.",
            sign="gradient_over_eps",
            broken=Recipe(log2_lr=-6.0, width=128, base_width=16, eps=1e-3, scale_eps=False),
            remedies={"epsilon by the parametrization": {"scale_eps": True}},
            every=20,
        ),
        "cold_start": Failure(
            title="The first steps are too large",
            cause="No warm-up at a high rate: the first steps of Adam change every weight by as much as it weighs.",
            sign="update_ratio",
            broken=Recipe(log2_lr=-3.0, qk_norm=True, warmup_steps=0),
            remedies={"warm-up": {"warmup_steps": 20}},
        ),
        "memorized_text": Failure(
            title="Adam spikes on text that is known by heart",
            cause="As gradients vanish, a short second moment vanishes with them and the steps grow over the edge.",
            sign="edge_of_stability",
            broken=Recipe(log2_lr=-5.0, steps=340, schedule="constant", repeated=True),
            remedies={"longer second moment": {"betas": (0.9, 0.999)}},
            every=2,
            harm="spike",
        ),
        "louder_gradient": Failure(
            title="Gradients grow and the second moment lags",
            cause="From step 120 losses are summed over the 256 tokens and not averaged; beta2 = 0.999 lags behind.",
            sign="gradient_surprise",
            broken=Recipe(log2_lr=-4.0, qk_norm=True, schedule="constant", betas=(0.9, 0.999), summed_from=120),
            remedies={"gradient clipping": {"clip_norm": 1.0}, "shorter second moment": {"betas": (0.9, 0.95)}},
            healthy={"summed_from": None},
        ),
        "outliers": Failure(
            title="A few neurons outgrow the rest",
            cause="A high rate with norms inside the blocks: int8 has no room left for the other neurons.",
            sign="max_median_ratio",
            broken=Recipe(log2_lr=-3.0, width=64, qk_norm=True),
            remedies={"outlier-protected block": {"block": "outlier_protected"}},
            every=10,
            harm="int8",
        ),
        "rank_collapse": Failure(
            title="Ranks collapse with depth",
            cause="Twelve blocks with norms behind the sums: each mixes the tokens, and in the end all are one vector.",
            sign="token_similarity",
            broken=Recipe(log2_lr=-7.0, depth=12, post_norm=True),
            remedies={"residual scaling": {"branch": 12**-0.5}},
        ),
    }
)
