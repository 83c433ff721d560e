"""One training run, resolved: nothing in it depends on the name of a parametrization.

The key of a run is the hash of this content, so two parametrizations that prescribe the same numbers share one run.
"""

from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from limes.spec.base import Spec, content_hash
from limes.spec.data import DataSpec
from limes.spec.model import ModelSpec
from limes.spec.observe import ObserveSpec
from limes.spec.training import TrainingSpec

InitKind = Literal["normal", "uniform", "constant", "own"]


class TensorSettings(Spec):
    """Absolute settings of one tensor, as a training script needs them.

    Args:
        init: Distribution at initialization; `constant` means every entry equals `init_mean`, and `own` that the
            model's own constructor decides (an entry pattern that no mean and std describes).
        init_mean: Mean of the entries.
        init_std: Standard deviation of the entries (0 for `constant`).
        lr: Peak learning rate.
        weight_decay: As the optimizer class takes it.
        eps: As the optimizer class takes it (0 for SGD, which has none).
        multiplier: Factor on the output of the map that this tensor belongs to; 1 leaves the forward pass alone.
    """

    init: InitKind
    init_mean: float
    init_std: Annotated[float, Field(ge=0)]
    lr: Annotated[float, Field(ge=0)]
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    eps: Annotated[float, Field(ge=0)] = 0.0
    multiplier: float = 1.0


class RunSpec(Spec):
    """Everything that decides the outcome of a run, and nothing else.

    Args:
        model: Sizes, every field filled in.
        attention_scale: Factor on the attention's own 1/sqrt(head_dim) (1 unless the head dimension grows).
        data: Source; `data_fingerprint` is the hash of the actual content.
        training: Schedule, optimizer family and its size-independent settings.
        seed: The run's one seed: initialization and batches. The task itself (teacher, split) is the same for all.
        tensors: Settings by parameter name.
        batch_seed: Of the batches, where networks of several seeds are to see the same ones; None is `seed`.
        observe: What is measured along the way, and becomes part of the record.
    """

    # A cached key needs an instance dict that pydantic's frozen models allow.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, ignored_types=(cached_property,))

    model: ModelSpec
    attention_scale: float = 1.0
    data: DataSpec
    data_fingerprint: str
    training: TrainingSpec
    seed: Annotated[int, Field(ge=0)]
    tensors: dict[str, TensorSettings]
    batch_seed: Annotated[int, Field(ge=0)] | None = None
    observe: ObserveSpec | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; without the last two where they are not used, so that the keys of older runs stay."""
        content = super().to_dict()
        unused = {name for name in ("batch_seed", "observe") if content[name] is None}
        return {key: value for key, value in content.items() if key not in unused}

    @cached_property
    def key(self) -> str:
        """Hash of the content, 20 hexadecimal digits."""
        return content_hash(self.to_dict())
