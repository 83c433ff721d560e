"""How it is trained: optimizer, schedule, length, evaluation. The learning rate is not here: it is swept."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from limes.spec.base import Spec

NonNegative = Annotated[float, Field(ge=0)]
Beta = Annotated[float, Field(ge=0, lt=1)]


class OptimizerSpec(Spec):
    """The optimizer at the base size. Settings of other optimizers must stay at their defaults."""

    name: Literal["sgd", "adam", "adamw"] = "adamw"
    momentum: Beta = 0.0
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    eps: Annotated[float, Field(gt=0)] = 1e-12
    weight_decay: NonNegative = 0.0
    decay_mode: Literal["coupled", "independent", "lr_free"] = "independent"

    @model_validator(mode="after")
    def _no_ignored_settings(self) -> "OptimizerSpec":
        if self.name != "sgd" and self.momentum:
            raise ValueError(f"momentum {self.momentum} belongs to sgd; {self.name} uses betas")
        # Defaults written out, as in a stored run, are no setting.
        fields = type(self).model_fields
        changed = {name for name in ("betas", "eps") if getattr(self, name) != fields[name].default}
        ignored = changed if self.name == "sgd" else set()
        if ignored:
            raise ValueError(f"sgd has no {' and no '.join(sorted(ignored))}; remove the setting")
        return self


class TrainingSpec(Spec):
    """Length, batch, schedule, clipping, evaluation and loss of one run."""

    steps: Annotated[int, Field(ge=1, le=1_000_000_000, strict=True)] = 200
    batch_size: Annotated[int, Field(ge=1, le=1_000_000, strict=True)] = 8
    optimizer: OptimizerSpec = OptimizerSpec()
    schedule: Literal["linear", "cosine", "wsd", "constant"] = "linear"
    warmup_steps: Annotated[int, Field(ge=0)] = 20
    final_lr_fraction: Annotated[float, Field(ge=0, le=1)] = 0.0
    decay_fraction: Annotated[float, Field(gt=0, le=1)] = 0.2
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    # Against growing output logits: this times the mean of (log sum exp of the logits)^2 joins the training loss.
    z_loss: NonNegative = 0.0
    eval_every: Annotated[int, Field(ge=1)] | None = None
    center_output: bool = False
    dtype: Literal["float32", "float64", "bfloat16"] = "float32"
    divergence_factor: Annotated[float, Field(gt=1)] = 10.0

    @model_validator(mode="after")
    def _warmup_fits(self) -> "TrainingSpec":
        if self.warmup_steps >= self.steps:
            default = "" if "warmup_steps" in self.model_fields_set else " (the default)"
            raise ValueError(f"warmup_steps {self.warmup_steps}{default} must be below steps {self.steps}")
        return self
