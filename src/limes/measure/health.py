"""Signs of trouble, with the values at which to watch and to act, and what to do.

Thresholds without a paper behind them are conventions of limes; docs/diagnostics.md says why each.

Source: limes, docs/diagnostics.md.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from limes.core.errors import SpecError


class Level(StrEnum):
    """What a value means; NOTE for one that is shown without a judgement."""

    OK = "ok"
    WATCH = "watch"
    DANGER = "danger"
    NOTE = "note"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sign:
    """One sign and its lines.

    Attributes:
        meaning: What the number is.
        watch: From here it is worth a look; None for signs that are only shown.
        danger: From here something must be done.
        falling: Small values are bad.
        largest: The largest possible value, if there is one that a trend over size must not pass.
        null: Value of a healthy or untrained network.
        advice: What to do.
    """

    meaning: str
    watch: float | None = None
    danger: float | None = None
    falling: bool = False
    largest: float | None = None
    null: str = ""
    advice: str = ""

    def level(self, value: float) -> Level:
        """The judgement; a value that is not a number is always danger."""
        if math.isnan(value):
            return Level.DANGER
        if self.watch is None or self.danger is None:
            return Level.NOTE
        sign = -1.0 if self.falling else 1.0
        if sign * value >= sign * self.danger:
            return Level.DANGER
        return Level.WATCH if sign * value >= sign * self.watch else Level.OK

    @property
    def threshold(self) -> str:
        """Both lines in words."""
        if self.watch is None or self.danger is None:
            return ""
        word = "<=" if self.falling else ">="
        return f"watch {word} {self.watch:g}, danger {word} {self.danger:g}"


_LOGITS = "normalize queries and keys (QK-norm), lower the learning rate, or lengthen the warm-up"
_OUTLIERS = "lower the learning rate or epsilon, drop norms inside blocks or bound the branches; do not quantize as is"
_RANK = "scale residual branches by the depth rule, check that residual connections are there"

SIGNS: Mapping[str, Sign] = MappingProxyType(
    {
        "loss": Sign(meaning="training loss"),
        "validation_loss": Sign(meaning="validation loss at the end"),
        "loss_spike": Sign(
            meaning="1 inside a loss spike",
            watch=0.5,
            danger=1.5,
            null="0",
            advice="lower the learning rate, clip gradients, look at the batch",
        ),
        "spikes_per_1000": Sign(
            meaning="loss spikes per 1000 steps",
            watch=1.0,
            danger=10.0,
            null="0",
            advice="lower the learning rate or Adam's beta2, clip gradients, lengthen the warm-up",
        ),
        "attention_entropy": Sign(
            meaning="entropy of attention over its maximum, mean of a layer",
            watch=0.3,
            danger=0.1,
            falling=True,
            largest=1.0,
            null="about 1 untrained",
            advice=_LOGITS,
        ),
        "attention_entropy_lowest_head": Sign(meaning="the same of the most concentrated head of a layer"),
        "attention_entropy_bound": Sign(meaning="least entropy that the logits' norm allows, over the maximum"),
        "max_attention_logit": Sign(
            meaning="largest absolute attention logit", watch=50.0, danger=100.0, null="below 10", advice=_LOGITS
        ),
        "head_similarity": Sign(
            meaning="mean cosine between the patterns of two heads of a layer",
            watch=0.8,
            danger=0.95,
            null="about 0",
            advice="heads have collapsed onto one pattern: fewer heads, or smaller queries and keys at initialization",
        ),
        "query_norm": Sign(meaning="root mean square length of queries"),
        "key_norm": Sign(meaning="root mean square length of keys"),
        "kurtosis": Sign(
            meaning="kurtosis across neurons entering a layer (paper's definition)",
            watch=10.0,
            danger=50.0,
            null="1 + 2/tokens",
            advice=_OUTLIERS,
        ),
        "max_median_ratio": Sign(
            meaning="largest over median neuron entering a layer",
            watch=10.0,
            danger=50.0,
            null="1 to 2",
            advice=_OUTLIERS,
        ),
        "int8_error": Sign(
            meaning="relative error of int8, one scale per tensor",
            watch=0.05,
            danger=0.2,
            null="0.01",
            advice="quantize by rows, or keep this tensor in 16 bits",
        ),
        "fp8_error": Sign(
            meaning="relative error of fp8 (e4m3), one scale per tensor",
            watch=0.05,
            danger=0.2,
            null="0.026",
            advice="quantize by rows, or keep this tensor in 16 bits",
        ),
        "dead_units": Sign(
            meaning="share of units that are silent on the whole batch",
            watch=0.2,
            danger=0.5,
            null="0",
            advice="lower the learning rate or biases, or use an activation without a flat side",
        ),
        "effective_rank": Sign(
            meaning="directions that features use (participation ratio)", null="tokens x width / (tokens + width)"
        ),
        "rank_share": Sign(
            meaning="logarithm of the directions that features use, over that of random features",
            watch=0.25,
            danger=0.1,
            falling=True,
            null="about 1",
            advice=_RANK,
        ),
        "token_similarity": Sign(
            meaning="mean cosine between tokens of a sequence", watch=0.8, danger=0.95, null="about 0", advice=_RANK
        ),
        "rank_residual": Sign(
            meaning="share of a sequence's features that differs between tokens",
            watch=0.3,
            danger=0.1,
            falling=True,
            null="about 1",
            advice=_RANK,
        ),
        "preactivation_rms": Sign(meaning="root mean square of what a layer returns", null="order 1 at any width"),
        "gradient_rms": Sign(meaning="root mean square gradient of a tensor"),
        "gradient_over_eps": Sign(
            meaning="gradient over the optimizer's epsilon",
            watch=100.0,
            danger=10.0,
            falling=True,
            null="above 1000",
            advice="lower epsilon for this tensor; a parametrization scales it with width",
        ),
        "gradient_surprise": Sign(
            meaning="gradient over the root of Adam's second moment (RMS of a tensor)",
            watch=2.0,
            danger=2.3,
            null="1",
            advice="clip updates or gradients, or lower beta2: the second moment is of another time",
        ),
        "update_ratio": Sign(
            meaning="update over weight of a tensor (root mean squares)",
            watch=0.03,
            danger=0.1,
            null="about 0.001",
            advice="lower the learning rate of this tensor",
        ),
        "role_update_ratio": Sign(
            meaning="the same, all tensors of a role pooled",
            watch=0.03,
            danger=0.1,
            null="about 0.001",
            advice="lower the learning rate of this role",
        ),
        "logit_max": Sign(
            meaning="largest absolute output logit",
            watch=50.0,
            danger=100.0,
            null="of order 1",
            advice="add a z-loss, lower the readout's learning rate, decay its weights",
        ),
        "logit_rms": Sign(meaning="root mean square output logit"),
        "entropy": Sign(meaning="mean entropy of the predictions, nats", null="ln classes untrained"),
        "log_z": Sign(meaning="mean log normalizer of the output", null="ln classes untrained"),
        "z_loss": Sign(meaning="1e-4 times the mean squared log normalizer"),
        "weight_outliers": Sign(meaning="singular values beyond the initialization's bulk", null="0 untrained"),
        "stable_rank": Sign(meaning="squared Frobenius over squared spectral norm of a weight"),
        "spectral_norm": Sign(meaning="largest singular value of a weight"),
        "weight_movement": Sign(meaning="distance from initialization over its norm", null="0 untrained"),
        "sharpness": Sign(meaning="largest eigenvalue of the loss's Hessian on the batch"),
        "edge_of_stability": Sign(
            meaning="sharpness in units of the optimizer's steps, over its limit",
            watch=1.2,
            danger=2.0,
            null="up to about 1",
            advice="steps overshoot: lower the learning rate, lengthen the warm-up, or raise beta2",
        ),
        "noise_scale": Sign(meaning="gradient noise scale, the critical batch size, in samples"),
    }
)

# Signs that may follow a power law of size; the others have bounds that no line through logarithms knows of.
EXTRAPOLATED = (
    "attention_entropy",
    "max_attention_logit",
    "kurtosis",
    "max_median_ratio",
    "gradient_over_eps",
    "update_ratio",
    "logit_max",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class HealthRow:
    """The worst place of one sign.

    Attributes:
        sign: Key of `SIGNS`.
        place: Module or tensor; empty for signs of the whole model.
        value: There.
        level: Its judgement.
        num_places: Places at which the sign was taken.
        num_bad: Of these, how many are at watch or danger.
    """

    sign: str
    place: str
    value: float
    level: Level
    num_places: int
    num_bad: int

    @property
    def advice(self) -> str:
        """What to do; empty where nothing is needed."""
        return SIGNS[self.sign].advice if self.level in (Level.WATCH, Level.DANGER) else ""


def health_rows(values: Mapping[str, float]) -> list[HealthRow]:
    """One row per sign, at its worst place, in the order of `SIGNS`.

    Args:
        values: "sign" or "sign/place" -> value.

    Raises:
        SpecError: A sign is unknown.

    Source: limes, docs/diagnostics.md.

    >>> rows = health_rows({"max_attention_logit/a": 3.0, "max_attention_logit/b": 60.0})
    >>> rows[0].place, rows[0].level.value, rows[0].num_bad
    ('b', 'watch', 1)
    """
    grouped: dict[str, list[tuple[str, float]]] = {}
    for name, value in values.items():
        kind, _, place = name.partition("/")
        grouped.setdefault(kind, []).append((place, float(value)))
    unknown = sorted(grouped.keys() - SIGNS.keys())
    if unknown:
        raise SpecError(f"signs {unknown[:3]}: expected names such as {', '.join(list(SIGNS)[:3])}")
    rows = []
    for name, sign in SIGNS.items():
        found = grouped.get(name, [])
        if not found:
            continue
        levels = [sign.level(value) for _, value in found]
        # What is not a number comes before everything.
        place, worst = max(found, key=lambda pair: (math.isnan(pair[1]), -pair[1] if sign.falling else pair[1]))
        rows.append(
            HealthRow(
                sign=name,
                place=place,
                value=worst,
                level=sign.level(worst),
                num_places=len(found),
                num_bad=sum(level in (Level.WATCH, Level.DANGER) for level in levels),
            )
        )
    return rows


def first_alarms(
    log: Sequence[tuple[int, Mapping[str, float]]], *, level: Level = Level.DANGER
) -> dict[str, tuple[int, str]]:
    """When and where each sign first reached a level, which may be long before the loss tells.

    Args:
        log: (step, values) in order, as `read_json_lines` returns them.
        level: DANGER, or WATCH for either.

    Returns:
        By sign: step and place, in the order in which they came.

    Raises:
        SpecError: A sign is unknown.

    Source: limes, docs/diagnostics.md.

    >>> first_alarms([(0, {"logit_max": 1.0}), (10, {"logit_max": 200.0}), (20, {"logit_max": 300.0})])
    {'logit_max': (10, '')}
    """
    wanted = (Level.DANGER,) if level is Level.DANGER else (Level.DANGER, Level.WATCH)
    found: dict[str, tuple[int, str]] = {}
    for step, values in log:
        for row in health_rows(values):
            if row.level in wanted:
                found.setdefault(row.sign, (step, row.place))
    return found
