"""What a run takes: FLOPs, samples, and CPU seconds on a reference core.

The seconds are a first guess that orders the queue (costliest first) and weighs runs against each other; the store
rescales it by what finished runs really took.
"""

from dataclasses import dataclass
from functools import lru_cache

from limes.models import num_flops, num_params
from limes.spec import ModelSpec, ModuleSpec, RunSpec, TransformerSpec

# Measured on one core with float32 byte GPTs of d = 32 ... 256: a step costs this much per tensor, whatever its size
# (kernel launches, the optimizer's and autograd's bookkeeping), and the rest at this speed.
SECONDS_PER_TENSOR = 2.2e-4
FLOPS_PER_SECOND = 6.5e10
# An evaluation is a forward pass only: a third of a step.
EVALUATION_FRACTION = 1 / 3


@dataclass(frozen=True, kw_only=True, slots=True)
class RunCost:
    """Expected cost of one run.

    Attributes:
        seconds: CPU seconds on a reference core.
        flops: Training FLOPs, evaluation not counted.
        num_params: Parameters.
        num_tokens: Tokens seen for token sequences, samples otherwise.
    """

    seconds: float
    flops: float
    num_params: int
    num_tokens: int


def run_cost(spec: RunSpec) -> RunCost:
    """Expected cost of `spec`; an evaluation counts as one batch of the training size."""
    training = spec.training
    context = spec.model.context or 1 if isinstance(spec.model, TransformerSpec | ModuleSpec) else 1
    batch_tokens = training.batch_size * context
    flops_per_step = _flops(spec.model, batch_tokens)
    step_seconds = SECONDS_PER_TENSOR * len(spec.tensors) + flops_per_step / FLOPS_PER_SECOND
    evaluations = 1 + (0 if training.eval_every is None else (training.steps - 1) // training.eval_every)
    steps = training.steps + evaluations * EVALUATION_FRACTION
    return RunCost(
        seconds=steps * step_seconds,
        flops=float(flops_per_step) * training.steps,
        num_params=_params(spec.model),
        num_tokens=batch_tokens * training.steps,
    )


@lru_cache(maxsize=1024)
def _flops(model: ModelSpec, batch_tokens: int) -> int:
    return num_flops(model, batch_tokens)


@lru_cache(maxsize=1024)
def _params(model: ModelSpec) -> int:
    return num_params(model)
