"""What a run leaves beside its losses when it is one of many to be laid over each other: when, where, how much."""

from typing import Annotated, Literal

from pydantic import Field

from limes.spec.base import Spec

Step = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1, le=4096)]


class ObserveSpec(Spec):
    """Measurements at given steps on a fixed batch, all of a size that does not depend on the network's.

    Args:
        steps: Numbers of updates made at which it is measured, increasing.
        probe: Where the fixed batch comes from: held-out samples, or the batch of the first step (of a full-batch run:
            all samples).
        num_probe: Samples of the fixed batch.
        num_kernel: Samples of feature and gradient kernels, the first of the fixed batch.
        num_ntk: Samples of the tangent kernel; 0 for none.
        num_outputs: Rows of the outputs (tokens, or samples) that are kept.
        layers: `all`, or `ends`: after half of the blocks and after all, which networks of any depth have.
        kernel_weights: Factor of each tensor in the tangent kernel and, as its unit, in the sharpness; 1 where absent.
        sharpness: Whether the largest eigenvalue of the Hessian is measured, the costliest of all.
    """

    steps: Annotated[tuple[Step, ...], Field(min_length=1)]
    probe: Literal["validation", "training"] = "validation"
    num_probe: Positive = 16
    num_kernel: Positive = 16
    num_ntk: Annotated[int, Field(ge=0, le=256)] = 8
    num_outputs: Positive = 64
    layers: Literal["all", "ends"] = "all"
    kernel_weights: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    sharpness: bool = True
