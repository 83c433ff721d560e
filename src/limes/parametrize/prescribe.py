"""From facts to rows: apply parametrization, optimizer rule, decay mode and base initialization."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from limes.core.errors import PlanError
from limes.optim import OPTIMIZERS, OptimizerFamily, UpdateRule
from limes.parametrize.growth import Overrides, override_for
from limes.parametrize.initial import InitLaw
from limes.parametrize.row import PlanRow
from limes.parametrize.scaling import Parametrization, Scales, TensorFacts

DecayMode = Literal["coupled", "independent", "lr_free", "timescale"]
DECAY_MODES = ("coupled", "independent", "lr_free", "timescale")
_NUMBERS = ("lr_scale", "weight_decay_scale", "eps_scale", "init_std", "init_mean")
_KEYS = frozenset({*_NUMBERS, "role", "labels", "branch"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Prescription:
    """Everything that turns facts into rows.

    Args:
        parametrization: The rule of scales.
        family: The optimizer.
        variant: Variant of the optimizer; None for its default.
        decay_mode: How decay moves with the learning rate.
        horizon: Factors on (lr, weight decay, eps) for all tensors.
        decay_vectors: Whether vectors and tensors that do not grow decay.
        folded: Factor that each of these tensors takes over from the attention scale.
    """

    parametrization: Parametrization
    family: OptimizerFamily
    variant: str | None
    decay_mode: DecayMode
    horizon: tuple[float, float, float] = (1.0, 1.0, 1.0)
    decay_vectors: bool = True
    folded: Mapping[str, float] = field(default_factory=dict)

    def row(self, fact: TensorFacts, law: InitLaw, shape: tuple[int, ...], overrides: Overrides) -> PlanRow:
        """The row of one tensor in the form without multipliers.

        Raises:
            PlanError: The model's own pattern would have to be scaled, or an override is malformed.
        """
        scales = self._folded(fact, self.parametrization.scales(fact))
        name, variant, rule = self._optimizer(fact, shape)
        lr, eps = self._rates(fact, scales, rule)
        decay = self._decay(fact, scales, rule, lr)
        if law.kind == "own" and scales.init != 1.0 and "init_std" not in override_for(fact.name, overrides):
            raise PlanError(
                f"{fact.name} starts from a fixed pattern of the model, which the plan would have to multiply by "
                f"{scales.init:g}; give overrides={{{fact.name!r}: {{'init_std': ...}}}}"
            )
        row = PlanRow(
            name=fact.name,
            template=fact.template,
            role=fact.role,
            axes=fact.axes,
            shape=shape,
            init=law.kind,
            init_mean=law.mean * self._mean_factor(fact, scales),
            init_std=law.std * scales.init,
            lr_scale=lr * self.horizon[0],
            weight_decay_scale=decay * self.horizon[1],
            eps_scale=eps * self.horizon[2],
            multiplier=1.0,
            own_multiplier=scales.multiplier if fact.carrier is not None else 1.0,
            optimizer=name,
            variant=variant,
            carrier=fact.carrier,
            tied_to=fact.tied_to,
            why=fact.why,
        )
        return _with_numbers(row, override_for(fact.name, overrides))

    def _folded(self, fact: TensorFacts, scales: Scales) -> Scales:
        factor = self.folded.get(fact.name, 1.0)
        if factor == 1.0:
            return scales
        return Scales(
            init=scales.init * factor,
            change=scales.change * factor,
            gradient=scales.gradient / factor,
            multiplier=scales.multiplier * factor,
        )

    def _mean_factor(self, fact: TensorFacts, scales: Scales) -> float:
        """A mean moves with the multiplier that the tensor absorbs, not with the width of its fan-in."""
        factor = self.folded.get(fact.name, 1.0)
        alpha = self.parametrization.alpha
        if fact.ends_branch and alpha is not None:
            factor *= fact.m_depth**-alpha
        if fact.at_output and fact.role in ("readout", "finite"):
            factor *= scales.init
        return factor

    def _optimizer(self, fact: TensorFacts, shape: tuple[int, ...]) -> tuple[str, str | None, UpdateRule]:
        rule = self.family.variant(self.variant)
        if rule.matrices_only and not (fact.role == "hidden" and fact.is_matrix and len(shape) == 2):
            return "adamw", None, OPTIMIZERS["adamw"].rule
        return self.family.name, self.variant, rule

    def _rates(self, fact: TensorFacts, scales: Scales, rule: UpdateRule) -> tuple[float, float]:
        if self.parametrization.plain:
            return 1.0, 1.0
        lr = rule.lr(scales.change, scales.gradient, n_in=fact.m_in, n_out=fact.m_out)
        eps = rule.eps(scales.gradient, n_in=fact.m_in, n_out=fact.m_out)
        lr_blocks, eps_blocks = rule.blocks(fact.base_shape, fact.target_shape)
        built_in = rule.built_in(fact.base_shape, fact.target_shape) if fact.is_matrix else 1.0
        return lr * lr_blocks / built_in, eps * eps_blocks

    def _decay(self, fact: TensorFacts, scales: Scales, rule: UpdateRule, lr: float) -> float:
        if not self.decay_vectors and fact.role in ("vector", "finite"):
            return 0.0
        if self.decay_mode == "coupled" or self.parametrization.plain:
            return 1.0
        return rule.decay(lr, scales.gradient)


def _with_numbers(row: PlanRow, given: Mapping[str, Any]) -> PlanRow:
    unknown = sorted(set(given) - _KEYS)
    if unknown:
        raise PlanError(f"override {unknown[0]!r} of {row.name} is none of {', '.join(sorted(_KEYS))}")
    numbers: dict[str, Any] = {key: float(given[key]) for key in _NUMBERS if key in given}
    negative = [key for key, value in numbers.items() if value < 0 and key != "init_mean"]
    if negative:
        raise PlanError(f"override {negative[0]} of {row.name} is {numbers[negative[0]]:g}; it must not be negative")
    if "init_std" in numbers and row.init in ("own", "constant"):
        row = replace(row, init="normal" if numbers["init_std"] else "constant")
    return replace(row, **numbers) if numbers else row


def share_settings(rows: list[PlanRow], parametrization: Parametrization) -> list[PlanRow]:
    """Give tied names one set of settings, and the maps of one module one multiplier.

    A readout that is tied to an embedding follows the embedding's rule; what its own init would be smaller by
    becomes a multiplier on the logits, which no form without multipliers can do without.

    Raises:
        PlanError: A tied map has no module that can carry its multiplier.

    Source: limes, docs/parametrize.md; arXiv:2203.03466 Appendix D.
    """
    by_name = {row.name: row for row in rows}
    weights = {row.carrier: row.own_multiplier for row in reversed(rows) if row.carrier and len(row.shape) > 1}
    result = []
    for row in rows:
        if row.tied_to is None or row.tied_to not in by_name:
            own = weights.get(row.carrier, row.own_multiplier) if row.carrier else 1.0
            result.append(replace(row, own_multiplier=own) if own != row.own_multiplier else row)
            continue
        primary = by_name[row.tied_to]
        factor = 1.0
        if row.role == "readout" and not parametrization.plain and primary.init_std:
            factor = row.init_std / primary.init_std
        if factor != 1.0 and row.carrier is None:
            raise PlanError(
                f"{row.name} shares its tensor with {row.tied_to} and needs the multiplier {factor:g} on its output, "
                "but no module's output is its map's output; apply it in an nn.Linear of its own"
            )
        shared = replace(
            primary,
            name=row.name,
            template=row.template,
            role=row.role,
            multiplier=factor,
            own_multiplier=factor,
            carrier=row.carrier,
            tied_to=row.tied_to,
            why=f"{row.why}; shares its tensor with {row.tied_to}",
        )
        result.append(shared)
    return _with_neighbours(result)


def _with_neighbours(rows: list[PlanRow]) -> list[PlanRow]:
    """A kept multiplier acts on the whole module: the bias beside a tied readout moves along."""
    kept = {row.carrier: row.multiplier for row in rows if row.tied_to and row.multiplier != 1.0}
    moved: dict[str, PlanRow] = {}
    for row in rows:
        factor = kept.get(row.carrier) if row.carrier else None
        if factor is not None and row.multiplier == 1.0:
            new = replace(row.moved(factor), own_multiplier=factor)
            moved[row.name] = new
            if row.tied_to:
                first = next(other for other in rows if other.name == row.tied_to)
                moved[row.tied_to] = replace(new, name=first.name, template=first.template, tied_to=None, why=first.why)
    result = []
    for row in rows:
        new = moved.get(row.name, row)
        elsewhere = new.name.rpartition(".")[0] not in kept
        result.append(replace(new, multiplier=1.0, own_multiplier=1.0) if new is not row and elsewhere else new)
    return result
