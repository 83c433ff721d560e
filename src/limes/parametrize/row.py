"""One row of a plan: the settings of one tensor, relative to the base except for its initialization."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from limes.core.errors import PlanError
from limes.optim import OPTIMIZERS, UpdateRule
from limes.spec.run import InitKind, TensorSettings

NO_EPS = frozenset({"sgd", "lion"})


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanRow:
    """Settings of one tensor in the plan's form.

    Args:
        name: Parameter name in the target.
        template: Layer indices replaced by `*`.
        role: See `TensorFacts`.
        axes: Axes along which it, or the number of its copies, grows.
        shape: In the target.
        init: Distribution at initialization.
        init_mean: Mean of the entries.
        init_std: Standard deviation of the entries.
        lr_scale: Learning rate over that of the base.
        weight_decay_scale: The same for weight decay, as the optimizer class takes it.
        eps_scale: The same for eps.
        multiplier: Factor on the output of its map.
        own_multiplier: What the multiplier is in the parametrization's form with multipliers.
        optimizer: Which optimizer trains it.
        variant: Variant of that optimizer; None for its default.
        carrier: Module that can carry a multiplier; None where there is none.
        tied_to: Name of the row that decides its settings, where the tensor is shared.
        why: Reasons in words.
    """

    name: str
    template: str
    role: str
    axes: tuple[str, ...]
    shape: tuple[int, ...]
    init: InitKind
    init_mean: float
    init_std: float
    lr_scale: float
    weight_decay_scale: float
    eps_scale: float
    multiplier: float
    own_multiplier: float
    optimizer: str
    variant: str | None
    carrier: str | None
    tied_to: str | None
    why: str

    @property
    def rule(self) -> UpdateRule:
        """Algebra of the optimizer that trains it."""
        return OPTIMIZERS[self.optimizer].variant(self.variant)

    def moved(self, theta: float) -> "PlanRow":
        """The same tensor with its multiplier times `theta` and everything else moved along.

        Source: arXiv:2011.14522; limes for eps and decay, docs/parametrize.md.
        """
        if theta == 1.0:
            return self
        lr, decay, eps = self.rule.move(theta)
        return replace(
            self,
            multiplier=self.multiplier * theta,
            init_mean=self.init_mean / theta,
            init_std=self.init_std / theta,
            lr_scale=self.lr_scale * lr,
            weight_decay_scale=self.weight_decay_scale * decay,
            eps_scale=self.eps_scale * eps,
        )

    def settings(self, *, lr: float, weight_decay: float, eps: float) -> TensorSettings:
        """Absolute settings, given those of the base."""
        return TensorSettings(
            init=self.init,
            init_mean=self.init_mean,
            init_std=self.init_std,
            lr=lr * self.lr_scale,
            weight_decay=weight_decay * self.weight_decay_scale,
            eps=0.0 if self.optimizer in NO_EPS else eps * self.eps_scale,
            multiplier=self.multiplier,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {**asdict(self), "axes": list(self.axes), "shape": list(self.shape)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "PlanRow":
        """Inverse of `to_dict`."""
        try:
            return cls(**{**data, "axes": tuple(data["axes"]), "shape": tuple(data["shape"])})
        except (TypeError, KeyError) as error:
            raise PlanError(f"a row of the plan is malformed ({error}); write plans with Plan.save") from error
