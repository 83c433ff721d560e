"""The plan: settings of every tensor of the target, keyed by name. It is data; nothing hangs on tensors."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from limes.core.errors import PlanError
from limes.parametrize.apply import attach_multipliers, group_parameters, init_tensors_
from limes.parametrize.check import PlanProblems, find_problems
from limes.parametrize.clip import clip_in_multiplier_form_
from limes.parametrize.explain import render_table
from limes.parametrize.names import bare_name
from limes.parametrize.row import PlanRow
from limes.spec.base import content_hash
from limes.spec.run import TensorSettings

Form = Literal["no_multiplier", "multiplier"]
FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Plan:
    """What every tensor of the target gets.

    Args:
        parametrization: Its name.
        options: Its options (alpha, gamma0).
        optimizer: Name of the optimizer.
        decay_mode: coupled, independent, lr_free or timescale.
        form: Whether the forward pass carries multipliers.
        attention_scale: Factor that the caller applies to the attention's own scale; 1 where none is needed.
        width_axes: Names of the axes along which the network grows.
        depth_ratio: Growth of the number of residual branches.
        momentum_scale: Factor on 1 - beta of the optimizer (1 unless the batch or the horizon changes).
        entries: One row for each parameter name.
    """

    parametrization: str
    options: Mapping[str, float]
    optimizer: str
    decay_mode: str
    form: Form
    attention_scale: float
    width_axes: tuple[str, ...]
    depth_ratio: float
    momentum_scale: float = 1.0
    entries: tuple[PlanRow, ...]

    # --- reading ---

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One dictionary per tensor: name, template, role, axes, init, scales, multiplier, why."""
        keys = ("name", "template", "role", "axes", "init", "init_mean", "init_std", "lr_scale",
                "weight_decay_scale", "eps_scale", "multiplier", "optimizer", "why")  # fmt: skip
        return [{key: getattr(row, key) for key in keys} for row in self.entries]

    def row(self, name: str) -> PlanRow:
        """The row of one tensor; wrappers' prefixes are ignored.

        Raises:
            PlanError: There is no such tensor.
        """
        for row in self.entries:
            if row.name == bare_name(name):
                return row
        raise PlanError(f"the plan has no tensor {name!r}; its first ones: {[row.name for row in self.entries[:3]]}")

    def explain(self, *, by: Literal["template", "name"] = "template") -> str:
        """A table for people: one line per template (or per tensor), and what holds for the whole plan."""
        return render_table(self, by=by)

    def to_pandas(self) -> Any:
        """The rows as a pandas DataFrame (imports pandas)."""
        import pandas

        return pandas.DataFrame(self.rows)

    # --- applying ---

    def settings(self, *, lr: float, weight_decay: float = 0.0, eps: float = 1e-8) -> dict[str, TensorSettings]:
        """Absolute settings of every tensor, given those of the base.

        Args:
            lr: Peak learning rate tuned at the base.
            weight_decay: Tuned at the base, as the optimizer class takes it; for the mode `lr_free`, what a
                weight loses per step, not multiplied by the learning rate.
            eps: The optimizer's eps at the base.

        Raises:
            PlanError: A setting is negative.
        """
        for label, value in (("lr", lr), ("weight_decay", weight_decay), ("eps", eps)):
            if not value >= 0:
                raise PlanError(f"{label} {value} must not be negative")
        if self.decay_mode == "lr_free" and weight_decay:
            if lr == 0:
                raise PlanError("the decay mode lr_free divides by lr, which is 0; give the peak learning rate")
            weight_decay = weight_decay / lr
        return {row.name: row.settings(lr=lr, weight_decay=weight_decay, eps=eps) for row in self.entries}

    def init_(self, model: nn.Module, *, seed: int) -> nn.Module:
        """Draw every tensor anew at its std, each from a stream of its own name; sharded or not, the same numbers.

        Never call it on a model that was loaded: its weights already have their scale.
        """
        init_tensors_(model, self.settings(lr=0.0), seed=seed)
        return model

    def apply_multipliers(self, model: nn.Module) -> nn.Module:
        """Attach the forward multipliers, if the plan's form has any; calling it again changes nothing."""
        attach_multipliers(model, self.settings(lr=0.0))
        return model

    def param_groups(
        self, model: nn.Module, *, lr: float, weight_decay: float = 0.0, eps: float = 1e-8
    ) -> list[dict[str, Any]]:
        """Groups for `torch.optim`: equal settings merged, in a stable order, with `lr_scale` for schedulers.

        Where the plan's optimizer takes matrices only (Muon), each group says under `optimizer` whose it is.
        """
        names = {row.name: row.optimizer for row in self.entries}
        mixed = len(set(names.values())) > 1
        settings = self.settings(lr=lr, weight_decay=weight_decay, eps=eps)
        return group_parameters(model, settings, optimizer=names if mixed else next(iter(names.values())), lr=lr)

    def betas(self, betas: tuple[float, float]) -> tuple[float, float]:
        """The optimizer's betas for the target's batch and horizon, given those of the base.

        Raises:
            PlanError: A beta leaves [0, 1).
        """
        moved = tuple(1.0 - (1.0 - beta) * self.momentum_scale for beta in betas)
        if self.momentum_scale == 1.0:
            return betas
        if not all(0.0 <= beta < 1.0 for beta in moved):
            raise PlanError(
                f"betas {betas} become {moved}, outside [0, 1): the batch grew too much for this rule; keep the "
                "batch smaller or plan with horizon='none'"
            )
        return moved[0], moved[1]

    def clip_grad_norm_(self, model: nn.Module, max_norm: float) -> torch.Tensor:
        """Clip by the global norm that the gradient has in the form with multipliers; returns that norm.

        Plain clipping gives another trajectory in every form, because a multiplier scales the gradient.
        """
        return clip_in_multiplier_form_(model, self.entries, max_norm=max_norm)

    # --- forms ---

    def as_form(self, form: Form) -> "Plan":
        """The same training in another form.

        Raises:
            PlanError: The form is unknown.
        """
        if form not in ("no_multiplier", "multiplier"):
            raise PlanError(f"form {form!r} is neither 'no_multiplier' nor 'multiplier'")
        shared = {row.tied_to for row in self.entries if row.tied_to}
        fixed = {row.carrier for row in self.entries if row.tied_to and row.multiplier != 1.0}
        rows = []
        for row in self.entries:
            goal = row.own_multiplier if form == "multiplier" and row.carrier is not None else 1.0
            # A tensor that two maps share has no form without multipliers: its factor belongs to one of them.
            kept = row.tied_to is not None or row.name in shared or (row.carrier in fixed)
            rows.append(row if kept or goal == row.multiplier else row.moved(goal / row.multiplier))
        return replace(self, form=form, entries=tuple(rows))

    def symmetry(self, name: str, theta: float) -> "Plan":
        """Multiply the forward multiplier of a map by `theta` and move init, learning rate, eps and decay along.

        Args:
            name: A parameter's name or template; every tensor of the same module moves with it.
            theta: Positive factor.

        Raises:
            PlanError: No such tensor, it is shared, or no module can carry its multiplier.
        """
        if not theta > 0:
            raise PlanError(f"theta {theta} must be positive")
        chosen = [row for row in self.entries if name in (row.name, row.template)]
        if not chosen:
            raise PlanError(f"the plan has no tensor or template {name!r}")
        owners = set()
        for row in chosen:
            if row.carrier is None or row.tied_to or any(other.tied_to == row.name for other in self.entries):
                raise PlanError(
                    f"no multiplier can move at {row.name}: it is shared, or no module's output is its map's output"
                )
            owners.add(row.carrier)
        rows = [row.moved(theta) if row.carrier in owners else row for row in self.entries]
        return replace(self, entries=tuple(rows))

    # --- keeping ---

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, the hash included."""
        content = self._content()
        return {**content, "hash": content_hash(content)}

    def _content(self) -> dict[str, Any]:
        fields = {key: getattr(self, key) for key in self.__dataclass_fields__ if key != "entries"}
        fields["options"] = dict(self.options)
        fields["width_axes"] = list(self.width_axes)
        return {"format": FORMAT, **fields, "rows": [row.to_dict() for row in self.entries]}

    @property
    def hash(self) -> str:
        """Hash of the content, 20 hexadecimal digits: store it in a checkpoint, pass it to `verify`."""
        return content_hash(self._content())

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Plan":
        """Inverse of `to_dict`.

        Raises:
            PlanError: The content does not match its hash, or it is of another format.
        """
        content = {key: value for key, value in data.items() if key != "hash"}
        if content.get("format") != FORMAT:
            raise PlanError(f"the plan has format {content.get('format')!r}; this version reads {FORMAT}")
        if data.get("hash") != content_hash(content):
            raise PlanError(f"the plan's content does not match its hash {data.get('hash')!r}; it was edited or cut")
        rows = tuple(PlanRow.from_dict(row) for row in content.pop("rows"))
        content.pop("format")
        return cls(**{**content, "width_axes": tuple(content["width_axes"]), "entries": rows})

    def save(self, path: str | Path) -> None:
        """Write the plan as JSON."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "Plan":
        """Read a plan; a damaged file is refused.

        Raises:
            PlanError: The file is no plan, or was changed.
        """
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise PlanError(f"{path} cannot be read as a plan: {error}") from error
        if not isinstance(data, dict):
            raise PlanError(f"{path} holds a {type(data).__name__}; a plan is a JSON object")
        return cls.from_dict(data)

    def verify(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | Iterable[torch.optim.Optimizer] | None = None,
        *,
        plan_hash: str | None = None,
        max_grad_norm: float | None = None,
    ) -> None:
        """Check that model, optimizer and checkpoint belong to this plan.

        Args:
            model: Its names, shapes and multipliers are compared.
            optimizer: Its groups must keep the plan's ratios of learning rates, decays and eps.
            plan_hash: The hash found in a checkpoint.
            max_grad_norm: What a trainer clips at by itself; a warning says that this depends on the form.

        Raises:
            PlanError: Something differs; the message lists the first differences.
        """
        problems = find_problems(self.entries, model, optimizer, max_grad_norm=max_grad_norm)
        if plan_hash is not None and plan_hash != self.hash:
            problems.append(f"the checkpoint was written under plan {plan_hash}, this one is {self.hash}")
        PlanProblems(problems).raise_if_any()
