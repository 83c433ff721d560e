"""What a transfer study found: the frozen objects that the verdict file, the command line and the report share."""

from dataclasses import dataclass
from typing import Any, Literal

from limes.numerics.vertex import Vertex
from limes.spec.swept import NAMES

Verdict = Literal["transfers", "moves", "undecided"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LrCurve:
    """Validation loss against learning rate, one size and one seed.

    Attributes:
        log2_lr: (n,) increasing.
        loss: (n,), None where the run diverged or has no result.
        diverged: (n,), True where it diverged.
        keys: (n,), run keys in the store.
        vertex: Where the minimum is, or why it cannot be said.
    """

    size: int
    seed: int
    log2_lr: tuple[float, ...]
    loss: tuple[float | None, ...]
    diverged: tuple[bool, ...]
    keys: tuple[str, ...]
    vertex: Vertex


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FixedLrRow:
    """Loss by size at one learning rate that all sizes share ("wider is better" curves).

    Attributes:
        loss: By size, mean over the seeds that all sizes have; None where a run diverged.
        improves: Whether that mean falls at every step of size; None when a size has no finite loss.
    """

    log2_lr: float
    loss: tuple[float | None, ...]
    improves: bool | None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PanelResult:
    """One parametrization along one axis.

    Attributes:
        log2_optimal_lr: By size, mean over seeds; None where the optimum of a seed was not found. The optimum of what
            the study sweeps, where that is not the learning rate.
        intervals: By size, `level` interval of that mean; None with it.
        not_found: By size, one sentence for each seed without an optimum.
        best_loss: By size, mean over seeds of the smallest loss on the grid.
        seed_deviation: Octaves, pooled over the sizes with several seeds; the prior where none has.
        degrees_of_freedom: Of the pooled deviation; 0 where the prior was used.
        drift_octaves: Optimum at the largest size minus at the smallest; None if either is unknown.
        transfer_regret: Loss lost at the largest size by using the smallest size's optimum, in units of the loss;
            None if that learning rate diverges there, lies outside the grid, or is unknown (`regret_note` says which).
        seed_drifts: (seed, drift) for each seed that both ends share.
        fixed_lr: One row for each learning rate that all sizes have.
        improves_with_size: The verdict of the fixed-rate row nearest the smallest size's optimum.
        swept: What the grid holds, in words, one and many.
    """

    axis: str
    parametrization: str
    sizes: tuple[int, ...]
    curves: tuple[LrCurve, ...]
    log2_optimal_lr: tuple[float | None, ...]
    intervals: tuple[tuple[float, float] | None, ...]
    not_found: tuple[tuple[str, ...], ...]
    best_loss: tuple[float | None, ...]
    num_params: tuple[int, ...]
    seed_deviation: float
    degrees_of_freedom: int
    drift_octaves: float | None
    drift_interval: tuple[float, float] | None
    verdict: Verdict
    transfer_regret: float | None
    regret_note: str
    seed_drifts: tuple[tuple[int, float], ...]
    fixed_lr: tuple[FixedLrRow, ...]
    improves_with_size: bool | None
    swept: tuple[str, str] = NAMES["lr"]

    def to_dict(self) -> dict[str, Any]:
        """The panel as `verdict.json` has it: plain JSON."""
        names = (
            "axis",
            "parametrization",
            "sizes",
            "log2_optimal_lr",
            "intervals",
            "not_found",
            "best_loss",
            "num_params",
            "seed_deviation",
            "degrees_of_freedom",
            "drift_octaves",
            "drift_interval",
            "verdict",
            "transfer_regret",
            "regret_note",
            "improves_with_size",
        )
        words = {} if self.swept == NAMES["lr"] else {"log2_optimal_lr": "log2_optimum"}
        return {words.get(name, name): getattr(self, name) for name in names}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DriftClaim:
    """Does `winner` drift less than `other` along `axis`? Paired over the seeds that both have.

    Attributes:
        difference: Mean over seeds of |drift of other| - |drift of winner|, octaves; None with fewer than two seeds.
        interval: Student-t interval of it, at the study's level jointly over all pairs of the axis.
        holds: The interval lies above zero.
    """

    axis: str
    winner: str
    other: str
    num_seeds: int
    difference: float | None
    interval: tuple[float, float] | None
    holds: bool


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Forecast:
    """Loss of the target at the study's training tokens.

    Attributes:
        target: `{"width": ..., "depth": ...}`.
        value, low, high: Nats; None when no law could be fitted (`warnings` says why).
        sizes: Rows the law was fitted on: dictionaries with `size`, `axis`, `num_params`, `loss`.
        curve: Dictionaries with `num_params`, `value`, `low`, `high`, for drawing.
        decades: How far the target lies beyond the largest fitted model, decades of parameters.
        warnings: One sentence each.
    """

    target: dict[str, int]
    num_params: int
    num_tokens: int
    level: float
    value: float | None
    low: float | None
    high: float | None
    law: str
    sizes: tuple[dict[str, Any], ...]
    curve: tuple[dict[str, float], ...]
    decades: float
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Recommendation:
    """Settings of every tensor of the target, in a form that a training script can load.

    Attributes:
        log2_lr: Base learning rate that the table rests on, and where it comes from in `lr_note`.
        tensors: Dictionaries with `name`, `template`, `role`, `init`, `init_mean`, `init_std`, `lr`,
            `weight_decay`, `eps`, `multiplier`, `why`.
    """

    parametrization: str
    optimizer: str
    base: dict[str, Any]
    target: dict[str, int]
    log2_lr: float
    lr_note: str
    attention_scale: float
    tensors: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TransferResult:
    """Everything that a transfer study says.

    Attributes:
        study: The frozen study as plain JSON.
        status: "complete", or "incomplete" with the sentences of what is missing in `notes`.
        counts: Number of distinct runs by status word.
        provenance: Versions, data fingerprint, seeds, machine-independent facts of what ran.
        loss_unit: What losses and regrets are measured in.
    """

    study: dict[str, Any]
    level: float
    tolerance_octaves: float
    prior_octaves: float
    panels: tuple[PanelResult, ...]
    claims: tuple[DriftClaim, ...]
    recommendation: Recommendation | None
    forecast: Forecast | None
    status: str
    notes: tuple[str, ...]
    counts: dict[str, int]
    provenance: dict[str, Any]
    loss_unit: str

    @property
    def swept(self) -> tuple[str, str]:
        """What the study sweeps, in words, one and many."""
        return NAMES[(self.study.get("swept") or {}).get("field", "lr")]

    def to_dict(self) -> dict[str, Any]:
        """The content of `verdict.json`: plain JSON."""
        claim_names = DriftClaim.__dataclass_fields__
        return {
            "status": self.status,
            "notes": self.notes,
            "rule": rule_sentence(self.level, self.tolerance_octaves, self.prior_octaves, swept=self.swept[0]),
            "level": self.level,
            "loss_unit": self.loss_unit,
            "tolerance_octaves": self.tolerance_octaves,
            "panels": [panel.to_dict() for panel in self.panels],
            "claims": [{name: getattr(claim, name) for name in claim_names} for claim in self.claims],
            "recommendation": self.recommendation and self.recommendation.to_dict(),
            "forecast": self.forecast and self.forecast.to_dict(),
            "counts": self.counts,
            "provenance": self.provenance,
            "study": self.study,
        }


def rule_sentence(level: float, tolerance: float, prior: float, *, swept: str = NAMES["lr"][0]) -> str:
    """The rule behind the three verdicts, in words; it stands on the page and in the file."""
    return (
        f"The drift is the optimum at the largest size minus that at the smallest, in octaves (log2 of the {swept}), "
        f"with a {level:.0%} Student-t interval from repeated seeds (deviation pooled over the sizes of the "
        f"panel; a prior deviation of {prior:g} octave, or more, where a size has one seed), widened by what the "
        f"choice of points does to the optimum of a lopsided valley. 'transfers': the whole interval lies within "
        f"+-{tolerance:g} octave; 'moves': all of it lies outside; otherwise 'undecided'."
    )
